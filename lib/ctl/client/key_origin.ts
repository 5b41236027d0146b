/**
 * Verifies where a key comes from, by the attestation document about it. A parent that can call KMS Encrypt can forge a row with a private key
 * that it knows, and an enclave that opens the row attests to it; only the enclave that generated a key says `generated`.
 *
 * A document is verified live, with a new nonce, or from storage, with its nonce and as of its own time. The latter proves where the
 * key comes from, but not that the enclave is still running.
 *
 * @module
 */
import { asBytes } from "../../shared/bytes.ts";
import { decodeCbor } from "../../shared/attestation/cbor.ts";
import { equalBytes } from "../../shared/bytes.ts";
import { type TrustedAttestation, verifyDocument } from "../../shared/attestation/document.ts";
import { AttestationError } from "../../shared/attestation/errors.ts";
import { expectationProblem, type ExpectedPcrs } from "../../shared/attestation/expectation.ts";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { type KeyOrigin, type KeyStatement, keyUserData } from "../../shared/attestation/statement.ts";

/** Verifies a document: under AWS's root, or under another in tests and dry runs. */
export type DocumentVerifier = (
  document: Uint8Array,
  expected: TrustedAttestation,
) => Promise<AttestationDocument>;

/** Which enclaves' documents are accepted. */
export interface OriginExpectation {
  /** Hex, by index: PCR0 or PCR8 at least. Of several builds, old ones included, one must match. */
  readonly pcrs: ExpectedPcrs | readonly ExpectedPcrs[];
  /** Accepts the document of any enclave, including an attacker's: for development. */
  readonly insecureSkipPcrs?: boolean;
  /** Accepts an enclave in debug mode, whose memory the parent can read. */
  readonly allowDebug?: boolean;
  /** Verifies documents: under AWS's root, unless a test or a dry run gives another. */
  readonly verify?: DocumentVerifier;
}

/** A document, and the nonce of the request for it. */
export interface SignedStatement {
  /** As the enclave gave it. */
  readonly document: Uint8Array;
  /** Of the request. */
  readonly nonce: Uint8Array;
}

/** SHA-256 of a document, which the document of the next rewrap contains. */
export async function documentHash(
  { document }: Pick<SignedStatement, "document">,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(document)));
}

/** What a document is about. */
export type AttestedSubject = Omit<KeyStatement, "from" | "previous">;

/** What a verified document says of a key and of the enclave that it was in. */
export interface AttestedKey {
  /** How the enclave got the key. */
  readonly from: KeyOrigin;
  /** When the document was made. */
  readonly at: Date;
  /** Of the enclave. */
  readonly moduleId: string;
  /** Lower-case hex by index. */
  readonly pcrs: ReadonlyMap<number, string>;
  /** Hash of the enclave's measured configuration. 32 bytes. */
  readonly configuration: Uint8Array;
  /** SHA-256 of the document of the epoch before, where a rewrap was told one. */
  readonly previous: Uint8Array | undefined;
}

const HASH_LENGTH = 32;
const USER_DATA_LIMITS = { maxBytes: 512, maxDepth: 2 } as const;

/** The fields of `user_data` that are readable as they are. */
function saidOf(
  { userData }: AttestationDocument,
): Pick<AttestedKey, "from" | "configuration" | "previous"> {
  let map: unknown;
  try {
    map = userData === undefined ? undefined : decodeCbor(userData, USER_DATA_LIMITS);
  } catch (thrown) {
    throw new AttestationError("attestation_user_data", "what it says of a key cannot be read", thrown);
  }
  const configuration = map instanceof Map ? asBytes(map.get("config"), HASH_LENGTH, HASH_LENGTH) : undefined;
  if (!(map instanceof Map) || configuration === undefined) {
    throw new AttestationError("attestation_user_data", "it says nothing of a key");
  }
  const generatedAt = new Date(Number(map.get("generated_at") ?? NaN));
  const previous = asBytes(map.get("previous"), HASH_LENGTH, HASH_LENGTH);
  switch (map.get("origin")) {
    case "opened":
      return { from: { origin: "opened" }, configuration, previous };
    case "generated":
      if (!Number.isNaN(generatedAt.getTime())) {
        return { from: { origin: "generated", generatedAt }, configuration, previous };
      }
  }
  throw new AttestationError("attestation_user_data", "it does not say where the key comes from");
}

/**
 * Verifies a document about a key.
 *
 * @param at now, for an answer that just came; `made` for one that was stored
 * @throws {AttestationError} whose code says which check failed.
 * @throws {TypeError} when the PCRs identify no enclave.
 */
export async function verifyKeyDocument(
  signed: SignedStatement,
  subject: AttestedSubject,
  expected: OriginExpectation & { readonly at: Date | "made" },
): Promise<AttestedKey> {
  const { pcrs, insecureSkipPcrs = false, allowDebug = false, at, verify = verifyDocument } = expected;
  const problem = expectationProblem(pcrs);
  if (problem !== undefined && !insecureSkipPcrs) {
    throw new TypeError(`Cannot verify where a key comes from: ${problem}`);
  }
  const { document, nonce } = signed;
  const found = await verify(document, { nonce, pcrs, insecureSkipPcrs, allowDebug, at });
  const said = saidOf(found);
  const userData = await keyUserData({ ...subject, ...said }, said.configuration);
  if (!equalBytes(userData, found.userData ?? new Uint8Array())) {
    throw new AttestationError("attestation_user_data", "it is about another key, or another row of it");
  }
  return { ...said, at: found.timestamp, moduleId: found.moduleId, pcrs: found.pcrs };
}

/**
 * As {@link verifyKeyDocument}, for a key that must have been made in the enclave that says so.
 *
 * @throws {AttestationError} `attestation_user_data` too when the key was opened.
 */
export async function verifyGenerated(
  signed: SignedStatement,
  subject: AttestedSubject,
  expected: OriginExpectation & { readonly at: Date | "made" },
): Promise<AttestedKey & { readonly generatedAt: Date }> {
  const attested = await verifyKeyDocument(signed, subject, expected);
  const { from } = attested;
  if (from.origin === "generated") return { ...attested, generatedAt: from.generatedAt };
  throw new AttestationError(
    "attestation_user_data",
    "the key came into the enclave as a row: whoever made the row may know the key",
  );
}
