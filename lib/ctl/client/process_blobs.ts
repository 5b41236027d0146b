/**
 * The blobs of one `process` request: AES-256-GCM of Web Crypto. Runs in browsers.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { concat } from "../../shared/bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { processBinding, REQUEST_ID_LENGTH } from "../../shared/wire/process_binding.ts";
import { requiredString, type WireObject } from "../../shared/wire/messages.ts";

const KEY_LENGTH = 32;
const NONCE_LENGTH = 12;

function algorithm(
  iv: Uint8Array<ArrayBuffer>,
  direction: "request" | "reply",
  id: Uint8Array | undefined,
): AesGcmParams {
  const additionalData = id && processBinding(direction, id);
  return { name: "AES-GCM", iv, ...(additionalData === undefined ? {} : { additionalData }) };
}

/** The request's blob, the fields that bind it, and what opens the reply's. @throws {RangeError} on a key of another length. */
export async function blobsOf(key: Uint8Array, data: Uint8Array, bind: boolean) {
  if (key.length !== KEY_LENGTH) {
    throw new RangeError(`Cannot seal with a key of ${key.length} bytes: AES-256 has ${KEY_LENGTH}`);
  }
  const raw = new Uint8Array(key);
  const sealing = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"])
    .finally(() => raw.fill(0));
  const id = bind ? crypto.getRandomValues(new Uint8Array(REQUEST_ID_LENGTH)) : undefined;
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  const sealed = await crypto.subtle.encrypt(algorithm(nonce, "request", id), sealing, new Uint8Array(data));
  return {
    blob: concat([nonce, new Uint8Array(sealed)]),
    fields: id === undefined ? {} : { bind: true, request_id: encodeHex(id) },
    open: async (reply: WireObject): Promise<Uint8Array<ArrayBuffer>> => {
      const blob = decodeHex(requiredString(reply, "result", "the sealed result, hex"));
      const how = algorithm(blob.slice(0, NONCE_LENGTH), "reply", id);
      try {
        return new Uint8Array(await crypto.subtle.decrypt(how, sealing, blob.subarray(NONCE_LENGTH)));
      } catch (thrown) {
        const what = "Cannot open the result: it is not the answer to this request, or was changed";
        throw new EnclaveError(what, {
          code: "decrypt_failed",
          hint: "Check that the service has the same session key, and that no byte changed on the way.",
          cause: thrown,
        });
      }
    },
  };
}
