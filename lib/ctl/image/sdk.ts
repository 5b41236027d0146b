/**
 * What the libraries of the AWS Nitro Enclaves SDK in a folder are, and whether the binary can use them: the same checks as those of
 * an image.
 *
 * @module
 */
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import {
  type ByteSource,
  compareVersions,
  type LoadedFile,
  loadFiles,
  OpenFiles,
  Sysroot,
  textPieces,
} from "../eif/mod.ts";
import { exportsAead, librariesIn, libraryProblems } from "./checks.ts";

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

/** What {@link checkFolder} finds. */
export type Report = Awaited<ReturnType<typeof checkFolder>>;

/** Examines a folder. @throws {EifError} when its libraries cannot be loaded. */
export async function checkFolder(folder: string, sysroot: string) {
  using files = new OpenFiles();
  const open = (path: string) => files.open(path);
  const found = await librariesIn(folder);
  const placed = found.map((from) => ({ path: `${INSTALL_DIR}/${from.replace(/^.*\//, "")}`, from }));
  const loaded = await loadFiles({ libraries: placed, sysroot: new Sysroot(sysroot) }, open);
  const problems = libraryProblems({ loaded });
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
