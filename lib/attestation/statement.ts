/**
 * What the service says in an attestation document beside the measurements: `user_data`, a CBOR map {v, purpose, config, data}, where `config`
 * is a hash of the measured configuration and `data` a hash of what the document is about. Made in the enclave, made again by who verifies.
 *
 * @module
 */
import { encode } from "cborg";

/** What a document about a key is about. */
export type StatementPurpose = "wallet" | "master";

/** What a document says of a key that was made in the enclave. A parent that can call KMS Encrypt could make up a row; not this. */
export interface KeyStatement {
  /** Which service. */
  readonly purpose: StatementPurpose;
  /** The account's name, or the enclave's id. */
  readonly subject: string;
  /** Address (20 bytes) or compressed public key (33 bytes). */
  readonly publicPart: Uint8Array;
  /** ARN of the KMS key that wraps it. */
  readonly keyArn: string;
  /** 0 for what cannot be rewrapped. */
  readonly epoch: number;
}

const VERSION = 1;

async function sha256(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
}

/**
 * Hash of a configuration: of its JSON, keys as they come.
 *
 * @param configuration flat and without secrets; the same object in the same order gives the same hash
 * @returns 32 bytes
 */
export async function hashConfiguration(
  configuration: Readonly<Record<string, unknown>>,
): Promise<Uint8Array<ArrayBuffer>> {
  return await sha256(new TextEncoder().encode(JSON.stringify(configuration)));
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
  const { purpose, subject, publicPart, keyArn, epoch } = statement;
  const data = await sha256(encode([VERSION, purpose, subject, publicPart, keyArn, epoch]));
  return new Uint8Array(encode({ v: VERSION, purpose, config, data }));
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
