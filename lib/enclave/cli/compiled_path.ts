/**
 * The path where a compiled binary must be installed. Its permissions name that path: only there can it start itself and open libraries. `deno compile` puts the
 * argument of {@link compiledPathArgument} into the binary, where the program reads it.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

const PREFIX = "--compiled-for=";

/** The first argument of a compiled binary. */
export function compiledPathArgument(path: string): string {
  return `${PREFIX}${path}`;
}

/** Takes that argument off a command line; it is not there when the program runs from source. */
export function takeCompiledPath(
  argv: readonly string[],
): { readonly compiledFor: string | undefined; readonly rest: readonly string[] } {
  const [first, ...rest] = argv;
  return first?.startsWith(PREFIX)
    ? { compiledFor: first.slice(PREFIX.length), rest }
    : { compiledFor: undefined, rest: argv };
}

/**
 * Throws in a binary that is not at the path that it was compiled for.
 *
 * @throws {EnclaveError} `moved_binary`, with both paths.
 */
export function checkOwnPath(compiledFor: string | undefined): void {
  if (!Deno.build.standalone) return;
  const self = Deno.execPath();
  if (Deno.permissions.querySync({ name: "run", command: self }).state === "granted") return;
  const place = `${compiledFor ?? "another path"}, and may start itself from there alone`;
  throw new EnclaveError(`Cannot run from ${self}: this binary was compiled for ${place}`, {
    code: "moved_binary",
    hint:
      "Put it there under that name, or compile it for this path (deno task compile --install-dir DIR --output FILE).",
  });
}
