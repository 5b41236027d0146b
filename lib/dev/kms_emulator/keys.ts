/**
 * The keys of the local KMS, with what KMS keeps beside the material: a policy, and whether the key is enabled. The embedded KMS holds the material, in memory or in
 * its file; policies and states exist only in memory.
 *
 * @module
 */
import { Credentials } from "../../shared/aws/credentials.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import type { EncryptionContext, KmsAccess } from "../../enclave/kms/kms.ts";
import { keyArnOf, LocalKms, LocalKmsError, type LocalKmsOptions } from "../kms/local.ts";
import { KmsRefusal } from "./errors.ts";
import { type KeyPolicy, parseKeyPolicy } from "./policy.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const MAX_KEYS = 1000;
const MAX_ALIASES = 1000;
const ALIAS = /^alias\/(?!aws\/)[A-Za-z0-9/_-]{1,250}$/;
/** The alias of the first key, so that a configuration can name it before the key exists. */
export const FIRST_ALIAS = "alias/denclave";

/** A key. */
export interface KmsKey {
  readonly arn: string;
  readonly id: string;
  readonly account: string;
  readonly description: string;
  readonly created: Date;
  enabled: boolean;
  /** As EnableKeyRotation sets it; nothing is rotated here. */
  rotation: boolean;
  policy: KeyPolicy;
}

/** The parameters of a new key. */
export interface NewKey {
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
export interface KeyRingOptions extends LocalKmsOptions {
  readonly now: () => Date;
}

/** Keys, oldest first. */
export class KeyRing implements AsyncDisposable {
  #kms: LocalKms;
  #keys = new Map<string, KmsKey>();
  #aliases = new Map<string, KmsKey>();
  #access: KmsAccess;
  #now: () => Date;

  private constructor(kms: LocalKms, { region, now }: KeyRingOptions) {
    this.#kms = kms;
    this.#now = now;
    // The embedded KMS checks only the form of credentials: the caller was authorised before.
    const nobody = { accessKeyId: "local", secretAccessKey: "local", sessionToken: "" };
    this.#access = { region, credentials: Credentials.fromStrings(nobody) };
    for (const arn of kms.keyArns) this.#add(arn, {});
    const [first] = this.keys;
    if (first !== undefined) this.#aliases.set(FIRST_ALIAS, first);
  }

  /**
   * Opens it, with at least one key.
   *
   * @throws {EnclaveError} `local_kms_refused` in an enclave, `local_kms_file` when the file cannot be used.
   */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    return new KeyRing(await LocalKms.open(options), options);
  }

  #add(arn: string, { policy, description = "" }: NewKey): KmsKey {
    const { id, account } = parseKeyArn(arn);
    const key = {
      arn,
      id,
      account,
      description,
      created: this.#now(),
      enabled: true,
      rotation: false,
      policy: policy ?? defaultPolicy(account),
    };
    this.#keys.set(arn, key);
    return key;
  }

  /** Oldest first. */
  get keys(): readonly KmsKey[] {
    return [...this.#keys.values()];
  }

  /** Makes a key. @throws {KmsRefusal} `LimitExceededException` */
  async create(key: NewKey): Promise<KmsKey> {
    if (this.#keys.size >= MAX_KEYS) {
      throw new KmsRefusal("LimitExceededException", `There are ${MAX_KEYS} keys already`);
    }
    return this.#add(await this.#kms.createKey(), key);
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

  /** The key that made a ciphertext; undefined where there is no such key here. @throws {KmsRefusal} `InvalidCiphertextException` */
  makerOf(ciphertext: Bytes): KmsKey | undefined {
    return this.#keys.get(asRefusal(() => keyArnOf(ciphertext)));
  }

  /** @throws {KmsRefusal} */
  encrypt(key: KmsKey, plaintext: Uint8Array, context: EncryptionContext): Promise<Bytes> {
    return this.#kms.encrypt(key.arn, plaintext, context);
  }

  /** @throws {KmsRefusal} `InvalidCiphertextException` */
  async decrypt(key: KmsKey, ciphertext: Bytes, context: EncryptionContext): Promise<SecretBytes> {
    try {
      return await this.#kms.decrypt(this.#access, { ciphertext, keyId: key.arn, context });
    } catch (thrown) {
      throw refusalOf(thrown);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#keys.clear();
    this.#aliases.clear();
    this.#access.credentials[Symbol.dispose]();
    await this.#kms[Symbol.asyncDispose]();
  }
}

function asRefusal<T>(run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    throw refusalOf(thrown);
  }
}

/** Errors of the embedded KMS already have KMS's names. */
function refusalOf(thrown: unknown): unknown {
  if (!(thrown instanceof LocalKmsError)) return thrown;
  // KMS itself gives no message with this one.
  const message = thrown.kms.name === "InvalidCiphertextException" ? "" : thrown.kms.message;
  return new KmsRefusal(thrown.kms.name, message, { cause: thrown });
}
