/**
 * One `up` a file: the file itself is locked, so nothing has to be written, and the lock ends with the
 * process.
 *
 * Permission: to read the file.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";

const LOCK_MS = 500;

/** A locked file. */
export class FileLock implements Disposable {
  #file: Deno.FsFile;
  #path: string;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** Locks a file. @throws {EnclaveError} `already_running` when another process has the lock */
  static async take(path: string): Promise<FileLock> {
    return new FileLock(path, await lock(path));
  }

  /**
   * Locks the file that has the name now: an editor may have put another in its place.
   *
   * @throws as {@link FileLock.take}
   */
  async renew(): Promise<void> {
    const [held, named] = [await this.#file.stat(), await Deno.stat(this.#path)];
    if (held.ino === named.ino && held.dev === named.dev) return;
    const file = await lock(this.#path);
    this.#file.close();
    this.#file = file;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

async function lock(path: string): Promise<Deno.FsFile> {
  const file = await Deno.open(path);
  const refused = new EnclaveError(`Another denclavectl up runs for ${path}`, {
    code: "already_running",
    hint:
      "denclavectl status shows what it runs. Stop it first, or send it SIGHUP to have it read the file again.",
  });
  // Without the lock the file is not closed: the wait for it cannot be ended, only the process can.
  await within(LOCK_MS, file.lock(true), () => refused);
  return file;
}
