/**
 * The signature section: a CBOR array of one map {signing_certificate, signature}, where the signature is a COSE_Sign1 over {register_index: 0,
 * register_value: PCR0}. The byte fields of both maps are arrays of integers, since that is what AWS's types make of them. As found in
 * aws-nitro-enclaves-image-format, `eif_signer.rs`.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { decodeHex } from "@std/encoding";
import { encode } from "cborg";
import { equalBytes } from "../../shared/bytes.ts";
import { decodeCbor } from "../../shared/attestation/cbor.ts";
import {
  type CoseAlgorithm,
  CoseError,
  parseSign1,
  type Sign1,
  signSign1,
  verifySign1,
} from "../../shared/attestation/sign1.ts";
import { messageOf } from "../../shared/errors.ts";
import {
  type Curve,
  curveOf,
  MAX_CERTIFICATE_LENGTH,
  parseCertificate,
  publicKeyInfo,
  type SigningCertificate,
  validityProblem,
} from "./certificate.ts";
import { EifError } from "./errors.ts";
import { measureCertificate, type Measurements } from "./measure.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the largest section that is read: each byte of the certificate and the signature may take two. */
export const MAX_SIGNATURE_LENGTH = 4 * MAX_CERTIFICATE_LENGTH;
/** Bytes of the largest key file that is read. */
const MAX_KEY_LENGTH = 64 * 1024;
const MAX_COSE_LENGTH = 4096;

/** COSE's algorithms, by the curve of their keys. */
const ALGORITHMS = {
  "P-256": "ES256",
  "P-384": "ES384",
  "P-521": "ES512",
} as const satisfies Readonly<Record<Curve, CoseAlgorithm>>;

/** An image's signer. */
export interface EifSigner {
  /** The PEM file, whole: it goes into the image. */
  readonly certificatePem: Bytes;
  readonly certificate: SigningCertificate;
  readonly curve: Curve;
  /** Private; cannot be exported. */
  readonly key: CryptoKey;
}

/** A signature section, read. */
export interface EifSignature {
  readonly certificate: SigningCertificate;
  readonly PCR8: string;
  /** Why it is not valid for an image; undefined when it is valid. The certificate's dates are not checked. */
  readonly check: (measurements: Measurements) => Promise<string | undefined>;
}

/** {register_index: 0, register_value: PCR0}, in AWS's order, which is not the sorted one. */
function payloadOf({ PCR0 }: Measurements): Bytes {
  return new Uint8Array(encode(
    new Map<string, unknown>([
      ["register_index", 0],
      ["register_value", [...decodeHex(PCR0)]],
    ]),
    { mapSorter: () => 0 },
  ));
}

/**
 * Takes a signing key and its certificate.
 *
 * @param keyPem SEC 1 or PKCS #8, not encrypted; wiping it is up to the caller
 * @param now the time to check the certificate's validity at
 * @throws {EifError} `eif_signature` when they do not belong together or cannot be used.
 */
export async function openSigner(
  keyPem: Uint8Array,
  certificatePem: Uint8Array,
  { now = new Date() }: { readonly now?: Date } = {},
): Promise<EifSigner> {
  const certificate = parseCertificate(certificatePem, "The signing certificate's file");
  const problem = validityProblem(certificate, now);
  if (problem !== undefined) {
    throw new EifError("eif_signature", `Cannot sign with the certificate: ${problem}`);
  }
  let key: KeyObject;
  try {
    if (keyPem.length > MAX_KEY_LENGTH) throw new RangeError("it is too long");
    key = createPrivateKey({ key: new TextDecoder().decode(keyPem), format: "pem" });
  } catch (thrown) {
    // The text is secret, so leave out the cause, which might quote it.
    throw new EifError("eif_signature", "The signing key cannot be read", {
      hint: "Give a PEM file with a private key that is not encrypted.",
      cause: thrown instanceof RangeError ? thrown : undefined,
    });
  }
  const curve = curveOf(key);
  if (curve === undefined) {
    throw new EifError("eif_signature", "The signing key is of a kind that cannot sign images");
  }
  if (!equalBytes(publicKeyInfo(createPublicKey(key)), certificate.publicKey)) {
    throw new EifError("eif_signature", "The signing certificate does not belong to the signing key");
  }
  const pkcs8 = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  try {
    return {
      certificatePem: new Uint8Array(certificatePem),
      certificate,
      curve,
      key: await crypto.subtle.importKey("pkcs8", pkcs8, { name: "ECDSA", namedCurve: curve }, false, [
        "sign",
      ]),
    };
  } finally {
    pkcs8.fill(0);
  }
}

/** Signs an image: the section's data. */
export async function signMeasurements(measurements: Measurements, signer: EifSigner): Promise<Bytes> {
  const cose = await signSign1(payloadOf(measurements), {
    algorithm: ALGORITHMS[signer.curve],
    key: signer.key,
  });
  const map = new Map([
    ["signing_certificate", [...signer.certificatePem]],
    ["signature", [...cose]],
  ]);
  return new Uint8Array(encode([map], { mapSorter: () => 0 }));
}

/** Bytes as AWS writes them: an array of integers. */
function integersOf(value: unknown): Bytes {
  if (!Array.isArray(value) || !value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)) {
    throw new SyntaxError("a field is not an array of bytes");
  }
  return new Uint8Array(value);
}

/** Why a COSE_Sign1 is not valid for a payload. */
async function checkCose(
  cose: Bytes,
  payload: Bytes,
  { curve, publicKey }: SigningCertificate,
): Promise<string | undefined> {
  if (curve === undefined) return "its certificate's key is on no curve that images are signed by";
  const algorithm = ALGORITHMS[curve];
  let message: Sign1;
  try {
    message = parseSign1(cose, { algorithm, maxBytes: MAX_COSE_LENGTH });
  } catch (thrown) {
    if (!(thrown instanceof CoseError)) throw thrown;
    return thrown.code === "cose_algorithm"
      ? `its algorithm is not its certificate's, ${algorithm}`
      : `it is not a COSE_Sign1: ${thrown.message}`;
  }
  if (!equalBytes(message.payload, payload)) {
    return "it is over other measurements: the image was changed after it was signed";
  }
  const key = await crypto.subtle.importKey("spki", publicKey, { name: "ECDSA", namedCurve: curve }, false, [
    "verify",
  ]);
  return await verifySign1(message, key) ? undefined : "it was not made by its certificate's key";
}

/**
 * Reads the section.
 *
 * @param name of the file, for the message
 * @throws {EifError} `eif_signature` when it is malformed; `check` tells whether it is valid.
 */
export function decodeSignature(bytes: Uint8Array, name: string): EifSignature {
  let pem: Bytes;
  let cose: Bytes;
  try {
    const parts = decodeCbor(bytes, { maxBytes: MAX_SIGNATURE_LENGTH, maxDepth: 3 });
    if (!Array.isArray(parts) || parts.length !== 1 || !(parts[0] instanceof Map)) {
      throw new SyntaxError("it is not an array of one map");
    }
    pem = integersOf(parts[0].get("signing_certificate"));
    cose = integersOf(parts[0].get("signature"));
  } catch (thrown) {
    throw new EifError("eif_signature", `${name}: its signature section is malformed: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
  const certificate = parseCertificate(pem, name);
  return {
    certificate,
    PCR8: measureCertificate(certificate.der),
    check: (measurements) => checkCose(cose, payloadOf(measurements), certificate),
  };
}
