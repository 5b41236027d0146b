/**
 * The enclave's root file system: a program, the libraries that it needs, and the few files that a C library reads. No shell and nothing else.
 *
 * Needs read permission.
 *
 * @module
 */
import { isPlainPath } from "./elf.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import { type LoadedFile, loadFiles, type OpenFile } from "./loader.ts";
import { Sysroot } from "./loader.ts";

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
  /** Libraries that it opens by itself in this order, to lie beside it. If their RUNPATH leads beside them, their dependencies are taken from their folder. */
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
  /** What the loader loads of them, in its order. */
  readonly loaded: readonly LoadedFile[];
}

/** Where the SDK's TLS looks for CA certificates, by itself or as SSL_CERT_FILE says. */
export const CA_BUNDLE_PATH = "/etc/pki/tls/certs/ca-bundle.crt";
/** Empty folders, on which the kernel's file systems are mounted. */
export const MOUNT_POINTS = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var"] as const;

/** What AWS's init mounts a file system of its own on. */
const MOUNTED: readonly string[] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/** The mount point that hides a path of the image while it runs; undefined when the path is seen. */
export function hiddenBy(path: string): string | undefined {
  return MOUNTED.find((folder) => path === folder || path.startsWith(`${folder}/`));
}

const ETC: Readonly<Record<string, string>> = {
  "/etc/group": "root:x:0:\n",
  "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
  "/etc/passwd": "root:x:0:0:root:/:/nonexistent\n",
};

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * Finds all files.
 *
 * @param open for the ELF files among them, and for those that are looked at in the search
 * @throws {EifError} `library_missing`, `library_version`, `elf_malformed`, `eif_input`, `eif_unreadable`.
 */
export async function collectRoot(options: RootOptions, open: OpenFile): Promise<Root> {
  const installDir = options.installDir ?? "/app";
  if (!isPlainPath(installDir)) {
    throw new EifError(
      "eif_input",
      `Cannot install to ${JSON.stringify(installDir)}: it is not an absolute path`,
    );
  }
  const program = `${installDir}/${baseName(options.binary)}`;
  const loaded = await loadFiles({
    program: { path: program, from: options.binary },
    libraries: (options.libraries ?? []).map((from) => ({ path: `${installDir}/${baseName(from)}`, from })),
    files: options.files?.flatMap(({ path, from }) => typeof from === "string" ? [{ path, from }] : []),
    sysroot: new Sysroot(options.sysroot ?? "/"),
  }, open);
  const architecture = loaded.find(({ path }) => path === program)?.elf.architecture;
  if (architecture === undefined) throw new TypeError(`${program} was not loaded`);
  const files = new Map<string, RootFile>();
  const add = (file: RootFile) => {
    if (!isPlainPath(file.path)) {
      throw new EifError("eif_input", `Cannot put a file at ${JSON.stringify(file.path)}`);
    }
    const before = files.get(file.path);
    if (before !== undefined && before.from !== file.from) {
      throw new EifError("eif_input", `Cannot put two files at ${file.path}`, {
        hint: "Remove the --file with that path.",
      });
    }
    files.set(file.path, file);
  };
  for (const [path, text] of Object.entries(ETC)) {
    add({ path, mode: 0o644, from: new TextEncoder().encode(text) });
  }
  if (options.caBundle !== undefined) add({ path: CA_BUNDLE_PATH, mode: 0o644, from: options.caBundle });
  for (const file of options.files ?? []) add(file);
  for (const { path, from } of loaded) add({ path, mode: 0o755, from });
  return {
    architecture,
    program,
    loaded,
    files: [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}
