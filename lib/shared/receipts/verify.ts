/**
 * Verifies receipts: offline, by anybody who has the receipt, the attestation document of its key, and what is disclosed.
 *
 * Runs in browsers. Never part of the enclave's binary.
 *
 * @module
 */
import { decodeCbor } from "../attestation/cbor.ts";
import { type TrustedAttestation, verifyDocument } from "../attestation/document.ts";
import type { AttestationDocument } from "../attestation/payload.ts";
import { parseSign1, verifySign1 } from "../attestation/sign1.ts";
import { asBytes, concat, equalBytes } from "../bytes.ts";
import { messageOf } from "../errors.ts";
import { hashPublicKey } from "../sealed/message.ts";
import { CLAIM, RECEIPT_KEY_LIFE_MS, SALT_LENGTH } from "./claims.ts";
import { type ReceiptCode, ReceiptError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A receipt's claims. */
export interface Receipt {
  /** When it was signed, by the enclave's clock, to the second. */
  readonly issuedAt: Date;
  /** Unique. 16 bytes. */
  readonly id: Uint8Array<ArrayBuffer>;
  /** That of the request. 16 to 64 bytes. */
  readonly nonce: Uint8Array<ArrayBuffer>;
  /** The request's type: `process` or `master_key.sign`. */
  readonly type: string;
  /** SHA-384 of the request's blob. */
  readonly request: Uint8Array<ArrayBuffer>;
  /** Commitment to the result. */
  readonly result: Uint8Array<ArrayBuffer>;
  /** Commitment to the input. */
  readonly input: Uint8Array<ArrayBuffer>;
  /** `ok`, or `workflow_failed`: the result is then the workflow's code. */
  readonly outcome: string;
  /** Hash of the enclave's measured configuration. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
  /** SHA-256 of the key that signed it. */
  readonly keyHash: Uint8Array<ArrayBuffer>;
}

/** An attested receipt key. */
export interface ReceiptKey {
  /** Ed25519. 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** SHA-256 of the public key. */
  readonly keyHash: Uint8Array<ArrayBuffer>;
  /** Hash of the enclave's measured configuration. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
  /** Since when it signs, by the enclave's clock. */
  readonly notBefore: Date;
  /** Until when it signs, by the enclave's clock. */
  readonly notAfter: Date;
  /** The verified document. */
  readonly document: AttestationDocument;
}

/** What is expected of a receipt. Omitted fields are not checked. */
export interface ExpectedReceipt {
  /** The request's nonce: only the client that drew it knows that it is fresh. */
  readonly nonce?: Uint8Array;
  /** The request's type. */
  readonly type?: string;
  /** The request's blob: of a sealed request its ciphertext, of `process` the bytes of the blob, of `master_key.sign` the digest. */
  readonly request?: Uint8Array;
  /** The reply's: `ok`, or `workflow_failed`. */
  readonly outcome?: string;
  /** The result; with `workflow_failed` the code. */
  readonly result?: Disclosed;
  /** The opened data, or the digest. */
  readonly input?: Disclosed;
  /** Hash of the measured configuration. */
  readonly configurationHash?: Uint8Array;
}

/** Bytes that the receipt commits to. */
export interface Disclosed {
  /** The bytes themselves. */
  readonly bytes: Uint8Array;
  /** 48 bytes; none for a plain `master_key.sign`. */
  readonly salt?: Uint8Array | undefined;
}

/** Which enclave is trusted, and how its document is verified. */
export type ExpectedDocument = Omit<TrustedAttestation, "userData" | "publicKey" | "insecureSkipNonce"> & {
  /** Verifies documents: under AWS's root, unless a test or a dry run gives another. */
  readonly verify?: (document: Uint8Array, expected: TrustedAttestation) => Promise<AttestationDocument>;
};

/** Far more than a receipt has. */
const MAX_LENGTH = 4096;
const HASH_LENGTH = 48;
const KEY_LENGTH = 32;
/** What the clocks of the enclave and of the hypervisor may differ by. */
const MAX_SKEW_MS = 5 * 60_000;
/** Bytes of what `master_key.sign` commits to: its plain reply is public, so the commitments may have no salt. */
const SIGNED = { result: 64, input: 32 } as const;

/**
 * Verifies the document of a receipt key, as of its own time: a stored document proves its key for ever. With `nonce` and `at` a client verifies that
 * the document is fresh.
 *
 * @throws {AttestationError} whose code says which check of the document failed.
 * @throws {ReceiptError} `receipt_document`, `receipt_time`
 */
export async function verifyReceiptDocument(
  document: Uint8Array,
  { verify = verifyDocument, ...expected }: ExpectedDocument,
): Promise<ReceiptKey> {
  const insecureSkipNonce = expected.nonce === undefined;
  const found = await verify(document, { at: "made", ...expected, insecureSkipNonce });
  const key = await keyOf(found);
  const { notBefore, notAfter, document: { timestamp } } = key;
  if (!isWithin(timestamp, notBefore, new Date(notAfter.getTime() + RECEIPT_KEY_LIFE_MS))) {
    const validity = `${notBefore.toISOString()} to ${notAfter.toISOString()}`;
    throw new ReceiptError(
      "receipt_time",
      `its document is of ${timestamp.toISOString()}, and its key of ${validity}`,
    );
  }
  return key;
}

async function keyOf(document: AttestationDocument): Promise<ReceiptKey> {
  const { publicKey, userData = new Uint8Array(0) } = document;
  const fields = mapOf(userData, "receipt_document");
  const configurationHash = asBytes(fields.get("config"), KEY_LENGTH, KEY_LENGTH);
  const [notBefore, notAfter] = [timeOf(fields.get("not_before")), timeOf(fields.get("not_after"))];
  const isOfReceipts = fields.get("v") === 1 && fields.get("purpose") === "receipt";
  if (
    !isOfReceipts || publicKey?.length !== KEY_LENGTH || configurationHash === undefined ||
    notBefore === undefined || notAfter === undefined
  ) throw new ReceiptError("receipt_document", "the document is not about a receipt key");
  const keyHash = await hashPublicKey(publicKey);
  return { publicKey, keyHash, configurationHash, notBefore, notAfter, document };
}

/**
 * Verifies a receipt.
 *
 * @param key of {@link verifyReceiptDocument}
 * @throws {ReceiptError} whose code says which check failed.
 */
export async function verifyReceipt(
  receipt: Uint8Array,
  key: ReceiptKey,
  expected: ExpectedReceipt = {},
): Promise<Receipt> {
  const { unprotected, ...message } = parsed(receipt);
  const found = claimsOf(message);
  if (!equalBytes(found.keyHash, key.keyHash)) {
    throw new ReceiptError("receipt_key", "it is signed with another key than that of the document");
  }
  const publicKey = await crypto.subtle.importKey("raw", key.publicKey, "Ed25519", false, ["verify"]);
  if (unprotected.size > 0 || !await verifySign1(message, publicKey)) {
    throw new ReceiptError("receipt_signature", "it is not signed with the key that it names");
  }
  const { notBefore, notAfter } = key;
  if (!isWithin(found.issuedAt, notBefore, notAfter)) {
    throw new ReceiptError(
      "receipt_time",
      `it is of ${found.issuedAt.toISOString()}, when its key was not in use`,
    );
  }
  checkEqual("receipt_configuration", "configuration", key.configurationHash, found.configurationHash);
  checkEqual("receipt_configuration", "configuration", expected.configurationHash, found.configurationHash);
  checkEqual("receipt_nonce", "nonce", expected.nonce, found.nonce);
  const { type = found.type, outcome = found.outcome, request } = expected;
  if (type !== found.type) {
    throw new ReceiptError("receipt_request", `it is about ${found.type}, not ${type}`);
  }
  if (outcome !== found.outcome) {
    throw new ReceiptError("receipt_outcome", `its outcome is ${found.outcome}, not ${outcome}`);
  }
  checkEqual("receipt_request", "request", request && await sha384(request), found.request);
  await checkCommitment(found, "result", expected.result);
  await checkCommitment(found, "input", expected.input);
  return found;
}

/** The claims, not yet verified: for a client that needs nonce and id to derive the salts. @throws {ReceiptError} `receipt_malformed` */
export function parseReceipt(receipt: Uint8Array): Receipt {
  return claimsOf(parsed(receipt));
}

function parsed(receipt: Uint8Array) {
  try {
    return parseSign1(receipt, { algorithm: "EdDSA", hasKeyId: true, maxBytes: MAX_LENGTH });
  } catch (thrown) {
    throw new ReceiptError("receipt_malformed", messageOf(thrown), thrown);
  }
}

function mapOf(bytes: Uint8Array, code: ReceiptCode): ReadonlyMap<unknown, unknown> {
  try {
    const map = decodeCbor(bytes, { maxBytes: MAX_LENGTH, maxDepth: 1 });
    if (map instanceof Map) return map;
  } catch {
    // Reported below.
  }
  throw new ReceiptError(code, "there is no CBOR map where one should be");
}

/** From seconds since 1970. */
function timeOf(value: unknown): Date | undefined {
  const time = new Date(typeof value === "number" && value > 0 ? value * 1000 : NaN);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

function isWithin(time: Date, from: Date, until: Date): boolean {
  return time.getTime() >= from.getTime() - MAX_SKEW_MS && time.getTime() <= until.getTime() + MAX_SKEW_MS;
}

function claimsOf({ payload, keyId }: { readonly payload: Bytes; readonly keyId: unknown }): Receipt {
  const claims = mapOf(payload, "receipt_malformed");
  const required = <T>(name: string, value: T | undefined): T => {
    if (value !== undefined) return value;
    throw new ReceiptError("receipt_malformed", `its ${name} is missing, or not as it should be`);
  };
  const bytes = (name: keyof typeof CLAIM, min: number, max = min) =>
    required(name, asBytes(claims.get(CLAIM[name]), min, max));
  const text = (name: keyof typeof CLAIM) => {
    const value = claims.get(CLAIM[name]);
    return required(name, typeof value === "string" ? value : undefined);
  };
  return {
    issuedAt: required("issuedAt", timeOf(claims.get(CLAIM.issuedAt))),
    id: bytes("id", 16),
    nonce: bytes("nonce", 16, 64),
    type: text("type"),
    request: bytes("request", HASH_LENGTH),
    result: bytes("result", HASH_LENGTH),
    input: bytes("input", HASH_LENGTH),
    outcome: text("outcome"),
    configurationHash: bytes("configuration", KEY_LENGTH),
    keyHash: required("key id", asBytes(keyId, KEY_LENGTH, KEY_LENGTH)),
  };
}

function checkEqual(
  code: ReceiptCode,
  name: string,
  expected: Uint8Array | undefined,
  found: Uint8Array,
): void {
  if (expected === undefined || equalBytes(expected, found)) return;
  throw new ReceiptError(code, `its ${name} is another one`);
}

/** Other lengths could move bytes between the salt and what it hides. */
async function checkCommitment(
  found: Receipt,
  name: "result" | "input",
  disclosed?: Disclosed,
): Promise<void> {
  if (disclosed === undefined) return;
  const { bytes, salt = new Uint8Array(0) } = disclosed;
  const isAllowed = found.type === "master_key.sign"
    ? bytes.length === SIGNED[name] && [0, SALT_LENGTH].includes(salt.length)
    : salt.length === SALT_LENGTH;
  if (isAllowed && equalBytes(await sha384(concat([salt, bytes])), found[name])) return;
  throw new ReceiptError(`receipt_${name}`, `it does not commit to this ${name} with this salt`);
}

async function sha384(bytes: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-384", new Uint8Array(bytes)));
}
