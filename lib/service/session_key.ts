/**
 * The session key service (T): `configure` has KMS release the trusted session key (TSK), which is held in memory only; `process` opens
 * data with it, runs the workflow and seals the result.
 *
 * @module
 */
import { Credentials } from "../aws/credentials.ts";
import { KEY_LENGTH, type MaybePromise, SEAL_LIMITS, SealingKey, SMALL_LENGTH } from "../crypto/sealing.ts";
import { type KeyArn, selectKey } from "../aws/key_arn.ts";
import type { EncryptionContext, Kms } from "../kms/kms.ts";
import type { Log } from "../log.ts";
import { decodeBase64, decodeHex } from "@std/encoding";
import { decodeHexInto } from "../crypto/hex.ts";
import {
  field,
  optionalString,
  type Reply,
  requiredString,
  takeCredentials,
  WireError,
  type WireObject,
} from "../wire/messages.ts";
import type { Workflow } from "../workflow_context.ts";
import { isEntropyTrusted, requireEntropy } from "./entropy.ts";
import { PreparedReply } from "./handler.ts";
import { checkWaitedFor, NEVER } from "./pace.ts";
import { type EntropySource, UNKNOWN_ENTROPY } from "./ports.ts";
import { WorkflowCaller } from "./workflow_call.ts";

/** The measured configuration of the service: nothing of it comes out of a request. */
export interface SessionKeyOptions {
  readonly kms: Kms;
  /** Keys that a request may select. With an attested KMS, an empty list refuses every `configure`. */
  readonly keys: readonly KeyArn[];
  /** The region, where the key does not say it. */
  readonly region: string | undefined;
  /** EncryptionContext that the TSK was wrapped with. */
  readonly context: EncryptionContext | undefined;
  /** Refuse a second `configure`. */
  readonly configureOnce: boolean;
  /** Want a growing `epoch` in each `configure`, bound by the EncryptionContext: an old one cannot be replayed. */
  readonly requireEpoch: boolean;
  readonly workflow: Workflow;
  /** What is known of the kernel's random numbers; without it, nothing. */
  readonly entropy?: EntropySource | undefined;
  readonly log: Log;
  readonly now: () => Date;
}

/** The key in use, kept until the last request that took it is done. */
interface HeldKey {
  readonly key: SealingKey;
  readonly since: string;
  readonly epoch: number | undefined;
  users: number;
  retired: boolean;
  warned: boolean;
}

/** A `configure`, read. */
interface ConfigureRequest {
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  readonly epoch: number | undefined;
  readonly key: KeyArn | undefined;
  readonly region: string;
}

/** `configure`s under way and waiting for their turn. */
const MAX_WAITING = 8;

/** Plain KMS calls without an allowed key still need a region. */
const FALLBACK_REGION = "us-east-1";

/** Holds the TSK and serves with it. */
export class SessionKeyService implements Disposable {
  #options: SessionKeyOptions;
  #held: HeldKey | undefined;
  /** `configure` runs one at a time, so that the last one asked for is the one that stays. */
  #configuring: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #disposed = false;
  #workflow: WorkflowCaller;
  /** Asked once: what the kernel's pool was seeded with does not change for the worse. */
  #isEntropyTrusted = false;
  /** Where large blobs are decoded: fresh memory for each costs as much as opening it (measured). Never holds plaintext. */
  #scratch = new Uint8Array(0);

  constructor(options: SessionKeyOptions) {
    this.#options = options;
    this.#workflow = new WorkflowCaller(options.workflow, options.log);
  }

  /** What `health` tells of it. */
  get state(): {
    readonly configured: boolean;
    readonly configured_at?: string;
    readonly epoch?: number;
    readonly seals?: number;
  } {
    if (this.#held === undefined) return { configured: false };
    const { since, epoch, key } = this.#held;
    return {
      configured: true,
      configured_at: since,
      ...(epoch === undefined ? {} : { epoch }),
      seals: key.seals,
    };
  }

  /**
   * Has KMS open the TSK and takes it into use. Until then the old one serves; if anything fails, it stays. So it does when nobody waits for the answer
   * any more: a `configure` that was answered `timeout` never takes effect.
   *
   * Not async: who waits for a turn holds the fields that were read, and not the request.
   *
   * @throws {WireError | EnclaveError} (or rejects)
   */
  configure(request: WireObject, signal: AbortSignal = NEVER): Promise<Reply> {
    // First of all, so that they are off the request whatever happens next.
    const credentials = Credentials.fromStrings(takeCredentials(request));
    let parsed: ConfigureRequest;
    try {
      this.#refuseSecond();
      parsed = this.#parse(request);
      if (this.#waiting >= MAX_WAITING) {
        throw new WireError("busy", `${MAX_WAITING} configures are waiting: try again later`);
      }
    } catch (thrown) {
      credentials[Symbol.dispose]();
      throw thrown;
    }
    this.#waiting++;
    const turn = this.#configuring.then(() => this.#configure(parsed, credentials, signal)).finally(() => {
      this.#waiting--;
      credentials[Symbol.dispose]();
    });
    this.#configuring = turn.catch(() => {});
    return turn;
  }

  #parse(request: WireObject): ConfigureRequest {
    const ciphertext = parseWrappedKey(
      requiredString(request, "encrypted_tsk", "the TSK as KMS wrapped it, base64"),
    );
    return { ciphertext, epoch: this.#epochOf(request), ...this.#select(request) };
  }

  #refuseSecond(): void {
    if (!this.#options.configureOnce || this.#held === undefined) return;
    throw new WireError("already_configured", "The service is configured, and was told to take a key once");
  }

  async #configure(
    { ciphertext, epoch, key, region }: ConfigureRequest,
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { kms, log, now } = this.#options;
    checkWaitedFor(signal);
    // Again: those before it may have changed what is held.
    this.#refuseSecond();
    this.#checkEpoch(epoch);
    const context = epoch === undefined
      ? this.#options.context
      : { ...this.#options.context, epoch: String(epoch) };

    const plaintext = await kms.decrypt({ region, credentials }, {
      ciphertext,
      ...(key === undefined ? {} : { keyId: key.arn }),
      ...(context === undefined ? {} : { context }),
    });
    if (plaintext.length !== KEY_LENGTH || this.#disposed) {
      const { length } = plaintext;
      plaintext[Symbol.dispose]();
      throw new WireError(
        "kms_decrypt_failed",
        `KMS opened it, but the TSK must have exactly ${KEY_LENGTH} bytes, not ${length}`,
      );
    }
    const sealing = await SealingKey.take(plaintext);
    if (this.#disposed || signal.aborted) {
      sealing[Symbol.dispose]();
      checkWaitedFor(signal);
      throw new WireError("internal_error", "The service is ending");
    }
    const old = this.#held;
    this.#held = { key: sealing, since: now().toISOString(), epoch, users: 0, retired: false, warned: false };
    if (old !== undefined) retire(old);
    log("info", "configured", { rotated: old !== undefined, region, key: key?.arn, epoch });
    return { status: "ok", msg: "configured", timestamp: this.#held.since };
  }

  #select(request: WireObject): { readonly key: KeyArn | undefined; readonly region: string } {
    const wanted = optionalString(request, "kms_key_id") ?? optionalString(request, "key_id");
    const region = optionalString(request, "region");
    const { kms, keys } = this.#options;
    if (!kms.attested && keys.length === 0) {
      return { key: undefined, region: region ?? this.#options.region ?? FALLBACK_REGION };
    }
    const key = selectKey(keys, {
      key: wanted,
      region: region ?? (keys.length > 1 ? this.#options.region : undefined),
    });
    return { key, region: key.region };
  }

  #epochOf(request: WireObject): number | undefined {
    if (!this.#options.requireEpoch) return undefined;
    const epoch = field(request, "epoch");
    if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 0) {
      throw new WireError(
        "missing_fields",
        "Field epoch (a whole number that grows with every configure) is missing",
      );
    }
    this.#checkEpoch(epoch);
    return epoch;
  }

  #checkEpoch(epoch: number | undefined): void {
    const current = this.#held?.epoch;
    if (epoch === undefined || current === undefined || epoch > current) return;
    throw new WireError("already_configured", `The epoch must grow: ${epoch} is not above ${current}`);
  }

  /**
   * Opens, works, seals.
   *
   * @param signal ends the wait for the workflow
   * @throws {WireError | EnclaveError | WorkflowError | WorkflowFault} (or rejects)
   */
  process(request: WireObject, signal: AbortSignal = NEVER): MaybePromise<PreparedReply> {
    const held = this.#held;
    if (held === undefined) {
      throw new WireError("not_configured", "Send configure first: the service has no key yet");
    }
    this.#checkEntropy();
    const hex = requiredString(request, "ciphertext", "nonce ‖ ciphertext ‖ tag, hex");
    const blob = this.#parseBlob(hex);
    held.users++;
    try {
      const opened = held.key.open(blob);
      const sealed = opened instanceof Promise
        ? this.#workAndSeal(held, opened, signal)
        : this.#seal(held, opened, signal);
      if (!(sealed instanceof Promise)) {
        letGo(held);
        return preparedResult(sealed);
      }
      return sealed.then(preparedResult).finally(() => letGo(held));
    } catch (thrown) {
      letGo(held);
      throw thrown;
    }
  }

  /** The nonce of the answer is random: where random numbers are not to be trusted, nothing is sealed. @throws {WireError} `entropy_not_trusted` */
  #checkEntropy(): void {
    const { kms, entropy = UNKNOWN_ENTROPY } = this.#options;
    this.#isEntropyTrusted ||= isEntropyTrusted(kms, entropy);
    if (!this.#isEntropyTrusted) requireEntropy(kms, entropy, "Nothing is sealed");
  }

  /** The bytes of a sealed blob, borrowed until the next call: whoever opens them copies them at once. */
  #parseBlob(hex: string): Uint8Array<ArrayBuffer> {
    try {
      if (hex.length <= 2 * SMALL_LENGTH) return decodeHex(hex);
      if (this.#scratch.length < hex.length / 2) this.#scratch = new Uint8Array(Math.ceil(hex.length / 2));
      return decodeHexInto(hex, this.#scratch);
    } catch {
      throw new WireError("decrypt_failed", "Field ciphertext must be hex of nonce ‖ ciphertext ‖ tag");
    }
  }

  async #workAndSeal(
    held: HeldKey,
    opening: Promise<Uint8Array<ArrayBuffer>>,
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    return await this.#seal(held, await opening, signal);
  }

  #seal(
    held: HeldKey,
    plaintext: Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): MaybePromise<Uint8Array<ArrayBuffer>> {
    const wipe = (thrown: unknown) => {
      plaintext.fill(0);
      throw thrown;
    };
    try {
      const result = this.#workflow.call(plaintext, signal);
      if (!(result instanceof Promise)) return this.#sealResult(held, plaintext, result);
      return result.then((bytes) => this.#sealResult(held, plaintext, bytes)).catch(wipe);
    } catch (thrown) {
      return wipe(thrown);
    }
  }

  #sealResult(
    held: HeldKey,
    plaintext: Uint8Array<ArrayBuffer>,
    result: Uint8Array<ArrayBuffer>,
  ): MaybePromise<Uint8Array<ArrayBuffer>> {
    const wipe = () => {
      plaintext.fill(0);
      result.fill(0);
    };
    const sealed = held.key.seal(result);
    if (!held.warned && held.key.seals >= SEAL_LIMITS.warnAt) {
      held.warned = true;
      this.#options.log("warn", "rekey_soon", { seals: held.key.seals, limit: SEAL_LIMITS.refuseAt });
    }
    if (sealed instanceof Promise) return sealed.finally(wipe);
    wipe();
    return sealed;
  }

  /** Wipes the key, also from under a workflow that does not end. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#held?.key[Symbol.dispose]();
    this.#held = undefined;
  }
}

function retire(held: HeldKey): void {
  held.retired = true;
  if (held.users === 0) held.key[Symbol.dispose]();
}

function letGo(held: HeldKey): void {
  held.users--;
  if (held.retired && held.users === 0) held.key[Symbol.dispose]();
}

function preparedResult(sealed: Uint8Array): PreparedReply {
  return new PreparedReply(['{"status":"ok","result":"', sealed, '"}']);
}

function parseWrappedKey(text: string): Uint8Array<ArrayBuffer> {
  try {
    return decodeBase64(text);
  } catch {
    throw new WireError("missing_fields", "Field encrypted_tsk must be base64 of KMS's CiphertextBlob");
  }
}
