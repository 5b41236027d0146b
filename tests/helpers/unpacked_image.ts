/**
 * An image's root file system, unpacked into a folder and run there as AWS's init would: `/proc` and `/dev`
 * mounted, the environment of the image alone. (Not `/tmp`: these tests' binary may have been compiled for a
 * folder in it.) Needs root, which a test of the compiled binary has in CI.
 *
 * @module
 */
import { type EifDescription, FileSource } from "../../lib/ctl/eif/mod.ts";
import { readExactly } from "../../lib/ctl/eif/source.ts";
import { unpackCpio } from "./cpio.ts";
import { Folder } from "./folder.ts";
import type { Launch } from "./service_process.ts";
import { skipTests } from "./skip.ts";

/** What `init` does after it has changed to `rootfs`, as far as a program sees it. */
const ENTER = `
set -e
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
`;

/** Whether a test can have its own root file system on this machine; reports it if not. */
export async function canEnter(): Promise<boolean> {
  const { success } = await new Deno.Command("unshare", { args: ["--mount", "true"] }).output()
    .catch(() => ({ success: false }));
  if (!success) skipTests("running an image's root file system, which needs root and unshare");
  return success;
}

/**
 * How to run a program in a root file system that has `/proc` and `/dev`. @param environment each
 * `NAME=value`
 */
export function launchIn(root: string, environment: readonly string[], command: readonly string[]): Launch {
  const path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  return {
    command: "unshare",
    args: [
      "--mount",
      "env",
      "--ignore-environment",
      path,
      ...environment,
      "sh",
      "-c",
      ENTER,
      "sh",
      root,
      ...command,
    ],
  };
}

/** A root file system, unpacked. */
export class UnpackedImage implements AsyncDisposable {
  #folder: Folder;
  /** What the image starts, and with which variables. */
  readonly command: readonly string[];
  readonly environment: readonly string[];

  private constructor(folder: Folder, command: readonly string[], environment: readonly string[]) {
    this.#folder = folder;
    this.command = command;
    this.environment = environment;
  }

  /** Unpacks an image's second ramdisk, which is not compressed. */
  static async unpack(path: string, { sections }: EifDescription): Promise<UnpackedImage> {
    const [, ramdisk] = sections.filter(({ type }) => type === "ramdisk");
    if (ramdisk === undefined) throw new Error("no second ramdisk");
    using file = await FileSource.open(path);
    const folder = await Folder.make();
    const lines = { cmd: [""], env: [""] };
    for (const { path, mode, content } of unpackCpio(await readExactly(file, ramdisk.offset, ramdisk.size))) {
      if (path === "cmd" || path === "env") {
        lines[path] = new TextDecoder().decode(content).trim().split("\n");
      } else if ((mode & 0o170000) === 0o040000) await Deno.mkdir(`${folder.path}/${path}`);
      else {
        await folder.write(path, content);
        await Deno.chmod(`${folder.path}/${path}`, mode & 0o777);
      }
    }
    return new UnpackedImage(folder, lines.cmd, lines.env);
  }

  /** How to run a program of it. */
  launch(command: readonly string[]): Launch {
    return launchIn(`${this.#folder.path}/rootfs`, this.environment, command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}
