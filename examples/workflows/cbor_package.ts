/**
 * With a package: CBOR in and out, by `cborg`. Another package is added by `deno task add npm:<name>`.
 *
 * @module
 */
import { decode, encode } from "cborg";
import { WorkflowError } from "../../lib/workflow_context.ts";

function parseNames(plaintext: Uint8Array): readonly string[] {
  let value: unknown;
  try {
    value = decode(plaintext);
  } catch {
    throw new WorkflowError("not_cbor", "The names must be CBOR");
  }
  if (Array.isArray(value) && value.every((name) => typeof name === "string")) return value;
  throw new WorkflowError("names", "The names must be an array of text");
}

/** An array of names gives them sorted, each once. */
export function workflow(plaintext: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const names = [...new Set(parseNames(plaintext))].sort();
  // A copy: the package keeps memory of its own, and the result is wiped.
  return new Uint8Array(encode(names));
}
