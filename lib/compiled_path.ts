/**
 * Where a compiled binary has to be. Its permissions name that path: it may start itself and open libraries there and nowhere else. `deno compile` puts the
 * argument of {@link compiledPathArgument} into the binary, where the program reads it, and whoever packs the binary as well.
 *
 * @module
 */
import { EnclaveError } from "./errors.ts";

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

/** A file that is read in pieces. */
export interface BinarySource {
  readonly size: number;
  /** Fills `into` from a place on; gives how many bytes. */
  read(at: number, into: Uint8Array<ArrayBuffer>): Promise<number>;
}

const PIECE_LENGTH = 1024 * 1024;
/** The marker, and the longest path of Linux (PATH_MAX). */
const OVERLAP = PREFIX.length + 2 + 4096;

/**
 * The path that a binary was compiled for, by its bytes.
 *
 * @returns undefined when it is not a compiled binary of this project
 */
export async function compiledPathOf(binary: BinarySource): Promise<string | undefined> {
  const piece = new Uint8Array(PIECE_LENGTH + OVERLAP);
  for (let at = 0; at < binary.size; at += PIECE_LENGTH) {
    let length = 0;
    for (let count = 1; count > 0 && length < piece.length; length += count) {
      count = await binary.read(at + length, piece.subarray(length));
    }
    const found = pathIn(piece.subarray(0, length));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Deno keeps the arguments of a compiled binary as JSON. */
function pathIn(bytes: Uint8Array): string | undefined {
  const marker = new TextEncoder().encode(`"${PREFIX}/`);
  const [quote = 0] = marker;
  for (let at = bytes.indexOf(quote); at >= 0; at = bytes.indexOf(quote, at + 1)) {
    if (!marker.every((byte, index) => bytes[at + index] === byte)) continue;
    const end = bytes.indexOf(quote, at + marker.length);
    if (end > at) return new TextDecoder().decode(bytes.subarray(at + marker.length - 1, end));
  }
  return undefined;
}

/**
 * Refuses to go on in a binary that is not where it was compiled for.
 *
 * @throws {EnclaveError} `moved_binary`, with both paths.
 */
export function checkOwnPath(compiledFor: string | undefined): void {
  if (!Deno.build.standalone) return;
  const self = Deno.execPath();
  if (Deno.permissions.querySync({ name: "run", command: self }).state === "granted") return;
  throw new EnclaveError(
    `Cannot run from ${self}: this binary was compiled for ${
      compiledFor ?? "another path"
    }, and may start itself from there alone`,
    {
      code: "moved_binary",
      hint:
        "Put it there under that name, or compile it for this path (deno task compile --install-dir DIR --output FILE).",
    },
  );
}
