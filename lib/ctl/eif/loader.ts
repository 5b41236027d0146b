/**
 * What the loader loads for a program and for the libraries that it opens, and where it looks (ld.so(8)): a file's own RUNPATH or RPATH, then the usual
 * folders. An RPATH is not passed on to the libraries below, so a library that is found only that way counts as missing. `LD_LIBRARY_PATH`, caches and
 * `dlopen` by a bare name do not exist in an image.
 *
 * Needs read permission.
 *
 * @module
 */
import { type ElfFile, isPlainPath, readElf, withoutDetours } from "./elf.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import type { ByteSource } from "./source.ts";

/** Opens a file. The caller does not close it. */
export type OpenFile = (path: string) => Promise<ByteSource>;

/** A file of the image, and where it is on this machine. */
interface PlacedFile {
  readonly path: string;
  readonly from: string;
}

/** A file that the loader loads. */
export interface LoadedFile extends PlacedFile {
  readonly elf: ElfFile;
  /** What is loaded for each name that it needs, in its order: paths in the image. */
  readonly needs: ReadonlyMap<string, string>;
}

/** What is loaded. */
interface LoadOptions {
  readonly program?: PlacedFile | undefined;
  /** Opened by the program in this order, by their paths. */
  readonly libraries: readonly PlacedFile[];
  /** More files of the image. */
  readonly files?: readonly PlacedFile[] | undefined;
  /** Where the loader and the C library come from. */
  readonly sysroot: Sysroot;
}

const MAX_FILES = 256;
const MAX_LINKS = 40;
const TRIPLES: Readonly<Record<Architecture, string>> = {
  x86_64: "x86_64-linux-gnu",
  aarch64: "aarch64-linux-gnu",
};
/** Used for a library without a program. */
const LOADERS: Readonly<Record<Architecture, string>> = {
  x86_64: "/lib64/ld-linux-x86-64.so.2",
  aarch64: "/lib/ld-linux-aarch64.so.1",
};

/** Files of a distribution: this machine's, or those in a folder. Links are resolved within the folder, and cannot lead out of it. */
export class Sysroot {
  #folder: string;

  /** @param folder `/` for this machine's own */
  constructor(folder: string) {
    this.#folder = folder.replace(/\/+$/, "");
  }

  /** Where a path of the distribution is on this machine. */
  hostPath(path: string): string {
    return `${this.#folder}${path}`;
  }

  /**
   * A path without links.
   *
   * @param path absolute, within the distribution
   * @returns absolute, within the distribution; undefined when there is nothing
   * @throws {EifError} `eif_input` when links go in circles.
   */
  async resolve(path: string): Promise<string | undefined> {
    let left = path.split("/").filter((part) => part !== "");
    let done: string[] = [];
    for (let links = 0; left.length > 0;) {
      const [part = "", ...rest] = left;
      left = rest;
      if (part === ".") continue;
      if (part === "..") {
        done.pop();
        continue;
      }
      const here = `/${[...done, part].join("/")}`;
      const info = await Deno.lstat(this.hostPath(here)).catch(() => undefined);
      if (info === undefined) return undefined;
      if (!info.isSymlink) {
        done.push(part);
        continue;
      }
      if (++links > MAX_LINKS) {
        throw new EifError("eif_input", `${this.hostPath(path)}: its links go in circles`);
      }
      const to = await Deno.readLink(this.hostPath(here));
      if (to.startsWith("/")) done = [];
      left = [...to.split("/").filter((name) => name !== ""), ...left];
    }
    return `/${done.join("/")}`;
  }

  /** The file at a path, links followed: where it is on this machine. Undefined when there is none. */
  async file(path: string): Promise<string | undefined> {
    if (!isPlainPath(path)) return undefined;
    const resolved = await this.resolve(path);
    if (resolved === undefined) return undefined;
    const info = await Deno.stat(this.hostPath(resolved)).catch(() => undefined);
    return info?.isFile === true ? this.hostPath(resolved) : undefined;
  }
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** The loader's usual folders, those first that this loader itself is in: a loader looks nowhere else, and differs by distribution. */
async function usualFolders(
  sysroot: Sysroot,
  architecture: Architecture,
  loader: string,
): Promise<readonly string[]> {
  const triple = TRIPLES[architecture];
  const folders = ["/lib64", `/lib/${triple}`, "/usr/lib", "/usr/lib64", `/usr/lib/${triple}`, "/lib"];
  const own = folderOf(await sysroot.resolve(loader) ?? "").replace(/^\/usr/, "");
  const isOwn = (folder: string) => folder.replace(/^\/usr/, "") === own;
  return [...folders.filter(isOwn), ...folders.filter((folder) => !isOwn(folder))];
}

/** A file that is being loaded. */
interface Loading extends LoadedFile {
  readonly needs: Map<string, string>;
}

/** One process: libraries that it has already loaded are not searched again. */
class Loader {
  readonly loaded: Loading[] = [];
  #byName = new Map<string, Loading>();
  #options: LoadOptions;
  #open: OpenFile;
  #architecture: Architecture;
  #folders: readonly string[];

  constructor(
    options: LoadOptions,
    open: OpenFile,
    place: { readonly architecture: Architecture; readonly folders: readonly string[] },
  ) {
    this.#options = options;
    this.#open = open;
    this.#architecture = place.architecture;
    this.#folders = place.folders;
  }

  /** The loader itself, which is loaded first. */
  async loadInterpreter(path: string, program: PlacedFile): Promise<void> {
    const { sysroot } = this.#options;
    const from = await sysroot.file(path);
    const elf = from === undefined ? undefined : await readElf(await this.#open(from));
    if (from === undefined || elf?.architecture !== this.#architecture) {
      throw new EifError(
        "library_missing",
        `Cannot find ${sysroot.hostPath(path)}, the loader of ${program.path}${
          from === undefined ? "" : `: that file is not for ${this.#architecture}`
        }`,
      );
    }
    this.#add({ path, from }, elf, baseName(path));
  }

  /** Loads a file, and all that it needs, breadth first. */
  async load(file: PlacedFile): Promise<void> {
    const elf = await readElf(await this.#open(file.from));
    if (elf.architecture !== this.#architecture) {
      const { program, libraries: [library] } = this.#options;
      throw new EifError(
        "eif_input",
        `${file.from} is for ${elf.architecture}, and ${
          (program ?? library)?.from
        } for ${this.#architecture}`,
        { hint: "Give a program and libraries of one architecture." },
      );
    }
    const queue = [this.#add(file, elf)];
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      for (const name of item.elf.needed) {
        if (!this.#byName.has(name)) queue.push(await this.#find(name, item));
        item.needs.set(name, this.#byName.get(name)?.path ?? "");
      }
    }
  }

  /** @returns undefined for a file that is loaded already */
  #add(file: PlacedFile, elf: ElfFile, name = file.path): Loading | undefined {
    const before = this.loaded.find(({ path }) => path === file.path);
    const loading = before ?? { ...file, elf, needs: new Map() };
    // The loader knows it by the requested name, its path and its SONAME, not by its file name.
    for (const known of [name, file.path, elf.soname]) {
      if (known !== undefined && !this.#byName.has(known)) this.#byName.set(known, loading);
    }
    if (before !== undefined) return undefined;
    this.loaded.push(loading);
    if (this.loaded.length > MAX_FILES) {
      throw new EifError("eif_input", `${file.path} is one of more than ${MAX_FILES} files to load`);
    }
    return loading;
  }

  /** Where a path of the image comes from: an added file, a file beside the libraries, or the distribution. */
  async #fileAt(path: string): Promise<string | undefined> {
    const { program, libraries, files = [], sysroot } = this.#options;
    const placed = [...program === undefined ? [] : [program], ...libraries, ...files];
    const given = placed.find((file) => file.path === path);
    if (given !== undefined) return given.from;
    for (const library of libraries) {
      if (folderOf(library.path) !== folderOf(path)) continue;
      const beside = `${folderOf(library.from) || "."}/${baseName(path)}`;
      if ((await Deno.stat(beside).catch(() => undefined))?.isFile === true) return beside;
    }
    return await sysroot.file(path);
  }

  /** Finds and adds a file. @returns undefined for one that is loaded already, by another name */
  async #find(name: string, item: Loading): Promise<Loading | undefined> {
    const foreign: string[] = [];
    const own = item.elf.runPath.map((folder) =>
      folder.replace(/\$ORIGIN|\$\{ORIGIN\}/g, folderOf(item.path))
    );
    for (const folder of name.includes("/") ? [""] : [...own, ...this.#folders]) {
      const path = withoutDetours(`${folder}/${name}`);
      const from = await this.#fileAt(path);
      if (from === undefined) continue;
      const elf = await elfAt(this.#open, from);
      if (!(elf instanceof EifError) && elf.architecture === this.#architecture) {
        return this.#add({ path, from }, elf, name);
      }
      // A distribution may also have libraries for another machine.
      foreign.push(elf instanceof EifError ? elf.message : `${from} is for ${elf.architecture}`);
    }
    const { sysroot, libraries } = this.#options;
    const beside = libraries.find(({ path }) => baseName(path) === name);
    if (beside !== undefined) {
      const elf = await readElf(await this.#open(beside.from));
      // The loader knows an open library by its SONAME. One without (Rust's libnsm.so) is not the library that is needed by that name: a second copy
      // goes where the loader looks.
      if (elf.architecture === this.#architecture && elf.soname === undefined) {
        return this.#add({ path: `${this.#folders[0]}/${name}`, from: beside.from }, elf, name);
      }
    }
    throw new EifError(
      "library_missing",
      `Cannot find ${JSON.stringify(name)} in the folders of ${
        sysroot.hostPath("/")
      }, which ${item.path} needs${foreign.map((why) => `; ${why}`).join("")}`,
      {
        hint: beside === undefined
          ? libraries.some(({ path }) => path === item.path) ? missingHint(name) : undefined
          : `${beside.path} has no such SONAME, or is opened later: give it that SONAME (-Wl,-soname,${name}), or ${item.path} the RUNPATH $ORIGIN.`,
      },
    );
  }

  /** Compares as the loader does what a file needs of a library's versions with those that it has. @throws {EifError} `library_version`. */
  checkVersions({ path, elf }: LoadedFile): void {
    for (const { library, version } of elf.neededVersions) {
      const given = this.#byName.get(library);
      if (given === undefined || given.elf.versions.length === 0 || given.elf.versions.includes(version)) {
        continue;
      }
      const family = version.replace(/[^_]*$/, "");
      const latest = given.elf.versions.filter((name) => name.startsWith(family)).toSorted(compareVersions)
        .at(-1);
      throw new EifError(
        "library_version",
        `${path} needs ${version} of ${library}, and ${given.from} has ${
          latest === undefined ? "no such version" : `versions up to ${latest}`
        }`,
        {
          hint: `Build ${baseName(path)} on the distribution that ${
            this.#options.sysroot.hostPath("/")
          } is of, or an older one; or name the folder of a newer one with --sysroot.`,
        },
      );
    }
  }
}

/** An ELF file, or the reason why it cannot be read as one. */
async function elfAt(open: OpenFile, path: string): Promise<ElfFile | EifError> {
  try {
    return await readElf(await open(path));
  } catch (thrown) {
    if (thrown instanceof EifError) return thrown;
    throw thrown;
  }
}

/** What to do when a library that the program opens needs one that is missing. */
function missingHint(name: string): string {
  return `Put ${name} into the folder of --lib-dir, or install the package that has it and name its distribution's files with --sysroot. In the folder of --lib-dir, libraries that the program does not open itself are found only through a RUNPATH $ORIGIN.`;
}

/** Compares versions numerically: GLIBC_2.9 is before GLIBC_2.34. */
export function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/**
 * Finds what the loader loads, in its order.
 *
 * @throws {EifError} `library_missing`, `library_version`, `elf_malformed`, `eif_input`, `eif_unreadable`.
 */
export async function loadFiles(options: LoadOptions, open: OpenFile): Promise<readonly LoadedFile[]> {
  const { program, libraries, sysroot } = options;
  const opened = [...program === undefined ? [] : [program], ...libraries];
  const [first] = opened;
  if (first === undefined) return [];
  const { architecture, interpreter: own } = await readElf(await open(first.from));
  const interpreter = program === undefined ? LOADERS[architecture] : own;
  const folders = await usualFolders(sysroot, architecture, interpreter ?? "");
  const loader = new Loader(options, open, { architecture, folders });
  if (interpreter !== undefined) await loader.loadInterpreter(interpreter, first);
  for (const file of opened) await loader.load(file);
  for (const file of loader.loaded) loader.checkVersions(file);
  return loader.loaded;
}
