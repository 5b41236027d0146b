/**
 * The keys of the local KMS: their material, in memory and in a file if one is named, and what KMS keeps beside it. Policies and states exist
 * only in memory.
 *
 * A ciphertext blob is `DLK1` ‖ u16 length of the key's ARN ‖ ARN ‖ nonce ‖ ciphertext ‖ tag (AES-256-GCM); additional data is CBOR of the ARN
 * and the sorted EncryptionContext.
 *
 * @module
 */
import { encode } from "cborg";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import type { EncryptionContext } from "../../shared/aws/kms_limits.ts";
import { partitionOf } from "../../shared/aws/partitions.ts";
import { concat, equalBytes } from "../../shared/bytes.ts";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import { KEY_LENGTH, OpenError, SealingKey } from "../../shared/crypto/sealing.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { KmsRefusal } from "./errors.ts";
import { appendToKeyFile, readKeyFile } from "./key_file.ts";
import { type KeyPolicy, parseKeyPolicy } from "./policy.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const MAX_KEYS = 1000;
const MAX_ALIASES = 1000;
const ALIAS = /^alias\/(?!aws\/)[A-Za-z0-9/_-]{1,250}$/;
/** The alias of the first key, so that a configuration can name it before the key exists. */
const FIRST_ALIAS = "alias/denclave";
const MAGIC = new TextEncoder().encode("DLK1");
const HEADER_LENGTH = MAGIC.length + 2;

/** A key. */
export interface KmsKey {
  readonly arn: string;
  readonly id: string;
  readonly account: string;
  readonly description: string;
  readonly created: Date;
  enabled: boolean;
  policy: KeyPolicy;
}

/** The parameters of a new key. */
interface NewKey {
  readonly policy?: KeyPolicy | undefined;
  readonly description?: string | undefined;
}

/** KMS's default policy: the account's administrators may do anything. */
export function defaultPolicy(account: string): KeyPolicy {
  return parseKeyPolicy(JSON.stringify({
    Version: "2012-10-17",
    Id: "key-default-1",
    Statement: [{
      Sid: "Enable IAM User Permissions",
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${account}:root` },
      Action: "kms:*",
      Resource: "*",
    }],
  }));
}

/** Options of {@link KeyRing.open}. */
interface KeyRingOptions {
  readonly region: string;
  /** The account of new keys, 12 digits. */
  readonly account: string;
  /** Keys are kept here, mode 0600. Without it they exist only in memory. */
  readonly file?: string | undefined;
  readonly now: () => Date;
}

/** Keys, oldest first. Disposing wipes them. */
export class KeyRing implements Disposable {
  #options: KeyRingOptions;
  #keys = new Map<string, KmsKey>();
  #materials = new Map<string, SealingKey>();
  #aliases = new Map<string, KmsKey>();
  #making: Promise<unknown> = Promise.resolve();

  private constructor(options: KeyRingOptions) {
    this.#options = options;
  }

  /** Opens it with the keys of the file; without any, makes one. @throws {EnclaveError} `local_kms_file` */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    const ring = new KeyRing(options);
    const kept = options.file === undefined ? [] : await readKeyFile(options.file);
    for (const [arn, material] of kept) ring.#add(arn, material, {});
    const first = ring.keys[0] ?? await ring.create({});
    ring.#aliases.set(FIRST_ALIAS, first);
    return ring;
  }

  /** Takes ownership of the material. */
  #add(arn: string, material: Bytes, { policy, description = "" }: NewKey): KmsKey {
    const { id, account } = parseKeyArn(arn);
    const key = {
      arn,
      id,
      account,
      description,
      created: this.#options.now(),
      enabled: true,
      policy: policy ?? defaultPolicy(account),
    };
    this.#materials.set(arn, new SealingKey(new SecretBytes(material), { random: HOST_RANDOM.fill }));
    this.#keys.set(arn, key);
    return key;
  }

  /** Oldest first. */
  get keys(): readonly KmsKey[] {
    return [...this.#keys.values()];
  }

  /**
   * Makes a key. Keys are made one at a time, since each rewrites the whole file.
   *
   * @throws {KmsRefusal} `LimitExceededException`
   * @throws {EnclaveError} `local_kms_file`
   */
  create(key: NewKey): Promise<KmsKey> {
    const turn = this.#making.then(() => this.#create(key));
    this.#making = turn.catch(() => {});
    return turn;
  }

  async #create(key: NewKey): Promise<KmsKey> {
    if (this.#keys.size >= MAX_KEYS) {
      throw new KmsRefusal("LimitExceededException", `There are ${MAX_KEYS} keys already`);
    }
    const { region, account, file } = this.#options;
    const arn = `arn:${partitionOf(region).name}:kms:${region}:${account}:key/${crypto.randomUUID()}`;
    const material = crypto.getRandomValues(new Uint8Array(KEY_LENGTH));
    if (file !== undefined) await appendToKeyFile(file, arn, material);
    return this.#add(arn, material, key);
  }

  /** Aliases by name, in the order of their creation. */
  get aliases(): ReadonlyMap<string, KmsKey> {
    return this.#aliases;
  }

  /** Creates an alias of a key. @throws {KmsRefusal} `ValidationException`, `AlreadyExistsException` or `LimitExceededException` */
  addAlias(name: string, key: KmsKey): void {
    if (!ALIAS.test(name)) {
      throw new KmsRefusal("ValidationException", "Alias must start with alias/ and not with alias/aws/");
    }
    if (this.#aliases.has(name)) {
      throw new KmsRefusal("AlreadyExistsException", `An alias ${name} already exists`);
    }
    if (this.#aliases.size >= MAX_ALIASES) {
      throw new KmsRefusal("LimitExceededException", `There are ${MAX_ALIASES} aliases already`);
    }
    this.#aliases.set(name, key);
  }

  /** Finds a key by ARN, id, alias or an alias's ARN. @throws {KmsRefusal} `NotFoundException` */
  find(keyId: string): KmsKey {
    const alias = keyId.slice(keyId.indexOf(":alias/") + 1);
    const found = this.#keys.get(keyId) ?? this.keys.find(({ id }) => id === keyId) ??
      this.#aliases.get(alias);
    if (found !== undefined) return found;
    throw new KmsRefusal("NotFoundException", `Key ${JSON.stringify(keyId.slice(0, 128))} does not exist`);
  }

  #material({ arn }: KmsKey): SealingKey {
    const material = this.#materials.get(arn);
    if (material === undefined) throw new TypeError("Cannot use the local KMS: it was closed");
    return material;
  }

  encrypt(key: KmsKey, plaintext: Uint8Array, context: EncryptionContext): Bytes {
    const sealed = this.#material(key).seal(plaintext, additionalData(key.arn, context));
    const name = new TextEncoder().encode(key.arn);
    const length = new Uint8Array(2);
    new DataView(length.buffer).setUint16(0, name.length);
    return concat([MAGIC, length, name, sealed]);
  }

  /** The key that made a ciphertext; undefined where there is no such key here. @throws {KmsRefusal} `InvalidCiphertextException` */
  makerOf(ciphertext: Bytes): KmsKey | undefined {
    return this.#keys.get(parseBlob(ciphertext).arn);
  }

  /** @throws {KmsRefusal} `InvalidCiphertextException` */
  decrypt(key: KmsKey, ciphertext: Bytes, context: EncryptionContext): SecretBytes {
    const { sealed } = parseBlob(ciphertext);
    try {
      return new SecretBytes(this.#material(key).open(sealed, additionalData(key.arn, context)));
    } catch (thrown) {
      throw thrown instanceof OpenError ? invalidCiphertext(thrown) : thrown;
    }
  }

  [Symbol.dispose](): void {
    for (const material of this.#materials.values()) material[Symbol.dispose]();
    this.#materials.clear();
    this.#keys.clear();
    this.#aliases.clear();
  }
}

/** KMS gives no message with this one. */
function invalidCiphertext(cause?: unknown): KmsRefusal {
  return new KmsRefusal("InvalidCiphertextException", "", { cause });
}

function additionalData(arn: string, context: EncryptionContext): Bytes {
  const entries = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Uint8Array(encode(["denclave-local-kms", 1, arn, entries]));
}

/** @throws {KmsRefusal} `InvalidCiphertextException` */
function parseBlob(blob: Bytes): { readonly arn: string; readonly sealed: Bytes } {
  if (blob.length < HEADER_LENGTH || !equalBytes(blob.subarray(0, MAGIC.length), MAGIC)) {
    throw invalidCiphertext();
  }
  const end = HEADER_LENGTH + new DataView(blob.buffer, blob.byteOffset).getUint16(MAGIC.length);
  if (blob.length < end) throw invalidCiphertext();
  return { arn: new TextDecoder().decode(blob.subarray(HEADER_LENGTH, end)), sealed: blob.subarray(end) };
}
