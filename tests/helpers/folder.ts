/**
 * A temporary folder with files, removed when the test ends.
 *
 * @module
 */

/** What is to be at a path: a text, bytes, or a link. */
export type FileContent = string | Uint8Array | { readonly link: string };

/** A folder of a test's own. */
export class Folder implements AsyncDisposable {
  /** Absolute, without links. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes one, with files. */
  static async make(files: Readonly<Record<string, FileContent>> = {}): Promise<Folder> {
    const folder = new Folder(await Deno.realPath(await Deno.makeTempDir({ prefix: "denclave-" })));
    for (const [path, content] of Object.entries(files)) await folder.write(path, content);
    return folder;
  }

  /** Puts a file there, for its owner alone, and the folders above it. */
  async write(path: string, content: FileContent): Promise<void> {
    const full = `${this.path}/${path}`;
    await Deno.mkdir(full.slice(0, full.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(full, content, { mode: 0o600 });
    else if (content instanceof Uint8Array) await Deno.writeFile(full, content, { mode: 0o600 });
    else await Deno.symlink(content.link, full);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
