/**
 * `denclavectl sdk check`: whether a folder has libraries of the AWS Nitro Enclaves SDK that the binary can use, and what they are. The same checks as those of
 * `denclavectl eif build`.
 *
 * @module
 */
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import type { Options } from "../../shared/cli/options.ts";
import {
  type ByteSource,
  compareVersions,
  type LoadedFile,
  loadFiles,
  OpenFiles,
  Sysroot,
  textPieces,
} from "../eif/mod.ts";
import { formatTable } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { JSON_OPTION, SYSROOT_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { exportsAead, librariesIn, libraryProblems } from "./image_checks.ts";

/** `sdk check` */
export const SDK_CHECK: Command = {
  path: "sdk check",
  summary: "check a folder of the SDK's libraries: versions, what they need, whether an image can use them",
  usage: "<folder> [options]",
  about:
    "Whether the folder's libaws-c-common.so, libaws-nitro-enclaves-sdk-c.so and libnsm.so can be used in an image, and what they are.",
  options: [SYSROOT_OPTION, JSON_OPTION],
  positionals: 1,
  run: check,
};

/** Folder of the image; which one makes no difference here. */
const INSTALL_DIR = "/app";
/** No version is longer. */
const MAX_TEXT_LENGTH = 256;

/** Texts in a library that say what it was made from. */
const TEXTS = {
  /** The user agent of the SDK's REST client. */
  sdk: /aws-nitro_enclaves-sdk-c\/([A-Za-z0-9.+-]{1,64})\0/,
  awsLc: /\(compatible; (AWS-LC [A-Za-z0-9. -]{1,32})\)/,
  openSsl: /\0(OpenSSL [0-9][A-Za-z0-9.-]* +[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4})\0/,
  /** In `.comment`, where it was not stripped. */
  compiler: /((?:GCC: \([^)\0]{1,64}\)|clang version) [0-9][A-Za-z0-9.+-]{0,32})/,
} as const;

type Texts = { readonly [name in keyof typeof TEXTS]?: string };

async function textsIn(file: ByteSource): Promise<Texts> {
  const found: Record<string, string> = {};
  for await (const text of textPieces(file, MAX_TEXT_LENGTH)) {
    for (const [name, pattern] of Object.entries(TEXTS)) {
      const [, match] = pattern.exec(text) ?? [];
      if (match !== undefined) found[name] ??= match;
    }
  }
  return found;
}

/** The version in a file's name, which its link leads to: `libaws-c-common.so.1.0.0`. */
async function versionByName(path: string): Promise<string | undefined> {
  const [, version] = /\.so\.([^/]+)$/.exec(await Deno.realPath(path)) ?? [];
  return version;
}

/** The newest version of glibc that a library asks for. */
function glibcOf({ elf }: LoadedFile): string | undefined {
  return elf.neededVersions.map(({ version }) => version).filter((name) => /^GLIBC_[0-9]/.test(name))
    .toSorted(compareVersions).at(-1);
}

/** What is reported about a library. */
async function describe(file: LoadedFile, loaded: readonly LoadedFile[], texts: Texts) {
  const fileOf = (path: string) => loaded.find((other) => other.path === path)?.from ?? path;
  return {
    file: file.from,
    architecture: file.elf.architecture,
    soname: file.elf.soname,
    version: texts.sdk ?? await versionByName(file.from),
    compiler: texts.compiler,
    glibc: glibcOf(file),
    needs: Object.fromEntries([...file.needs].map(([name, path]) => [name, fileOf(path)])),
  };
}

/** A library of OpenSSL by the name that it has in a distribution. AWS-LC's has no version in its name. */
function systemOpenSsl(loaded: readonly LoadedFile[]): string | undefined {
  return loaded.flatMap(({ needs }) => [...needs.keys()]).find((name) =>
    /^lib(crypto|ssl)\.so\.[0-9]/.test(name)
  );
}

type Report = Awaited<ReturnType<typeof checkFolder>>;

/** Examines a folder. @throws {EifError} when its libraries cannot be loaded. */
async function checkFolder(folder: string, sysroot: string) {
  using files = new OpenFiles();
  const open = (path: string) => files.open(path);
  const found = await librariesIn(folder);
  const placed = found.map((from) => ({ path: `${INSTALL_DIR}/${from.replace(/^.*\//, "")}`, from }));
  const loaded = await loadFiles({ libraries: placed, sysroot: new Sysroot(sysroot) }, open);
  const problems = await libraryProblems({ loaded }, open);
  const libraries: Awaited<ReturnType<typeof describe>>[] = [];
  let awsLc: string | undefined;
  let openSsl: string | undefined = systemOpenSsl(loaded);
  for (const file of loaded) {
    // Skip the distribution's own libraries.
    if (!file.from.startsWith(`${folder}/`)) continue;
    const texts = await textsIn(await open(file.from));
    awsLc ??= texts.awsLc;
    openSsl ??= texts.openSsl;
    libraries.push(await describe(file, loaded, texts));
  }
  const aead = await exportsAead(loaded, open);
  return {
    ok: problems.length === 0,
    libraries,
    awsLc,
    openSsl,
    aead,
    problems: problems.map(({ message, hint }) => ({ message, hint })),
    warnings: [
      ...openSsl === undefined ? [] : [
        `they use ${openSsl}, which is OpenSSL and not AWS-LC: the build found the system's own`,
      ],
      ...aead ? [] : [
        `${LIBRARY_FILES.sdk} does not export AES-256-GCM of AWS-LC (EVP_AEAD): the service uses Deno's, which is slower`,
      ],
    ],
  };
}

function show({ libraries, awsLc, aead, warnings, problems, ok }: Report): string {
  const nameOf = (file: string) => file.replace(/^.*\//, "");
  const rows = libraries.map((
    { file, version, soname, architecture, glibc, compiler },
  ) => [nameOf(file), version ?? "?", soname ?? "none", architecture, glibc ?? "none", compiler ?? "?"]);
  const needs = libraries.flatMap(({ file, needs }) =>
    Object.entries(needs).map(([name, from]) => [nameOf(file), name, from])
  );
  const libc = `AWS-LC: ${oneLine(awsLc ?? "version not found")}`;
  return [
    formatTable(["LIBRARY", "VERSION", "SONAME", "MACHINE", "GLIBC", "COMPILER"], rows),
    "",
    formatTable(["FILE", "NEEDS", "FOUND"], needs),
    "",
    `${libc}; AES-256-GCM exported: ${aead ? "yes" : "no"}`,
    ...warnings.map((text) => `warn  ${oneLine(text)}`),
    ...problems.flatMap(({ message, hint = "" }) => [`FAIL  ${oneLine(message)}`, `      ${oneLine(hint)}`]),
    ...ok ? ["ok    these libraries can be used"] : [],
  ].join("\n");
}

async function check(options: Options, io: CtlIo): Promise<number> {
  const hint = "Give the one folder that has libaws-nitro-enclaves-sdk-c.so.";
  const folder = onePositional(options, "Which folder?", hint).replace(/(?<=.)\/+$/, "");
  const report = await checkFolder(folder, options.text("sysroot") ?? "/");
  return printResult(options, io, { json: report, text: show(report), ok: report.ok });
}
