/**
 * `process` from the client's side: data is sealed under the session key, the service works on it, and its
 * result is opened. Runs in browsers.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
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
  /**
   * Whether the blobs are bound to their direction and request (default true). False is for services that
   * support only the old format.
   */
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
  const { blob, fields, open } = await blobsOf(key, data, bind);
  return await open(await client.request({ type: "process", ciphertext: encodeHex(blob), ...fields }));
}
