/**
 * `denclavectl sdk check`: whether a folder has libraries of the AWS Nitro Enclaves SDK that the binary can use, and what they are. The same checks as those of
 * `denclavectl eif build`.
 *
 * @module
 */
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
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
import { oneLine } from "../terminal/printing.ts";
import { exportsAead, librariesIn, libraryProblems } from "./image_checks.ts";
import type { CtlIo } from "../terminal/io.ts";

const SPECS = [
  {
    name: "sysroot",
    value: "DIR",
    help: "root of the file tree with the loader and the C library (default /)",
  },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: denclavectl sdk check <folder> [--sysroot DIR]

Whether the folder's libaws-c-common.so, libaws-nitro-enclaves-sdk-c.so and libnsm.so can be used in an image, and what they are.

${helpLines(SPECS)}

exit codes: 0 they can be used, 1 they cannot, 2 usage, 69 one is not there
`;

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

type Texts = { readonly [name in keyof typeof TEXTS]: string | undefined };

async function textsIn(file: ByteSource): Promise<Texts> {
  const found: Record<string, string | undefined> = {};
  for await (const text of textPieces(file, MAX_TEXT_LENGTH)) {
    for (const [name, pattern] of Object.entries(TEXTS)) found[name] ??= pattern.exec(text)?.[1];
  }
  return { sdk: undefined, awsLc: undefined, openSsl: undefined, compiler: undefined, ...found };
}

/** The version in a file's name, which its link leads to: `libaws-c-common.so.1.0.0`. */
async function versionByName(path: string): Promise<string | undefined> {
  const [, version] = /\.so\.([^/]+)$/.exec(await Deno.realPath(path)) ?? [];
  return version;
}

/** What is reported about a library. */
interface Described {
  readonly file: string;
  readonly architecture: string;
  readonly soname: string | undefined;
  readonly version: string | undefined;
  readonly compiler: string | undefined;
  /** The newest version of glibc that it asks for. */
  readonly glibc: string | undefined;
  /** File by name. */
  readonly needs: Readonly<Record<string, string>>;
}

function glibcOf({ elf }: LoadedFile): string | undefined {
  return elf.neededVersions.map(({ version }) => version).filter((name) => /^GLIBC_[0-9]/.test(name))
    .toSorted(compareVersions).at(-1);
}

async function describe(
  file: LoadedFile,
  { loaded, texts }: { readonly loaded: readonly LoadedFile[]; readonly texts: Texts },
): Promise<Described> {
  return {
    file: file.from,
    architecture: file.elf.architecture,
    soname: file.elf.soname,
    version: texts.sdk ?? await versionByName(file.from),
    compiler: texts.compiler,
    glibc: glibcOf(file),
    needs: Object.fromEntries(
      [...file.needs].map((
        [name, path],
      ) => [name, loaded.find((other) => other.path === path)?.from ?? path]),
    ),
  };
}

/** A library of OpenSSL by the name that it has in a distribution. AWS-LC's has no version in its name. */
function systemOpenSsl(loaded: readonly LoadedFile[]): string | undefined {
  return loaded.flatMap(({ needs }) => [...needs.keys()]).find((name) =>
    /^lib(crypto|ssl)\.so\.[0-9]/.test(name)
  );
}

interface Report {
  readonly ok: boolean;
  readonly libraries: readonly Described[];
  readonly awsLc: string | undefined;
  readonly openSsl: string | undefined;
  readonly aead: boolean;
  readonly problems: readonly { readonly message: string; readonly hint: string | undefined }[];
  readonly warnings: readonly string[];
}

/** Examines a folder. @throws {EifError} when its libraries cannot be loaded. */
async function checkFolder(folder: string, sysroot: string): Promise<Report> {
  using files = new OpenFiles();
  const open = (path: string) => files.open(path);
  const found = await librariesIn(folder);
  const placed = found.map((from) => ({ path: `${INSTALL_DIR}/${from.replace(/^.*\//, "")}`, from }));
  const loaded = await loadFiles({ libraries: placed, sysroot: new Sysroot(sysroot) }, open);
  const problems = libraryProblems({ loaded });
  const libraries: Described[] = [];
  let awsLc: string | undefined;
  let openSsl: string | undefined = systemOpenSsl(loaded);
  for (const file of loaded) {
    // Skip the distribution's own libraries.
    if (!file.from.startsWith(`${folder}/`)) continue;
    const texts = await textsIn(await open(file.from));
    awsLc ??= texts.awsLc;
    openSsl ??= texts.openSsl;
    libraries.push(await describe(file, { loaded, texts }));
  }
  const aead = exportsAead(loaded);
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

function show(report: Report): string {
  const rows = report.libraries.map(({ file, version, soname, architecture, glibc, compiler }) => [
    file.replace(/^.*\//, ""),
    version ?? "?",
    soname ?? "none",
    architecture,
    glibc ?? "none",
    compiler ?? "?",
  ]);
  const needs = report.libraries.flatMap(({ file, needs }) =>
    Object.entries(needs).map((
      [name, from],
    ) => [file.replace(/^.*\//, ""), name, from])
  );
  const lines = [
    `AWS-LC: ${oneLine(report.awsLc ?? "version not found")}; AES-256-GCM exported: ${
      report.aead ? "yes" : "no"
    }`,
    ...report.warnings.map((text) => `warn  ${oneLine(text)}`),
    ...report.problems.flatMap((
      { message, hint = "" },
    ) => [`FAIL  ${oneLine(message)}`, `      ${oneLine(hint)}`]),
    ...report.ok ? ["ok    these libraries can be used"] : [],
  ];
  return `${formatTable(["LIBRARY", "VERSION", "SONAME", "MACHINE", "GLIBC", "COMPILER"], rows)}\n\n${
    formatTable(["FILE", "NEEDS", "FOUND"], needs)
  }\n\n${lines.join("\n")}\n`;
}

/** `denclavectl sdk check`. */
export async function sdkCheck(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env, { positionals: 1 });
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const [folder] = options.positionals;
  if (folder === undefined) {
    throw new UsageError("Which folder?", "Give the one folder that has libaws-nitro-enclaves-sdk-c.so.");
  }
  const report = await checkFolder(folder.replace(/(?<=.)\/+$/, ""), options.text("sysroot") ?? "/");
  io.stdout(options.on("json") ? `${JSON.stringify(report, null, 2)}\n` : show(report));
  return report.ok ? EXIT.ok : EXIT.failed;
}
