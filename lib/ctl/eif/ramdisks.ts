/**
 * The two ramdisks of an image as nitro-cli makes them. The first one holds AWS's `init`, which loads the NSM's driver and starts what the second one
 * says: `cmd`, an argument a line, with `env`, a NAME=VALUE a line, in `rootfs/`. As found in aws-nitro-enclaves-cli, `enclave_build`, and
 * aws-nitro-enclaves-sdk-bootstrap, `init/init.c`.
 *
 * @module
 */
import { cpioArchive, type CpioEntry } from "./cpio.ts";
import { EifError } from "./errors.ts";
import { MOUNT_POINTS } from "./rootfs.ts";
import { type ByteSource, bytesSource } from "./source.ts";

/** The first ramdisk: what boots. @param time seconds since 1970, of every file */
export function bootRamdisk(
  { init, nsm }: { readonly init: ByteSource; readonly nsm: ByteSource | undefined },
  time: number,
): ByteSource {
  return cpioArchive("boot ramdisk", [
    { path: "dev", mode: 0o755, kind: "directory" },
    { path: "init", mode: 0o755, kind: "file", content: init },
    // AWS's init continues without it.
    ...nsm === undefined
      ? []
      : [{ path: "nsm.ko", mode: 0o755, kind: "file", content: nsm }] satisfies CpioEntry[],
  ], time);
}

/** What the second ramdisk holds. */
export interface ProgramOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The root file system's files, by their path in it. */
  readonly files: readonly { readonly path: string; readonly mode: number; readonly content: ByteSource }[];
}

/** Lines that `init` reads literally, without quoting. */
function lines(texts: readonly string[], what: string): ByteSource {
  for (const text of texts) {
    if (/[\n\0]/.test(text) || text === "") {
      throw new EifError("eif_input", `Cannot pass ${JSON.stringify(text)} as ${what}`, {
        hint: "Each is one line of a file in the image: it may not be empty, and have no line break.",
      });
    }
  }
  return bytesSource(new TextEncoder().encode(texts.map((text) => `${text}\n`).join("")), what);
}

/** The second ramdisk: the program. @throws {EifError} `eif_input`. */
export function programRamdisk(
  { command, environment, files }: ProgramOptions,
  time: number,
): ByteSource {
  const variables = Object.entries(environment).map(([name, value]) => {
    if (!/^[^=\0\n]+$/.test(name)) {
      throw new EifError("eif_input", `Cannot pass a variable named ${JSON.stringify(name)}`);
    }
    return `${name}=${value}`;
  });
  const entries: CpioEntry[] = [
    { path: "cmd", mode: 0o644, kind: "file", content: lines(command, "an argument") },
    { path: "env", mode: 0o644, kind: "file", content: lines(variables, "a variable") },
    ...MOUNT_POINTS.map((path): CpioEntry => ({ path: `rootfs${path}`, mode: 0o755, kind: "directory" })),
    ...files.map(({ path, mode, content }): CpioEntry => ({
      path: `rootfs${path}`,
      mode,
      kind: "file",
      content,
    })),
  ];
  return cpioArchive("program ramdisk", entries, time);
}
