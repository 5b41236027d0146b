/**
 * A key management service inside this process, for development and dry runs: real AES-256-GCM, no attestation, no AWS. It is not in the
 * graph of the production entry, and refuses to start where there is an NSM.
 *
 * A ciphertext blob is `DLK1` ‖ u16 length of the key's ARN ‖ ARN ‖ nonce ‖ ciphertext ‖ tag; additional data is CBOR of the ARN and the
 * sorted EncryptionContext.
 *
 * @module
 */
import { encode } from "cborg";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { checkCall } from "../../enclave/kms/aws_ne/calls.ts";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { KEY_LENGTH, OpenError, SealingKey } from "../../shared/crypto/sealing.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readSecretText } from "../../shared/files.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { partitionOf } from "../../shared/aws/partitions.ts";
import { refuseInEnclave } from "./outside_enclave.ts";
import type {
  DataKey,
  DataKeyRequest,
  DecryptRequest,
  EncryptionContext,
  Kms,
  KmsAccess,
  KmsHealth,
} from "../../enclave/kms/kms.ts";

const MAGIC = new TextEncoder().encode("DLK1");
const HEADER_LENGTH = MAGIC.length + 2;
const FILE_MODE = 0o600;
/** An account number that AWS does not assign. */
export const LOCAL_ACCOUNT = "000000000000";

/** The local KMS refused, with AWS's error names. */
export class LocalKmsError extends EnclaveError {
  override name = "LocalKmsError";
  readonly kms: { readonly name: string; readonly message: string };
  constructor(name: string, message: string) {
    super(`Local KMS: ${name}: ${message}`, { code: "local_kms" });
    this.kms = { name, message };
  }
}

/** Options of {@link LocalKms.open}. */
export interface LocalKmsOptions {
  readonly region: string;
  /** The account of new keys, 12 digits; {@link LOCAL_ACCOUNT} by default. */
  readonly account?: string | undefined;
  /** Keys are kept here, mode 0600. Without it they exist only in memory. */
  readonly file?: string | undefined;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/** The embedded KMS. */
export class LocalKms implements Kms {
  readonly attested = false;
  #options: LocalKmsOptions;
  #keys: Map<string, SealingKey>;
  #making: Promise<unknown> = Promise.resolve();

  private constructor(options: LocalKmsOptions, keys: Map<string, SealingKey>) {
    this.#options = options;
    this.#keys = keys;
  }

  /**
   * Opens the local KMS with the keys of the file, if it exists. Without any keys, makes one.
   *
   * @throws {EnclaveError} `local_kms_refused` in an enclave, `local_kms_file` when the file cannot be used.
   */
  static async open(options: LocalKmsOptions): Promise<LocalKms> {
    refuseInEnclave({
      name: "local KMS",
      code: "local_kms_refused",
      why: "It releases keys to any caller.",
      nsmDevice: options.nsmDevice,
    });
    const keys = options.file === undefined ? new Map<string, SealingKey>() : await readKeys(options.file);
    const kms = new LocalKms(options, keys);
    if (keys.size === 0) await kms.createKey();
    return kms;
  }

  /** The keys' ARNs, oldest first. */
  get keyArns(): readonly string[] {
    return [...this.#keys.keys()];
  }

  /** Makes a key. Calls run one at a time, since each rewrites the whole file. @returns its ARN */
  createKey(): Promise<string> {
    const turn = this.#making.then(() => this.#createKey());
    this.#making = turn.catch(() => {});
    return turn;
  }

  async #createKey(): Promise<string> {
    const { region, account = LOCAL_ACCOUNT } = this.#options;
    const { arn } = parseKeyArn(
      `arn:${partitionOf(region).name}:kms:${region}:${account}:key/${crypto.randomUUID()}`,
    );
    const material = crypto.getRandomValues(new Uint8Array(KEY_LENGTH));
    if (this.#options.file !== undefined) await appendKey(this.#options.file, arn, material);
    this.#keys.set(arn, SealingKey.take(new SecretBytes(material), { random: HOST_RANDOM.fill }));
    return arn;
  }

  /** KMS Encrypt: used once, to wrap a key. */
  // Async, so that errors are rejections, as with a remote KMS.
  // deno-lint-ignore require-await
  async encrypt(
    keyId: string,
    plaintext: Uint8Array,
    context: EncryptionContext = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { arn, key } = this.#find(keyId);
    const sealed = key.seal(plaintext, additionalData(arn, context));
    const name = new TextEncoder().encode(arn);
    const blob = new Uint8Array(HEADER_LENGTH + name.length + sealed.length);
    blob.set(MAGIC);
    new DataView(blob.buffer).setUint16(MAGIC.length, name.length);
    blob.set(name, HEADER_LENGTH);
    blob.set(sealed, HEADER_LENGTH + name.length);
    return blob;
  }

  // deno-lint-ignore require-await
  async decrypt(access: KmsAccess, request: DecryptRequest): Promise<SecretBytes> {
    checkCall(access.region, access.credentials, { ...request, kind: "decrypt" });
    const { arn, sealed } = parseBlob(request.ciphertext);
    if (request.keyId !== undefined && request.keyId !== arn) {
      throw new LocalKmsError(
        "IncorrectKeyException",
        "The key ID in the request does not identify the key that encrypted this ciphertext",
      );
    }
    const { key } = this.#find(arn);
    try {
      return new SecretBytes(key.open(sealed, additionalData(arn, request.context ?? {})));
    } catch (thrown) {
      if (thrown instanceof OpenError) {
        throw new LocalKmsError(
          "InvalidCiphertextException",
          "The ciphertext or its EncryptionContext was changed",
        );
      }
      throw thrown;
    }
  }

  async generateDataKey(access: KmsAccess, request: DataKeyRequest): Promise<DataKey> {
    checkCall(access.region, access.credentials, { ...request, kind: "generateDataKey" });
    const length = request.keySpec === "AES_256" ? 32 : 16;
    using plaintext = new SecretBytes(crypto.getRandomValues(new Uint8Array(length)));
    const ciphertext = await this.encrypt(request.keyId, plaintext.expose(), request.context);
    return { plaintext: plaintext.clone(), ciphertext };
  }

  health(): KmsHealth {
    return { backend: "local", attested: false, keys: this.#keys.size };
  }

  #find(keyId: string): { readonly arn: string; readonly key: SealingKey } {
    for (const [arn, key] of this.#keys) {
      if (keyId === arn || keyId === parseKeyArn(arn).id) return { arn, key };
    }
    throw new LocalKmsError("NotFoundException", `Key ${JSON.stringify(keyId.slice(0, 128))} does not exist`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const key of this.#keys.values()) key[Symbol.dispose]();
    this.#keys.clear();
    return Promise.resolve();
  }
}

/** A lone surrogate has no UTF-8 encoding: encoders replace it by U+FFFD, so that different contexts would be equal. @throws {LocalKmsError} */
function additionalData(arn: string, context: EncryptionContext): Uint8Array<ArrayBuffer> {
  if (!Object.entries(context).flat().every((text) => text.isWellFormed())) {
    throw new LocalKmsError("ValidationException", "A text of EncryptionContext has a lone surrogate");
  }
  const entries = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Uint8Array(encode(["denclave-local-kms", 1, arn, entries]));
}

/** The key that a blob names. @throws {LocalKmsError} `InvalidCiphertextException` */
export function keyArnOf(blob: Uint8Array<ArrayBuffer>): string {
  return parseBlob(blob).arn;
}

function parseBlob(
  blob: Uint8Array<ArrayBuffer>,
): { readonly arn: string; readonly sealed: Uint8Array<ArrayBuffer> } {
  const fail = (): never => {
    throw new LocalKmsError("InvalidCiphertextException", "This is not a ciphertext of the local KMS");
  };
  if (blob.length < HEADER_LENGTH || MAGIC.some((byte, index) => blob[index] !== byte)) return fail();
  const nameLength = new DataView(blob.buffer, blob.byteOffset).getUint16(MAGIC.length);
  if (blob.length < HEADER_LENGTH + nameLength) return fail();
  const arn = new TextDecoder().decode(blob.subarray(HEADER_LENGTH, HEADER_LENGTH + nameLength));
  return { arn, sealed: blob.subarray(HEADER_LENGTH + nameLength) };
}

interface KeyFile {
  readonly version: 1;
  readonly keys: Readonly<Record<string, string>>;
}

function fileError(file: string, what: string, hint: string, cause?: unknown): EnclaveError {
  return new EnclaveError(`Cannot use the local KMS's file ${file}: ${what}`, {
    code: "local_kms_file",
    hint,
    cause,
  });
}

async function readFile(file: string): Promise<KeyFile> {
  let text: string;
  try {
    text = await readSecretText(file);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return { version: 1, keys: {} };
    throw fileError(file, messageOf(thrown), "Check the path and its permissions.", thrown);
  }
  const damaged = (cause?: unknown) =>
    fileError(
      file,
      "it is not a key file of version 1",
      "Restore it from a copy, or name another file.",
      cause,
    );
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (thrown) {
    throw damaged(thrown);
  }
  if (
    typeof content !== "object" || content === null || !("version" in content) || content.version !== 1 ||
    !("keys" in content)
  ) throw damaged();
  if (typeof content.keys !== "object" || content.keys === null) throw damaged();
  const entries = Object.entries(content.keys).map(([arn, material]: [string, unknown]) => {
    if (typeof material !== "string") throw damaged();
    try {
      return [parseKeyArn(arn).arn, material] as const;
    } catch (thrown) {
      throw damaged(thrown);
    }
  });
  return { version: 1, keys: Object.fromEntries(entries) };
}

async function readKeys(file: string): Promise<Map<string, SealingKey>> {
  const { keys } = await readFile(file);
  const opened = new Map<string, SealingKey>();
  for (const [arn, material] of Object.entries(keys)) {
    try {
      opened.set(arn, SealingKey.take(new SecretBytes(decodeBase64(material)), { random: HOST_RANDOM.fill }));
    } catch (thrown) {
      throw fileError(file, `the key ${arn} is damaged`, "Restore it from a copy.", thrown);
    }
  }
  return opened;
}

/** Writes atomically: a new file beside it, flushed, then renamed over it. */
async function appendKey(file: string, arn: string, material: Uint8Array): Promise<void> {
  const { keys } = await readFile(file);
  const content = JSON.stringify({ version: 1, keys: { ...keys, [arn]: encodeBase64(material) } }, null, 2);
  const temporary = `${file}.${crypto.randomUUID()}.new`;
  try {
    {
      using handle = await Deno.open(temporary, { write: true, createNew: true, mode: FILE_MODE });
      const bytes = new TextEncoder().encode(`${content}\n`);
      for (let written = 0; written < bytes.length;) written += await handle.write(bytes.subarray(written));
      await handle.sync();
    }
    await Deno.rename(temporary, file);
  } catch (thrown) {
    await Deno.remove(temporary).catch(() => {});
    throw fileError(file, messageOf(thrown), "Check the folder's permissions and space.", thrown);
  }
}
