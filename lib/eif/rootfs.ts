/**
 * The enclave's root file system: a program, what it needs to be loaded, and the few files that a C library looks at. No shell, nothing else.
 *
 * Needs read permission.
 *
 * @module
 */
import { type ElfFile, isPlainPath, readElf, withoutDetours } from "./elf.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import type { ByteSource } from "./source.ts";
import { Sysroot } from "./sysroot.ts";

/** A file of the image. */
export interface RootFile {
  /** In the image, absolute. */
  readonly path: string;
  readonly mode: number;
  /** Its bytes, or where they are on this machine. */
  readonly from: string | Uint8Array<ArrayBuffer>;
}

/** What the root file system is made of. */
export interface RootOptions {
  /** The program. */
  readonly binary: string;
  /** Libraries that it opens by itself, to lie beside it. */
  readonly libraries?: readonly string[] | undefined;
  /** Folder of both in the image. */
  readonly installDir?: string | undefined;
  /** PEM: the CA certificates that the program trusts. */
  readonly caBundle?: Uint8Array<ArrayBuffer> | undefined;
  /** More files, by their path in the image. */
  readonly files?: readonly RootFile[] | undefined;
  /** Where the loader and the C library come from: a distribution's files. This machine's by default. */
  readonly sysroot?: string | undefined;
}

/** A root file system, found. */
export interface Root {
  readonly architecture: Architecture;
  /** Sorted by path. */
  readonly files: readonly RootFile[];
  /** The program's path in the image. */
  readonly program: string;
}

/** Where the SDK's TLS looks for CA certificates, by itself or as SSL_CERT_FILE says. */
export const CA_BUNDLE_PATH = "/etc/pki/tls/certs/ca-bundle.crt";
/** Folders that are there, empty: the kernel's file systems are mounted on them. */
export const MOUNT_POINTS = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var"] as const;

/** What AWS's init mounts a file system of its own on. */
const MOUNTED: readonly string[] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/** The mount point that hides a path of the image while it runs; undefined when the path is seen. */
export function hiddenBy(path: string): string | undefined {
  return MOUNTED.find((folder) => path === folder || path.startsWith(`${folder}/`));
}

const MAX_FILES = 256;
const TRIPLES: Readonly<Record<Architecture, string>> = {
  x86_64: "x86_64-linux-gnu",
  aarch64: "aarch64-linux-gnu",
};
const ETC: Readonly<Record<string, string>> = {
  "/etc/group": "root:x:0:\n",
  "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
  "/etc/passwd": "root:x:0:0:root:/:/nonexistent\n",
};

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** Opens a file, which somebody else closes. */
export type OpenFile = (path: string) => Promise<ByteSource>;

/** An ELF file of this architecture, or undefined: a distribution may have another machine's beside it. */
async function elfOf(
  open: OpenFile,
  path: string,
  architecture: Architecture,
): Promise<ElfFile | undefined> {
  try {
    const elf = await readElf(await open(path));
    return elf.architecture === architecture ? elf : undefined;
  } catch (thrown) {
    if (thrown instanceof EifError) return undefined;
    throw thrown;
  }
}

/** The loader's usual folders, those first that this loader itself is in: a loader looks nowhere else, and differs by distribution. */
async function usualFolders(
  sysroot: Sysroot,
  architecture: Architecture,
  loader: string | undefined,
): Promise<readonly string[]> {
  const triple = TRIPLES[architecture];
  const folders = ["/lib64", `/lib/${triple}`, "/usr/lib", "/usr/lib64", `/usr/lib/${triple}`, "/lib"];
  const own = folderOf(loader === undefined ? "" : await sysroot.resolve(loader) ?? "").replace(/^\/usr/, "");
  const isOwn = (folder: string) => folder.replace(/^\/usr/, "") === own;
  return [...folders.filter(isOwn), ...folders.filter((folder) => !isOwn(folder))];
}

interface Loaded {
  /** In the image. */
  readonly path: string;
  readonly elf: ElfFile;
}

/**
 * Finds all files.
 *
 * @param open for the ELF files among them, and for those that are looked at in the search
 * @throws {EifError} `library_missing`, `elf_malformed`, `eif_input`, `eif_unreadable`.
 */
export async function collectRoot(options: RootOptions, open: OpenFile): Promise<Root> {
  const installDir = options.installDir ?? "/app";
  if (!isPlainPath(installDir)) {
    throw new EifError(
      "eif_input",
      `Cannot install to ${JSON.stringify(installDir)}: it is no absolute path`,
    );
  }
  const sysroot = new Sysroot(options.sysroot ?? "/");
  const program = `${installDir}/${baseName(options.binary)}`;
  const main = await readElf(await open(options.binary));
  const { architecture, interpreter } = main;
  const files: RootFile[] = [{ path: program, mode: 0o755, from: options.binary }];
  const queue: Loaded[] = [{ path: program, elf: main }];
  // Names that are there: what is loaded already is not looked for again.
  const names = new Set<string>();
  // The loader knows an open library by its SONAME. One without (Rust's libnsm.so) is looked for by those that need it, in the loader's folders.
  const nameless = new Map<string, string>();
  for (const library of options.libraries ?? []) {
    const elf = await readElf(await open(library));
    if (elf.architecture !== architecture) {
      throw new EifError(
        "eif_input",
        `${library} is for ${elf.architecture}, and ${options.binary} for ${architecture}`,
      );
    }
    const path = `${installDir}/${baseName(library)}`;
    files.push({ path, mode: 0o755, from: library });
    queue.push({ path, elf });
    names.add(baseName(library)).add(elf.soname ?? baseName(library));
    if (elf.soname === undefined) nameless.set(baseName(library), library);
  }
  if (interpreter !== undefined) {
    const from = await sysroot.file(interpreter);
    if (from === undefined) {
      throw new EifError(
        "library_missing",
        `Cannot find ${sysroot.hostPath(interpreter)}, the loader of ${program}`,
      );
    }
    files.push({ path: interpreter, mode: 0o755, from });
    names.add(baseName(interpreter));
  }
  const folders = await usualFolders(sysroot, architecture, interpreter);
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
    const { path, elf } = item;
    const own = elf.runPath.map((folder) => folder.replace(/\$ORIGIN|\$\{ORIGIN\}/g, folderOf(path)));
    for (const name of elf.needed) {
      const again = own.includes(installDir) ? undefined : nameless.get(name);
      if (again !== undefined) {
        nameless.delete(name);
        files.push({ path: `${folders[0]}/${name}`, mode: 0o755, from: again });
      }
      if (names.has(name)) continue;
      names.add(name);
      const found = await findLibrary(name, [...own, ...folders], { sysroot, architecture, open });
      if (found === undefined) throw missing(sysroot, name, path);
      files.push({ path: found.path, mode: 0o755, from: found.from });
      queue.push({ path: found.path, elf: found.elf });
      if (files.length > MAX_FILES) {
        throw new EifError("eif_input", `${program} needs more than ${MAX_FILES} files`);
      }
    }
  }
  for (const [path, text] of Object.entries(ETC)) {
    files.push({ path, mode: 0o644, from: new TextEncoder().encode(text) });
  }
  if (options.caBundle !== undefined) {
    files.push({ path: CA_BUNDLE_PATH, mode: 0o644, from: options.caBundle });
  }
  files.push(...options.files ?? []);
  for (const { path } of files) {
    if (!isPlainPath(path)) throw new EifError("eif_input", `Cannot put a file at ${JSON.stringify(path)}`);
  }
  return { architecture, program, files: files.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

async function findLibrary(
  name: string,
  folders: readonly string[],
  { sysroot, architecture, open }: {
    readonly sysroot: Sysroot;
    readonly architecture: Architecture;
    readonly open: OpenFile;
  },
): Promise<{ readonly path: string; readonly from: string; readonly elf: ElfFile } | undefined> {
  for (const folder of folders) {
    const path = withoutDetours(name.includes("/") ? name : `${folder}/${name}`);
    const from = await sysroot.file(path);
    const elf = from === undefined ? undefined : await elfOf(open, from, architecture);
    if (from !== undefined && elf !== undefined) return { path, from, elf };
  }
  return undefined;
}

function missing(sysroot: Sysroot, name: string, neededBy: string): EifError {
  return new EifError(
    "library_missing",
    `Cannot find ${JSON.stringify(name)} in the folders of ${sysroot.hostPath("/")}, which ${neededBy} needs`,
  );
}
