/**
 * The enclave's side of attested calls in TypeScript, for tests and dry runs: it does what the enclave's SDK does, with a simulated module instead of the NSM. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { Nsm } from "../../enclave/cli/nsm.ts";
import { KEY_ENCRYPTION_ALGORITHM, openEnvelopedData } from "../kms_emulator/enveloped_data.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { takeBytes } from "./aws/answer.ts";
import { type KmsAnswer, type KmsApiOptions, unbelievable } from "./aws/api.ts";
import { HttpsKms, type Lengths } from "./aws/https_kms.ts";
import type { KmsOperation } from "./aws/sign.ts";
import { refuseInEnclave } from "./outside_enclave.ts";

const RSA_2048 = {
  name: "RSA-OAEP",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
} as const;
const MAX_ENVELOPE_LENGTH = 16 * 1024;

/** Options of {@link SimulatedAttestedKms.open}. */
export interface SimulatedAttestedKmsOptions extends KmsApiOptions {
  /** Makes the documents; borrowed. */
  readonly nsm: Pick<Nsm, "attest">;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/** KMS over HTTPS, with simulated attestation documents. */
export type SimulatedAttestedKms = HttpsKms;

/** Opens {@link SimulatedAttestedKms}. */
export const SimulatedAttestedKms = {
  /**
   * Makes one RSA-2048 key pair for the life of the object, as the SDK's client does. Sends nothing.
   *
   * @throws {EnclaveError} `simulated_kms_refused` in an enclave, `invalid_endpoint`.
   */
  async open(
    { nsm, nsmDevice, ...options }: SimulatedAttestedKmsOptions,
  ): Promise<SimulatedAttestedKms> {
    refuseInEnclave({
      name: "simulated attested KMS",
      code: "simulated_kms_refused",
      why: "Its attestation documents come from a simulated module and prove nothing.",
      nsmDevice,
    });
    const keys = await crypto.subtle.generateKey(RSA_2048, false, ["encrypt", "decrypt"]);
    const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
    return new HttpsKms(options, {
      backend: "simulated",
      attested: true,
      // Each call uses a new document, since KMS refuses documents older than five minutes.
      fields: async () => ({
        Recipient: {
          AttestationDocument: encodeBase64(await nsm.attest({ publicKey })),
          KeyEncryptionAlgorithm: KEY_ENCRYPTION_ALGORITHM,
        },
      }),
      take: (operation, answer, lengths) => openAnswer(keys.privateKey, { operation, answer, lengths }),
    });
  },
} as const;

async function openAnswer(
  privateKey: CryptoKey,
  { operation, answer, lengths: { min, max } }: {
    readonly operation: KmsOperation;
    readonly answer: KmsAnswer;
    readonly lengths: Lengths;
  },
): Promise<SecretBytes> {
  const { Plaintext: plain } = answer;
  if (plain !== undefined && plain !== null && plain !== "") {
    throw unbelievable(operation, "it has a Plaintext, where only this enclave may read it");
  }
  const envelope = takeBytes(operation, answer, {
    field: "CiphertextForRecipient",
    min: 1,
    max: MAX_ENVELOPE_LENGTH,
  });
  const plaintext = new SecretBytes(await openEnvelopedData(privateKey, envelope));
  if (plaintext.length >= min && plaintext.length <= max) return plaintext;
  const { length } = plaintext;
  plaintext[Symbol.dispose]();
  throw unbelievable(operation, `what it holds for this enclave has ${length} bytes`);
}
