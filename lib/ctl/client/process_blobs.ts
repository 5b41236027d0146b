/**
 * The blobs of `process` from the client's side.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import type { SealingKey } from "../../shared/crypto/sealing.ts";
import { requiredString, type WireObject } from "../../shared/wire/messages.ts";
import { processBinding, REQUEST_ID_LENGTH } from "../../shared/wire/process_binding.ts";

/** The request's blob, the fields that bind it, and what opens the reply's. */
export function blobsOf(sealing: SealingKey, data: Uint8Array, bind: boolean) {
  const id = bind ? crypto.getRandomValues(new Uint8Array(REQUEST_ID_LENGTH)) : undefined;
  return {
    blob: sealing.seal(data, id && processBinding("request", id)),
    fields: id === undefined ? {} : { bind: true, request_id: encodeHex(id) },
    open: (reply: WireObject): Uint8Array<ArrayBuffer> => {
      const result = decodeHex(requiredString(reply, "result", "the sealed result, hex"));
      return sealing.open(result, id && processBinding("reply", id));
    },
  };
}
