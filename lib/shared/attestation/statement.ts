/**
 * The `user_data` of the service's attestation documents: a CBOR map {v, purpose, config, data}, where `config` is a hash of the measured
 * configuration and `data` a hash of the document's subject. A document about a key also has {origin, generated_at, previous}. The enclave
 * makes it, and a verifier computes it again to compare.
 *
 * @module
 */
import { encode } from "cborg";

/** The subject of a document about a key. */
export type StatementPurpose = "wallet" | "master";

/**
 * How the attesting run of the enclave got the key. `generated`: this run made it, so it has never existed elsewhere. `opened`: it came from a
 * stored row, which a parent that can call KMS Encrypt can make from a private key that it knows.
 */
export type KeyOrigin =
  | { readonly origin: "generated"; readonly generatedAt: Date }
  | { readonly origin: "opened" };

/** A document's statement about a key. */
export interface KeyStatement {
  /** Which service. */
  readonly purpose: StatementPurpose;
  /** The account's name, or the enclave's id. */
  readonly subject: string;
  /** Address (20 bytes) or compressed public key (33 bytes). */
  readonly publicPart: Uint8Array;
  /** ARN of the KMS key that wraps it. */
  readonly keyArn: string;
  /** 0 for accounts, whose rows have none. */
  readonly epoch: number;
  /** How the enclave got the key. */
  readonly from: KeyOrigin;
  /** For a rewrapped key: SHA-256 of the document of the epoch before, as the request gave it. 32 bytes. */
  readonly previous?: Uint8Array | undefined;
}

const VERSION = 1;
/** Version 1 did not have the origin. */
const KEY_VERSION = 2;

async function sha256(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
}

/**
 * Hash of a configuration: of its JSON, with the keys in their given order.
 *
 * @param configuration flat and without secrets; the same object in the same order gives the same hash
 * @returns 32 bytes
 */
export function hashConfiguration(
  configuration: Readonly<Record<string, unknown>>,
): Promise<Uint8Array<ArrayBuffer>> {
  return sha256(new TextEncoder().encode(JSON.stringify(configuration)));
}

/**
 * The `user_data` of a document about a key.
 *
 * @param config 32 bytes, of {@link hashConfiguration}
 * @returns CBOR, below the NSM's limit of 512 bytes
 */
export async function keyUserData(
  statement: KeyStatement,
  config: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const { purpose, subject, publicPart, keyArn, epoch, from, previous = null } = statement;
  const { origin } = from;
  const generatedAt = origin === "generated" ? from.generatedAt.getTime() : null;
  const about = [KEY_VERSION, purpose, subject, publicPart, keyArn, epoch, origin, generatedAt, previous];
  const data = await sha256(encode(about));
  const fields = { v: KEY_VERSION, purpose, config, data, origin, generated_at: generatedAt, previous };
  return new Uint8Array(encode(fields));
}

/**
 * The `user_data` of a document that a client asked for. The document's `public_key` is then the service's own, to seal requests for.
 *
 * @param data the client's, or none
 * @param config 32 bytes, of {@link hashConfiguration}
 * @returns CBOR, below the NSM's limit of 512 bytes
 */
export async function attestUserData(
  data: Uint8Array,
  config: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(encode({ v: VERSION, purpose: "attest", config, data: await sha256(data) }));
}

/**
 * The `user_data` of a document about a receipt key, which is its `public_key`.
 *
 * @param config 32 bytes, of {@link hashConfiguration}
 * @param validity when receipts are signed with it; milliseconds since 1970
 */
export function receiptUserData(
  config: Uint8Array,
  validity: { readonly notBefore: number; readonly notAfter: number },
): Uint8Array<ArrayBuffer> {
  const [not_before, not_after] = [validity.notBefore, validity.notAfter].map((ms) => Math.floor(ms / 1000));
  return new Uint8Array(encode({ v: VERSION, purpose: "receipt", config, not_before, not_after }));
}
