/**
 * Async: long work in rounds, so that other requests are served in between, and so that it stops when the request is abandoned. Strengthens a password
 * with a salt. The input is 16 bytes of salt, then the password; the result is 32 bytes.
 *
 * @module
 */
import { type WorkflowContext, WorkflowError } from "../../lib/workflow_context.ts";

const SALT_LENGTH = 16;
const ROUNDS = 1_000;
const ROUNDS_AT_A_TIME = 100;

/** Yields to other requests. Throws once the request was answered `timeout`; the error is then discarded. */
async function yieldToOthers(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal.throwIfAborted();
}

/** HMAC-SHA-256 of the password under the salt, repeated `ROUNDS` times. */
export async function workflow(
  plaintext: Uint8Array<ArrayBuffer>,
  { signal }: WorkflowContext,
): Promise<Uint8Array<ArrayBuffer>> {
  if (plaintext.length <= SALT_LENGTH) {
    throw new WorkflowError("too_short", `Give ${SALT_LENGTH} bytes of salt and a password`);
  }
  const key = await crypto.subtle.importKey(
    "raw",
    plaintext.subarray(0, SALT_LENGTH),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  let bytes = new Uint8Array(plaintext.subarray(SALT_LENGTH));
  for (let round = 0; round < ROUNDS; round++) {
    if (round % ROUNDS_AT_A_TIME === 0) await yieldToOthers(signal);
    bytes = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
  }
  return bytes;
}
