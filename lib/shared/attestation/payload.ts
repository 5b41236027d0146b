/**
 * The attestation document itself, the payload of the COSE_Sign1. AWS, docs/attestation_process.md, sections 2.2 and 3.2.2.
 *
 * Runs in browsers.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { asBytes } from "../bytes.ts";
import { decodeCbor } from "./cbor.ts";
import { MAX_DOCUMENT_LENGTH } from "./cose.ts";
import { AttestationError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The contents of a document. */
export interface AttestationDocument {
  /** `<instance id>-enc<enclave id>`. */
  readonly moduleId: string;
  /** When it was made, by the hypervisor's clock. */
  readonly timestamp: Date;
  /** Lower-case hex by index; the PCRs that the document has, usually 0 to 15. */
  readonly pcrs: ReadonlyMap<number, string>;
  /** Whether PCR 0, 1 or 2 is zero, which happens only in debug mode. */
  readonly debug: boolean;
  /** DER of the certificate whose key signed. */
  readonly certificate: Uint8Array<ArrayBuffer>;
  /** DER of the CA certificates, the root first. */
  readonly cabundle: readonly Uint8Array<ArrayBuffer>[];
  /** What the enclave asked to have in it; undefined where it asked for none. */
  readonly publicKey: Uint8Array<ArrayBuffer> | undefined;
  /** What the enclave asked to have in it; undefined where it asked for none. */
  readonly userData: Uint8Array<ArrayBuffer> | undefined;
  /** What the enclave asked to have in it; undefined where it asked for none. */
  readonly nonce: Uint8Array<ArrayBuffer> | undefined;
}

/** Bytes of a PCR: those of the digest, SHA-384. */
export const PCR_LENGTH = 48;
/** Number of PCRs. */
export const PCR_COUNT = 32;

const MAX_DEPTH = 2;
const MAX_CERTIFICATE_LENGTH = 1024;
const MAX_CA_CERTIFICATES = 8;
const MAX_MODULE_ID_LENGTH = 256;
const MAX_FIELD_LENGTH = 1024;
/** The PCRs that measure the image; zero in debug mode. */
const IMAGE_PCRS = [0, 1, 2] as const;
const ZERO_PCR = "00".repeat(PCR_LENGTH);

function malformed(what: string, cause?: unknown): AttestationError {
  return new AttestationError("attestation_malformed", what, cause);
}

/**
 * Reads the payload.
 *
 * @throws {AttestationError} `attestation_malformed`, with the field; `attestation_nitrotpm`
 */
export function parsePayload(payload: Uint8Array): AttestationDocument {
  let fields: unknown;
  try {
    fields = decodeCbor(payload, { maxBytes: MAX_DOCUMENT_LENGTH, maxDepth: MAX_DEPTH });
  } catch (thrown) {
    throw malformed(
      `its payload is not CBOR as it should be: ${thrown instanceof Error ? thrown.message : ""}`,
      thrown,
    );
  }
  if (!(fields instanceof Map)) throw malformed("its payload is not a map");
  // A NitroTPM's document is signed under the same root.
  if (fields.has("nitrotpm_pcrs")) {
    throw new AttestationError(
      "attestation_nitrotpm",
      "it is of an instance's NitroTPM, not of an enclave: it has nitrotpm_pcrs",
    );
  }
  if (fields.get("digest") !== "SHA384") throw malformed("its digest is not SHA384");
  const pcrs = parsePcrs(fields.get("pcrs"));
  return {
    moduleId: parseModuleId(fields.get("module_id")),
    timestamp: parseTimestamp(fields.get("timestamp")),
    pcrs,
    debug: IMAGE_PCRS.some((index) => pcrs.get(index) === ZERO_PCR),
    certificate: parseCertificate(fields.get("certificate"), "certificate"),
    cabundle: parseCaBundle(fields.get("cabundle")),
    publicKey: parseOptional(fields.get("public_key"), "public_key", 1),
    userData: parseOptional(fields.get("user_data"), "user_data", 0),
    nonce: parseOptional(fields.get("nonce"), "nonce", 0),
  };
}

function parseModuleId(value: unknown): string {
  if (typeof value === "string" && /^[\x21-\x7e]+$/.test(value) && value.length <= MAX_MODULE_ID_LENGTH) {
    return value;
  }
  throw malformed(`its module_id is not a text of 1 to ${MAX_MODULE_ID_LENGTH} printable characters`);
}

function parseTimestamp(value: unknown): Date {
  const time = new Date(typeof value === "number" && value > 0 ? value : NaN);
  if (Number.isNaN(time.getTime())) throw malformed("its timestamp is not a time in milliseconds");
  return time;
}

function parsePcrs(value: unknown): ReadonlyMap<number, string> {
  if (!(value instanceof Map)) throw malformed("its pcrs are not a map");
  const pcrs = new Map<number, string>();
  for (const [index, content] of value) {
    if (!Number.isInteger(index) || index < 0 || index >= PCR_COUNT) {
      throw malformed(`one of its pcrs has no index of 0 to ${PCR_COUNT - 1}`);
    }
    const bytes = asBytes(content, PCR_LENGTH, PCR_LENGTH);
    if (bytes === undefined) throw malformed(`PCR ${index} does not have ${PCR_LENGTH} bytes`);
    pcrs.set(index, encodeHex(bytes));
  }
  // Without them debug mode cannot be detected.
  for (const index of IMAGE_PCRS) if (!pcrs.has(index)) throw malformed(`it lacks PCR ${index}`);
  return pcrs;
}

function parseCertificate(value: unknown, field: string): Bytes {
  const bytes = asBytes(value, 1, MAX_CERTIFICATE_LENGTH);
  if (bytes === undefined) throw malformed(`its ${field} does not have 1 to ${MAX_CERTIFICATE_LENGTH} bytes`);
  return bytes;
}

function parseCaBundle(value: unknown): readonly Bytes[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > MAX_CA_CERTIFICATES) {
    throw malformed(`its cabundle is not an array of 1 to ${MAX_CA_CERTIFICATES}`);
  }
  return value.map((certificate) => parseCertificate(certificate, "cabundle"));
}

/** Absent and null mean the same: the hypervisor writes null. */
function parseOptional(value: unknown, field: string, min: number): Bytes | undefined {
  if (value === undefined || value === null) return undefined;
  const bytes = asBytes(value, min, MAX_FIELD_LENGTH);
  if (bytes === undefined) throw malformed(`its ${field} does not have ${min} to ${MAX_FIELD_LENGTH} bytes`);
  return bytes;
}
