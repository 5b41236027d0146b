/**
 * What an account can sign: a message (EIP-191), typed data (EIP-712), a transaction, an authorization
 * (EIP-7702), or a digest. Exactly one of them. It is parsed before the key is opened, and signed afterwards.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { authorization, eip191Signer, serializeSignature } from "micro-eth-signer";
import { SCALAR_LENGTH, signDigest } from "../../../shared/crypto/secp256k1.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { PayloadError, refuse } from "../../../shared/crypto/payload_error.ts";
import { field } from "../../../shared/json.ts";
import { isGiven } from "../../../shared/wire/fields.ts";
import { type Authorization, parseAuthorization } from "./authorization.ts";
import { parseHex } from "./quantity.ts";
import { type ParsedTransaction, parseTransaction } from "./transaction.ts";
import { type ParsedTypedData, parseTypedData } from "./typed_data.ts";

/** A parsed payload. */
export type Payload =
  | { readonly kind: "message"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "typedData"; readonly data: ParsedTypedData }
  | { readonly kind: "transaction"; readonly transaction: ParsedTransaction }
  | { readonly kind: "authorization"; readonly authorization: Authorization }
  | { readonly kind: "digest"; readonly digest: Uint8Array<ArrayBuffer> };

/** The kinds of payload: names of the fields that hold them. */
export const PAYLOAD_KINDS = ["message", "typedData", "transaction", "authorization", "digest"] as const;

const MAX_MESSAGE_LENGTH = 1024 * 1024;

function parseMessage(value: unknown): Uint8Array<ArrayBuffer> {
  const raw = field(value, "raw");
  if (raw !== undefined) return decodeHex(parseHex(raw, "message.raw", { max: MAX_MESSAGE_LENGTH }).slice(2));
  if (typeof value !== "string") return refuse("message", 'must be text, or {"raw": "0x…"} for bytes');
  const bytes = new TextEncoder().encode(value);
  return bytes.length <= MAX_MESSAGE_LENGTH
    ? bytes
    : refuse("message", `must have at most ${MAX_MESSAGE_LENGTH} bytes`);
}

function parseDigest(value: unknown): Uint8Array<ArrayBuffer> {
  if (typeof value === "string" && /^(0x)?[0-9a-fA-F]{64}$/.test(value)) return decodeHex(value.slice(-64));
  return refuse("digest", `must be ${SCALAR_LENGTH} bytes, hex`);
}

/**
 * Reads the payload of a request.
 *
 * @param from the address that will sign, with its checksum
 * @throws {PayloadError} that names the field.
 */
export function parsePayload(request: Readonly<Record<string, unknown>>, from: string): Payload {
  const given = PAYLOAD_KINDS.filter((kind) => isGiven(request, kind));
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    const not = given.length > 1 ? `, not ${given.join(" and ")}` : "";
    throw new PayloadError(`Give exactly one of ${PAYLOAD_KINDS.join(", ")}${not}`);
  }
  const value = request[kind];
  if (kind === "message") return { kind, bytes: parseMessage(value) };
  if (kind === "typedData") {
    const ignoreUndeclared = field(request, "ignoreUndeclared") ?? false;
    if (typeof ignoreUndeclared !== "boolean") return refuse("ignoreUndeclared", "must be true or false");
    return { kind, data: parseTypedData(value, { ignoreUndeclared }) };
  }
  if (kind === "transaction") return { kind, transaction: parseTransaction(value, from) };
  if (kind === "authorization") return { kind, authorization: parseAuthorization(value) };
  return { kind, digest: parseDigest(value) };
}

/**
 * A signature in the format of the protocol, hex with `0x`. `v` is 27 + yParity.
 *
 * @param signature r ‖ s ‖ (27 + yParity), 65 bytes, hex with `0x`
 */
function format(signature: string) {
  const yParity = signature.endsWith("1b") ? 0 : 1;
  const [r, s] = [signature.slice(0, 66), `0x${signature.slice(66, 130)}`];
  return { signature, r, s, yParity, v: 27 + yParity };
}

function sign(digest: Uint8Array, secretKey: SecretBytes) {
  const { r, s, yParity } = signDigest(secretKey, digest);
  return format(`0x${encodeHex(r)}${encodeHex(s)}${yParity === 0 ? "1b" : "1c"}`);
}

/** `authorization` is an item of a transaction's `authorizationList`, with numbers as JSON-RPC has them. */
function signAuthorization(given: Authorization, secretKey: SecretBytes) {
  const signed = sign(authorization.getHash(given), secretKey);
  const { chainId, address, nonce } = given;
  const [yParity, r, s] = [BigInt(signed.yParity), BigInt(signed.r), BigInt(signed.s)];
  const numbers = Object.entries({ chainId, nonce, yParity, r, s }).map(([name, number]) =>
    [name, `0x${number.toString(16)}`] as const
  );
  return { ...signed, authorization: { address, ...Object.fromEntries(numbers) } };
}

/**
 * With `v` as its type requires: 35 + 2 * chain id + yParity (EIP-155), or yParity. `signedTransaction` is
 * ready to be sent (EIP-2718).
 */
function signTransaction({ unsigned }: ParsedTransaction, secretKey: SecretBytes) {
  const signed = unsigned.signBy(secretKey.expose(), false);
  const { r, s, yParity } = signed.raw;
  if (r === undefined || s === undefined || yParity === undefined) {
    throw new TypeError("Cannot sign: the transaction came back without a signature");
  }
  return {
    ...format(serializeSignature({ r, s, yParity })),
    v: signed.type === "legacy" ? Number(signed.v) : yParity,
    signedTransaction: signed.toHex(),
    transactionHash: signed.hash,
  };
}

/** Signs a payload. Low s, deterministic. */
export function signPayload(payload: Payload, secretKey: SecretBytes) {
  const { kind } = payload;
  if (kind === "message") return format(eip191Signer.sign(payload.bytes, secretKey.expose(), false));
  if (kind === "transaction") return signTransaction(payload.transaction, secretKey);
  if (kind === "authorization") return signAuthorization(payload.authorization, secretKey);
  return sign(kind === "typedData" ? payload.data.digest : payload.digest, secretKey);
}
