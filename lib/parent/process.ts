/**
 * `process` from the client's side: data is sealed under the session key, the service works on it, and its result is opened.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import type { SealingKey } from "../crypto/sealing.ts";
import { processBinding, REQUEST_ID_LENGTH } from "../wire/process_binding.ts";
import { requiredString } from "../wire/messages.ts";
import type { Requester } from "./client.ts";

export { type MaybePromise, OpenError, SealingKey } from "../crypto/sealing.ts";
export { SecretBytes } from "../crypto/secret_bytes.ts";
export { EnclaveError, type EnclaveErrorOptions } from "../errors.ts";
export type { Requester } from "./client.ts";

/** Options of {@link processData}. */
export interface ProcessOptions {
  /** Whether the blobs are bound to their direction and request. Yes, unless false: for services that know the old format alone. */
  readonly bind?: boolean;
}

/**
 * Has the service work on data.
 *
 * @param key the session key; borrowed
 * @returns the result, the caller's to wipe
 * @throws {ServiceError} with the service's code
 * @throws {OpenError} when the result is not the answer to this request.
 */
export async function processData(
  client: Requester,
  { key, data }: { readonly key: SealingKey; readonly data: Uint8Array },
  { bind = true }: ProcessOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const id = bind ? crypto.getRandomValues(new Uint8Array(REQUEST_ID_LENGTH)) : undefined;
  const dataOf = (direction: "request" | "reply") => id && processBinding(direction, id);
  const ciphertext = encodeHex(await key.seal(data, dataOf("request")));
  const reply = await client.request({
    type: "process",
    ciphertext,
    ...(id === undefined ? {} : { bind: true, request_id: encodeHex(id) }),
  });
  const result = decodeHex(requiredString(reply, "result", "the sealed result, hex"));
  return await key.open(result, dataOf("reply"));
}
