/**
 * A workflow that tries what a process may do while it holds FFI, and reports which of it worked. It replaces
 * `lib/workflow.ts` in a run of `main.ts` from source.
 *
 * @module
 */
import { LIBC_PATHS } from "../../ffi/libc.ts";

const TRIES: Readonly<Record<string, () => unknown>> = {
  "open libc": () =>
    LIBC_PATHS.map((path) => tried(() => Deno.dlopen(path, {}).close())).includes(true) || fail(),
  "open any library": () => Deno.dlopen("/lib/x86_64-linux-gnu/libm.so.6", {}).close(),
  "read a file of the system": () => Deno.readTextFileSync("/etc/hostname"),
  "write a file": () => Deno.writeTextFileSync("/tmp/denclave-pried", ""),
  "read a variable": () => Deno.env.get("HOME"),
  "listen": () => Deno.listen({ hostname: "127.0.0.1", port: 0 }).close(),
  "ask for FFI": () => Deno.permissions.requestSync({ name: "ffi" }).state === "granted" || fail(),
};

function fail(): never {
  throw new TypeError("It did not work");
}

function tried(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch {
    return false;
  }
}

/** What worked, as JSON. With a plaintext of text, throws an error with this message. */
export function workflow(plaintext: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (plaintext.length > 1) throw new Error(new TextDecoder().decode(plaintext));
  const worked = Object.entries(TRIES).filter(([, run]) => tried(run)).map(([name]) => name);
  return new TextEncoder().encode(JSON.stringify(worked));
}
