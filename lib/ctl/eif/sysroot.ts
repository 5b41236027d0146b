/**
 * Files of a distribution: this machine's, or those in a folder. Links are resolved within the folder, and cannot lead out of it.
 *
 * Needs read permission.
 *
 * @module
 */
import { isPlainPath } from "./elf.ts";
import { EifError } from "./errors.ts";

const MAX_LINKS = 40;

/** A distribution's files. */
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
