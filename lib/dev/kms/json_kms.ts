/**
 * The Kms port over KMS's JSON API: AWS's own KMS, a compatible one (LocalStack, moto) or the emulator. Without attestation, or with
 * documents of a simulated module: then it does what the enclave's SDK does. It is not in the graph of the production entry.
 *
 * A plaintext key arrives in JSON as a string, which cannot be wiped: it is released at once.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import type { Nsm } from "../../enclave/cli/nsm.ts";
import type {
  DataKey,
  DataKeyRequest,
  DecryptRequest,
  Kms,
  KmsAccess,
  KmsHealth,
} from "../../enclave/kms/kms.ts";
import { MAX_CIPHERTEXT_LENGTH } from "../../shared/aws/kms_limits.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { KEY_ENCRYPTION_ALGORITHM, openEnvelopedData } from "../kms_emulator/enveloped_data.ts";

/** An operation of KMS. */
export type KmsOperation = "Decrypt" | "GenerateDataKey";
/** The members of KMS's response; the reader must remove a plaintext from it. */
export type KmsAnswer = Record<string, unknown>;
type Fields = Readonly<Record<string, unknown>>;

/** KMS's JSON API. */
export interface KmsApi extends Disposable {
  /** @param access borrowed; @throws {EnclaveError} with KMS's error name in `kms`, where there is one */
  call(operation: KmsOperation, access: KmsAccess, fields: Fields): Promise<KmsAnswer>;
  /** What `health` shows of it. */
  health(): KmsHealth;
}

/** The allowed length of a plaintext, bytes. */
interface Lengths {
  readonly min: number;
  readonly max: number;
}

/** How a plaintext is requested, and how it is read from a response. */
interface Reader {
  readonly backend: string;
  readonly attested: boolean;
  /** Additional fields of a request. */
  readonly fields: () => Promise<Fields>;
  /** The plaintext, the caller's to wipe. @throws {EnclaveError} */
  readonly take: (answer: KmsAnswer, lengths: Lengths) => Promise<SecretBytes>;
}

/** KMS's limit on the plaintext of Encrypt, and therefore of Decrypt, bytes. */
const MAX_PLAINTEXT_LENGTH = 4096;
const MAX_ENVELOPE_LENGTH = 16 * 1024;
const RSA_2048 = {
  name: "RSA-OAEP",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
} as const;

/** The port. */
export class JsonKms implements Kms {
  readonly attested: boolean;
  #api: KmsApi;
  #reader: Reader;

  private constructor(api: KmsApi, reader: Reader) {
    this.#api = api;
    this.#reader = reader;
    this.attested = reader.attested;
  }

  /** Without attestation. @param api the port takes ownership; @param backend as `health` names it */
  static plain(api: KmsApi, backend: string): JsonKms {
    return new JsonKms(api, {
      backend,
      attested: false,
      fields: () => Promise.resolve({}),
      take: (answer, lengths) =>
        Promise.resolve(new SecretBytes(takeBytes(answer, { ...lengths, field: "Plaintext" }))),
    });
  }

  /**
   * With documents of a simulated module, for one RSA-2048 key pair, as the SDK's client has it.
   *
   * @param api the port takes ownership
   * @param nsm makes the documents; borrowed
   */
  static async attested(api: KmsApi, nsm: Pick<Nsm, "attest">): Promise<JsonKms> {
    const keys = await crypto.subtle.generateKey(RSA_2048, false, ["encrypt", "decrypt"]);
    const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
    return new JsonKms(api, {
      backend: "simulated",
      attested: true,
      // Each call uses a new document, since KMS refuses documents older than five minutes.
      fields: async () => ({
        Recipient: {
          AttestationDocument: encodeBase64(await nsm.attest({ publicKey })),
          KeyEncryptionAlgorithm: KEY_ENCRYPTION_ALGORITHM,
        },
      }),
      take: (answer, lengths) => openAnswer(keys.privateKey, answer, lengths),
    });
  }

  async #call(operation: KmsOperation, access: KmsAccess, fields: Fields): Promise<KmsAnswer> {
    return await this.#api.call(operation, access, { ...fields, ...await this.#reader.fields() });
  }

  async decrypt(access: KmsAccess, { ciphertext, keyId, context }: DecryptRequest): Promise<SecretBytes> {
    const answer = await this.#call("Decrypt", access, {
      CiphertextBlob: encodeBase64(ciphertext),
      ...(keyId === undefined ? {} : { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" }),
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    using plaintext = await this.#reader.take(answer, { min: 1, max: MAX_PLAINTEXT_LENGTH });
    checkKey(answer, keyId);
    return plaintext.clone();
  }

  async generateDataKey(access: KmsAccess, { keyId, keySpec, context }: DataKeyRequest): Promise<DataKey> {
    const answer = await this.#call("GenerateDataKey", access, {
      KeyId: keyId,
      KeySpec: keySpec,
      ...(context === undefined ? {} : { EncryptionContext: context }),
    });
    const length = keySpec === "AES_256" ? 32 : 16;
    using plaintext = await this.#reader.take(answer, { min: length, max: length });
    checkKey(answer, keyId);
    const ciphertext = takeBytes(answer, { field: "CiphertextBlob", min: 1, max: MAX_CIPHERTEXT_LENGTH });
    return { plaintext: plaintext.clone(), ciphertext };
  }

  health(): KmsHealth {
    return { backend: this.#reader.backend, attested: this.attested, ...this.#api.health() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#api[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** The error for a response that must not be trusted. */
function unbelievable(what: string): EnclaveError {
  return new EnclaveError(`Cannot use KMS's answer: ${what}`, {
    code: "aws_kms",
    hint: "Check that the endpoint is KMS's, and that no proxy answers in its place.",
  });
}

/** The bytes of a field, which is removed from the response. Errors do not quote them. @throws {EnclaveError} */
function takeBytes(
  answer: KmsAnswer,
  { field, min, max }: Lengths & { readonly field: string },
): Uint8Array<ArrayBuffer> {
  const text = answer[field];
  delete answer[field];
  let bytes: Uint8Array<ArrayBuffer> | undefined;
  try {
    bytes = typeof text === "string" ? decodeBase64(text) : undefined;
  } catch {
    // The decoder's message may quote the text.
  }
  if (bytes === undefined) throw unbelievable(`${field} is missing or not base64`);
  if (bytes.length >= min && bytes.length <= max) return bytes;
  bytes.fill(0);
  throw unbelievable(`${field} has ${bytes.length} bytes`);
}

/** Compares the key that KMS used with the requested one. A request by alias cannot be compared. @throws {EnclaveError} */
function checkKey({ KeyId: used }: KmsAnswer, asked: string | undefined): void {
  if (asked === undefined || /(^|:)alias\//.test(asked)) return;
  const isAsked = typeof used === "string" &&
    (asked.startsWith("arn:") ? used === asked : used === asked || used.endsWith(`:key/${asked}`));
  if (isAsked) return;
  const named = typeof used === "string" ? JSON.stringify(used.slice(0, 128)) : "no key";
  throw unbelievable(`it names ${named}, asked for was ${JSON.stringify(asked.slice(0, 128))}`);
}

async function openAnswer(
  privateKey: CryptoKey,
  answer: KmsAnswer,
  { min, max }: Lengths,
): Promise<SecretBytes> {
  if ((answer["Plaintext"] ?? "") !== "") {
    throw unbelievable("it has a Plaintext, where only this enclave may read it");
  }
  const envelope = takeBytes(answer, { field: "CiphertextForRecipient", min: 1, max: MAX_ENVELOPE_LENGTH });
  const plaintext = new SecretBytes(await openEnvelopedData(privateKey, envelope));
  const { length } = plaintext;
  if (length >= min && length <= max) return plaintext;
  plaintext[Symbol.dispose]();
  throw unbelievable(`what it holds for this enclave has ${length} bytes`);
}
