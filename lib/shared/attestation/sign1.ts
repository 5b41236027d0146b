/**
 * COSE_Sign1: an array, untagged or tagged 18, of protected header, unprotected header, payload and signature. RFC 9052, section 4.2;
 * RFC 9053, sections 2.1 and 2.2. Used for attestation documents, the signatures of images and receipts.
 *
 * Runs in browsers.
 *
 * @module
 */
import { encode } from "cborg";
import { EnclaveError, messageOf } from "../errors.ts";
import { asBytes } from "../bytes.ts";
import { decodeCbor } from "./cbor.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The algorithms: how WebCrypto names them, bytes of a signature (r ‖ s), and COSE's number. */
const ALGORITHMS = {
  ES256: { scheme: { name: "ECDSA", hash: "SHA-256" }, length: 64, number: -7 },
  ES384: { scheme: { name: "ECDSA", hash: "SHA-384" }, length: 96, number: -35 },
  ES512: { scheme: { name: "ECDSA", hash: "SHA-512" }, length: 132, number: -36 },
  EdDSA: { scheme: { name: "Ed25519" }, length: 64, number: -8 },
} as const;

/** An algorithm, by COSE's name. */
export type CoseAlgorithm = keyof typeof ALGORITHMS;

const TAG = 18;
/** Labels in a header. */
const [ALGORITHM, KEY_ID] = [1, 4] as const;
const PARTS = 4;
const MAX_DEPTH = 2;

/** Malformed bytes, or another algorithm in the header. */
type CoseErrorCode = "cose_malformed" | "cose_algorithm";

/** The bytes are not a supported COSE_Sign1. */
export class CoseError extends EnclaveError {
  override name = "CoseError";
  /** What is wrong. */
  declare readonly code: CoseErrorCode;

  constructor(code: CoseErrorCode, message: string, cause?: unknown) {
    super(message, {
      code,
      hint: "Check that the bytes are whole, and decoded from base64 once.",
      cause,
    });
  }
}

/** A signed message whose signature is not yet verified. */
export interface Sign1 {
  readonly algorithm: CoseAlgorithm;
  /** The protected header, as it was encoded: the signature covers these bytes. */
  readonly header: Bytes;
  /** What is signed. */
  readonly payload: Bytes;
  /** r ‖ s. */
  readonly signature: Bytes;
}

/** A parsed message. */
interface ParsedSign1 extends Sign1 {
  /** The header that is not covered by the signature. */
  readonly unprotected: ReadonlyMap<unknown, unknown>;
  /** The key's id in the protected header, if there is one. */
  readonly keyId: unknown;
}

/** A protected header that says the algorithm, and the key's id where wanted, and that alone. */
function headerOf(
  algorithm: CoseAlgorithm,
  header: Bytes,
  hasKeyId: boolean,
): Map<unknown, unknown> | undefined {
  try {
    const map = decodeCbor(header, { maxBytes: header.length, maxDepth: 1 });
    if (!(map instanceof Map) || map.get(ALGORITHM) !== ALGORITHMS[algorithm].number) return undefined;
    return map.has(KEY_ID) === hasKeyId && map.size === (hasKeyId ? 2 : 1) ? map : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Parses a message, in any encoding that RFC 8949 allows: signed bytes are kept as they are.
 *
 * @param options.algorithm the only content that its protected header may have
 * @param options.hasKeyId whether the header also has the key's id
 * @throws {CoseError} `cose_malformed`, `cose_algorithm`
 */
export function parseSign1(
  bytes: Uint8Array,
  { algorithm, maxBytes, hasKeyId = false }: {
    readonly algorithm: CoseAlgorithm;
    readonly maxBytes: number;
    readonly hasKeyId?: boolean;
  },
): ParsedSign1 {
  const { length } = ALGORITHMS[algorithm];
  let parts: unknown;
  try {
    parts = decodeCbor(bytes, { maxBytes, maxDepth: MAX_DEPTH, tag: TAG });
  } catch (thrown) {
    throw new CoseError("cose_malformed", `it is not the CBOR of a COSE_Sign1: ${messageOf(thrown)}`, thrown);
  }
  if (!Array.isArray(parts) || parts.length !== PARTS) {
    throw new CoseError("cose_malformed", `it is not a COSE_Sign1, an array of ${PARTS}`);
  }
  const [signed, unprotected, body, last] = parts as readonly unknown[];
  const header = asBytes(signed, 0, maxBytes);
  const map = header && headerOf(algorithm, header, hasKeyId);
  if (header === undefined || map === undefined) {
    throw new CoseError("cose_algorithm", `its protected header does not say ${algorithm}, and that alone`);
  }
  if (!(unprotected instanceof Map)) {
    throw new CoseError("cose_malformed", "its unprotected header is not a map");
  }
  const payload = asBytes(body, 1, maxBytes);
  const signature = asBytes(last, length, length);
  if (payload === undefined) throw new CoseError("cose_malformed", "it has no payload");
  if (signature === undefined) {
    throw new CoseError("cose_malformed", `its signature does not have ${length} bytes`);
  }
  return { algorithm, header, unprotected, payload, signature, keyId: map.get(KEY_ID) };
}

/** What is signed in place of the payload: RFC 9052, section 4.4. */
function sigStructure(header: Bytes, payload: Bytes): Bytes {
  return new Uint8Array(encode(["Signature1", header, new Uint8Array(0), payload]));
}

/** Whether the message is signed by the key. */
export function verifySign1(
  { algorithm, header, payload, signature }: Sign1,
  key: CryptoKey,
): Promise<boolean> {
  return crypto.subtle.verify(ALGORITHMS[algorithm].scheme, key, signature, sigStructure(header, payload));
}

/** Signs a payload: a message without a tag. */
export async function signSign1(
  payload: Bytes,
  { algorithm, key }: { readonly algorithm: CoseAlgorithm; readonly key: CryptoKey },
): Promise<Bytes> {
  const { scheme, number } = ALGORITHMS[algorithm];
  const header = new Uint8Array(encode(new Map([[ALGORITHM, number]])));
  const signature = await crypto.subtle.sign(scheme, key, sigStructure(header, payload));
  return new Uint8Array(encode([header, new Map(), payload, new Uint8Array(signature)]));
}
