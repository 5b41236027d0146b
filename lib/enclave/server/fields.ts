/**
 * Parses the fields that the wallet and the master key have in common.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { Credentials } from "../../shared/aws/credentials.ts";
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { MAX_CIPHERTEXT_LENGTH } from "../../shared/aws/kms_limits.ts";
import { NONCE_LENGTH, TAG_LENGTH } from "../../shared/crypto/sealing.ts";
import { SCALAR_LENGTH } from "../../shared/crypto/secp256k1.ts";
import {
  field,
  optionalString,
  requiredString,
  takeCredentials,
  WireError,
  type WireObject,
} from "../../shared/wire/messages.ts";

/** Allowed length of a field in bytes. */
export interface LengthRange {
  readonly min: number;
  readonly max: number;
}

/** A private key, sealed: nonce, ciphertext, tag. */
export const SEALED_KEY_RANGE: LengthRange = {
  min: NONCE_LENGTH + SCALAR_LENGTH + TAG_LENGTH,
  max: NONCE_LENGTH + SCALAR_LENGTH + TAG_LENGTH,
};
/** A data key as KMS wrapped it. */
export const WRAPPED_KEY_RANGE: LengthRange = { min: 1, max: MAX_CIPHERTEXT_LENGTH };
/** A nonce for an attestation document: long enough not to repeat, and within the NSM's limit. */
const ATTESTATION_NONCE_RANGE: LengthRange = { min: 16, max: 512 };

/** Whether a field is present and not null. */
export function isGiven(request: WireObject, name: string): boolean {
  return (field(request, name) ?? undefined) !== undefined;
}

/** A parsed request, and the credentials that came with it, which whoever gets it disposes of. */
export type Credentialed<T> = T & { readonly credentials: Credentials };

/**
 * Takes the credentials off a request before anything else, so that the request never keeps them, and parses
 * the rest.
 *
 * @throws {WireError} that names the field.
 */
export function parseCredentialed<T>(
  request: WireObject,
  parse: (request: WireObject) => T,
): Credentialed<T> {
  const credentials = Credentials.fromStrings(takeCredentials(request));
  try {
    return { ...parse(request), credentials };
  } catch (thrown) {
    credentials[Symbol.dispose]();
    throw thrown;
  }
}

/**
 * Required bytes in base64.
 *
 * @param means describes them in the message
 * @throws {WireError} `missing_fields`, with the field's name.
 */
export function base64Field(
  request: WireObject,
  name: string,
  means: string,
  { min, max }: LengthRange,
): Uint8Array<ArrayBuffer> {
  const text = requiredString(request, name, `${means}, base64`);
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = decodeBase64(text);
  } catch {
    throw new WireError("missing_fields", `Field ${name} must be base64 of ${means}`);
  }
  if (bytes.length >= min && bytes.length <= max) return bytes;
  throw new WireError(
    "missing_fields",
    `Field ${name} must have ${min === max ? min : `${min} to ${max}`} bytes, not ${bytes.length}`,
  );
}

/**
 * The KMS key and the region that a request selects. An empty field counts as absent.
 *
 * @param names fields that may have the key; the first that is given counts
 * @throws {WireError} `missing_fields`
 */
export function keySelection(request: WireObject, names: readonly string[]): KeySelection {
  const region = optionalString(request, "region") || undefined;
  for (const name of names) {
    const key = optionalString(request, name) || undefined;
    if (key !== undefined) return { key, region, field: name };
  }
  return { key: undefined, region, field: undefined };
}

/**
 * The nonce for an attestation document; undefined when none is asked for.
 *
 * @throws {WireError} `missing_fields`
 */
export function parseNonce(request: WireObject): Uint8Array<ArrayBuffer> | undefined {
  if (!isGiven(request, "nonce")) return undefined;
  return base64Field(request, "nonce", "a nonce for the attestation document", ATTESTATION_NONCE_RANGE);
}
