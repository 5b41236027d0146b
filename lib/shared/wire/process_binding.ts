/**
 * Binds the blobs of `process`. The old format has no additional data, so a reply also opens as a request: whoever carries the blobs can have the
 * service process its own results. With `bind: true` each blob says in its additional data its direction, and the request that it belongs to.
 *
 * Additional data of AES-256-GCM, 34 bytes:
 *
 * | offset | length | value |
 * |---|---|---|
 * | 0 | 16 | `denclave-process`, ASCII |
 * | 16 | 1 | version, 1 |
 * | 17 | 1 | direction: 1 request, 2 reply |
 * | 18 | 16 | request id |
 *
 * Runs in browsers.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { concat } from "../bytes.ts";
import { field, requiredString, WireError, type WireObject } from "./messages.ts";

/** Bytes of a request id: random, a new one for each request. */
export const REQUEST_ID_LENGTH = 16;

const LABEL = new TextEncoder().encode("denclave-process");
const VERSION = 1;

/** Direction of a blob. */
export type Direction = "request" | "reply";

/**
 * The additional data of a blob.
 *
 * @param requestId {@link REQUEST_ID_LENGTH} bytes
 * @throws {RangeError} on another length.
 */
export function processBinding(direction: Direction, requestId: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = requestId;
  if (length !== REQUEST_ID_LENGTH) {
    throw new RangeError(`Cannot use a request id of ${length} bytes: it has ${REQUEST_ID_LENGTH}`);
  }
  return concat([LABEL, Uint8Array.of(VERSION, direction === "request" ? 1 : 2), requestId]);
}

/** The additional data of a request's blob and of its reply's, 34 bytes each. */
export type BoundBlobs = Readonly<Record<Direction, Uint8Array<ArrayBuffer>>>;

/**
 * What a `process` request binds its blobs to; undefined for the old format.
 *
 * @param options.required refuses the old format
 * @throws {WireError} `binding_required`, or `missing_fields` with the field's name.
 */
export function readProcessBinding(
  request: WireObject,
  { required }: { readonly required: boolean },
): BoundBlobs | undefined {
  const bind = field(request, "bind") ?? false;
  if (typeof bind !== "boolean") throw new WireError("missing_fields", "Field bind must be true or false");
  if (!bind) {
    if (!required) return undefined;
    const parts = "bind true, request_id, and the blob's additional data (docs/protocol.md)";
    throw new WireError("binding_required", `Bind this request: ${parts}`);
  }
  const text = requiredString(request, "request_id", "16 random bytes, hex");
  if (!/^[0-9a-fA-F]{32}$/.test(text)) {
    throw new WireError("missing_fields", "Field request_id must be hex of 16 random bytes");
  }
  const id = decodeHex(text);
  return { request: processBinding("request", id), reply: processBinding("reply", id) };
}
