/**
 * `process` from the client's side: data is sealed under the session key, the service works on it, and its result is opened.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { SealingKey } from "../../shared/crypto/sealing.ts";
import type { Requester } from "./client.ts";
import { blobsOf } from "./process_blobs.ts";

export { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";
export { Client, type ClientOptions, type Requester, ServiceError, type TypedRequester } from "./client.ts";
export type * from "../../shared/wire/protocol.ts";
export type { Address } from "../../shared/wire/address.ts";
export type { Framing } from "../../shared/wire/framing.ts";
export type { WireObject } from "../../shared/wire/messages.ts";

/** Options of {@link processData}. */
export interface ProcessOptions {
  /** Whether the blobs are bound to their direction and request (default true). False is for services that support only the old format. */
  readonly bind?: boolean;
}

/**
 * Has the service work on data.
 *
 * @param key the session key, 32 bytes; borrowed
 * @returns the result, the caller's to wipe
 * @throws {ServiceError} with the service's code
 * @throws {EnclaveError} `decrypt_failed` when the result is not the answer to this request.
 * @throws {RangeError} on a key of another length.
 */
export async function processData(
  client: Requester,
  { key, data }: { readonly key: Uint8Array; readonly data: Uint8Array },
  { bind = true }: ProcessOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  using sealing = new SealingKey(SecretBytes.copyOf(key), { random: HOST_RANDOM.fill });
  const { blob, fields, open } = blobsOf(sealing, data, bind);
  return open(await client.request({ type: "process", ciphertext: encodeHex(blob), ...fields }));
}
