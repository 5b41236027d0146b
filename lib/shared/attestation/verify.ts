/**
 * Verifies a document under a root chosen by the caller: for simulated documents, in tests and dry runs. For AWS's root, call
 * `verifyDocument` of `document.ts`; this module is not exported, so that no client trusts another root by mistake.
 *
 * Runs in browsers.
 *
 * @module
 */
import { verifyChain } from "./certificates.ts";
import { equalBytes } from "../bytes.ts";
import { parseSign1, verifySign1 } from "./cose.ts";
import { AttestationError } from "./errors.ts";
import { buildsOf, type ExpectedPcrs } from "./expectation.ts";
import { type AttestationDocument, parsePayload, PCR_COUNT, PCR_LENGTH } from "./payload.ts";

/** What a client expects of a document. Omitted fields are not checked. */
export interface ExpectedAttestation {
  /** The bytes that were sent with the request: at least 16, random. */
  readonly nonce?: Uint8Array;
  /** The expected user data. */
  readonly userData?: Uint8Array;
  /** The expected public key. */
  readonly publicKey?: Uint8Array;
  /** Hex of 96 digits, by index 0 to 31; of several builds, one must match in all of its PCRs. */
  readonly pcrs?: ExpectedPcrs | readonly ExpectedPcrs[];
  /** The time to verify at; now by default. `made` is the document's own time, for a stored document: its certificates are valid for hours. */
  readonly at?: Date | "made";
  /** Whether to accept an enclave in debug mode; false by default. */
  readonly allowDebug?: boolean;
  /** A document may be no older than this when it is verified. Milliseconds. */
  readonly maxAgeMs?: number;
}

/** A document's time may be this far ahead of the verifier's clock. */
const MAX_SKEW_MS = 5 * 60_000;

/**
 * Verifies a document under a given root.
 *
 * @param root DER of the root certificate
 * @throws {AttestationError} whose code says which check failed.
 * @throws {RangeError | TypeError} when the expectation is invalid.
 */
export async function verifyDocumentUnder(
  root: Uint8Array,
  document: Uint8Array,
  expected: ExpectedAttestation = {},
): Promise<AttestationDocument> {
  const builds = buildsOf(expected.pcrs ?? {}).map(parseExpectedPcrs);
  const { at = new Date() } = expected;
  if (at !== "made" && Number.isNaN(at.getTime())) throw new RangeError("Cannot verify at an invalid time");
  try {
    return await verifyParsed(root, document, { ...expected, at, builds });
  } catch (thrown) {
    if (thrown instanceof AttestationError) throw thrown;
    // Any error of a parser means that the document is refused.
    throw new AttestationError("attestation_malformed", "it cannot be read", thrown);
  }
}

type ParsedPcrs = readonly (readonly [number, string])[];

async function verifyParsed(
  root: Uint8Array,
  document: Uint8Array,
  expected: Omit<ExpectedAttestation, "pcrs"> & {
    readonly at: Date | "made";
    readonly builds: readonly ParsedPcrs[];
  },
): Promise<AttestationDocument> {
  const message = parseSign1(document);
  const found = parsePayload(message.payload);
  const at = expected.at === "made" ? found.timestamp : expected.at;
  const key = await verifyChain([...found.cabundle, found.certificate], {
    root,
    madeAt: found.timestamp,
    verifiedAt: at,
  });
  if (!await verifySign1(message, key)) {
    throw new AttestationError("attestation_signature", "it is not signed by its certificate");
  }
  checkAge(found, at, expected.maxAgeMs);
  if (found.debug && expected.allowDebug !== true) {
    throw new AttestationError("attestation_debug", "it is of an enclave in debug mode");
  }
  checkField("attestation_nonce", "nonce", expected.nonce, found.nonce);
  checkField("attestation_user_data", "user data", expected.userData, found.userData);
  checkField("attestation_public_key", "public key", expected.publicKey, found.publicKey);
  checkBuilds(found, expected.builds);
  return found;
}

function checkBuilds({ pcrs }: AttestationDocument, builds: readonly ParsedPcrs[]): void {
  const differences = builds.map((build) => build.find(([index, wanted]) => pcrs.get(index) !== wanted));
  if (differences.includes(undefined)) return;
  const [difference] = differences;
  if (difference === undefined || builds.length > 1) {
    throw new AttestationError(
      "attestation_pcr",
      `its PCRs are of none of the ${builds.length} accepted builds; PCR 0 is ${pcrs.get(0)}`,
    );
  }
  const [index, wanted] = difference;
  const value = pcrs.get(index);
  throw new AttestationError(
    "attestation_pcr",
    value === undefined
      ? `it has no PCR ${index}, where ${wanted} is expected`
      : `PCR ${index} is ${value}, where ${wanted} is expected`,
  );
}

function parseExpectedPcrs(pcrs: ExpectedPcrs): ParsedPcrs {
  return Object.entries(pcrs).map(([key, value]) => {
    if (!/^(0|[1-9][0-9]?)$/.test(key) || Number(key) >= PCR_COUNT) {
      throw new RangeError(`Cannot expect PCR ${JSON.stringify(key)}: there are 0 to ${PCR_COUNT - 1}`);
    }
    if (typeof value !== "string" || value.length !== PCR_LENGTH * 2 || !/^[0-9a-f]+$/i.test(value)) {
      throw new TypeError(`Cannot expect a PCR ${key} that is not hex of ${PCR_LENGTH * 2} digits`);
    }
    return [Number(key), value.toLowerCase()];
  });
}

function checkAge({ timestamp }: AttestationDocument, at: Date, maxAgeMs: number | undefined): void {
  const age = at.getTime() - timestamp.getTime();
  if (age < -MAX_SKEW_MS) {
    throw new AttestationError("attestation_stale", `it was made ${-age} ms after the time of verification`);
  }
  if (maxAgeMs !== undefined && !(age <= maxAgeMs)) {
    throw new AttestationError("attestation_stale", `it is ${age} ms old, where ${maxAgeMs} are allowed`);
  }
}

function checkField(
  code: "attestation_nonce" | "attestation_public_key" | "attestation_user_data",
  name: string,
  expected: Uint8Array | undefined,
  found: Uint8Array | undefined,
): void {
  if (expected === undefined) return;
  if (found === undefined) throw new AttestationError(code, `it has no ${name}`);
  if (!equalBytes(expected, found)) throw new AttestationError(code, `its ${name} is another one`);
}
