/**
 * CBOR in and out, with the npm package `cborg`. Add other packages with `deno task add npm:<name>`.
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

/** Sorts an array of names and removes duplicates. */
export function workflow(plaintext: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const names = [...new Set(parseNames(plaintext))].sort();
  // A copy, because the result is wiped and the package may reuse its buffer.
  return new Uint8Array(encode(names));
}
