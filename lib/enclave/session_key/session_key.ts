/**
 * The session key service: `configure` has KMS release the trusted session key (TSK), which is held in memory only; `process` opens
 * data with it, runs the workflow and seals the result.
 *
 * @module
 */
import { KEY_LENGTH, OpenError, SEAL_LIMITS, SealingKey } from "../../shared/crypto/sealing.ts";
import { type KeyArn, selectKey } from "../../shared/aws/key_arn.ts";
import type { Credentials } from "../../shared/aws/credentials.ts";
import { tskContext } from "../../shared/aws/tsk_context.ts";
import { discard } from "../../shared/bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import type { SessionKeyConfig } from "../../shared/cli/serve_options.ts";
import { decodeHexInto } from "../../shared/crypto/hex.ts";
import type { ErrorReply, Reply, WireObject } from "../../shared/wire/messages.ts";
import { errorReply, field, requiredString, WireError } from "../../shared/wire/messages.ts";
import { readFields } from "../../shared/wire/fields.ts";
import { CONFIGURE, PROCESS } from "../../shared/wire/requests.ts";
import { type BoundBlobs, readProcessBinding } from "../../shared/wire/process_binding.ts";
import { WorkflowError } from "../../workflow_context.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import type { BegunReceipt, ReceiptService } from "../receipts/receipts.ts";
import { requireEntropy } from "../server/entropy.ts";
import { credentialedRoute, keySelection } from "../server/fields.ts";
import { type Call, type Feature, type Ports, PreparedReply, type Routes } from "../server/feature.ts";
import { kmsFailure, refuseTsk } from "../server/kms_failure.ts";
import { checkWaitedFor, NEVER } from "../server/waiting.ts";
import type { Workflows } from "./workflow/pool.ts";

/** The measured configuration of the service, which no request can change, and the workflow. */
export interface SessionKeyOptions extends Partial<SessionKeyConfig> {
  /** Makes what runs the workflow; it is disposed of with the service. */
  readonly workflows: (ports: Ports) => Workflows;
  readonly receipts: Pick<ReceiptService, "begin" | "secretOf">;
}

/** Which `configure` is the newer one. */
interface ConfigureOrder {
  readonly epoch: number | undefined;
  /** Its place in the order of arrival. */
  readonly order: number;
  /** When its client sealed it; undefined if it is not sealed. Milliseconds since 1970. */
  readonly sealedAt: number | undefined;
}

/** The key in use, kept until the last request that uses it is done. */
interface HeldKey extends ConfigureOrder {
  readonly key: SealingKey;
  /** What the salts of receipts are derived from. */
  readonly receiptSecret: SecretBytes;
  /** Disposing wipes both. */
  readonly life: Disposable;
  readonly since: string;
  /** Requests that use it, and the service while it is the newest. */
  users: number;
}

/** A parsed `configure`. */
interface ConfigureRequest {
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  readonly epoch: number | undefined;
  readonly key: KeyArn | undefined;
  readonly region: string;
}

/** An opened request, and what goes with it. */
interface Work {
  readonly input: Uint8Array<ArrayBuffer>;
  /** Where it asked for one. */
  readonly receipt: Promise<BegunReceipt> | undefined;
  readonly bound: BoundBlobs | undefined;
  readonly signal: AbortSignal;
}

/** A `configure` with its place among the others, and its credentials, borrowed. */
type Wanted = ConfigureRequest & ConfigureOrder & { readonly credentials: Credentials };

/** Maximum number of running and waiting `configure` requests. */
const MAX_WAITING = 8;

/** Plain KMS calls without an allowed key still need a region. */
const FALLBACK_REGION = "us-east-1";
/** Bytes of scratch memory to keep when no large blobs arrive. */
const SCRATCH_LENGTH = 64 * 1024;
const encoder = new TextEncoder();

/** Holds the TSK and serves with it. */
export class SessionKeyService implements Feature {
  readonly name = "session_key";
  readonly routes: Routes = {
    configure: credentialedRoute((request) => this.#parse(request), (...given) => this.#inTurn(...given)),
    process: { answer: (request, call) => this.process(request, call), isLarge: true },
  };
  #options: SessionKeyOptions & Ports;
  #held: HeldKey | undefined;
  #arrived = 0;
  /** When the last of the sealed `configure`s was sealed that took effect. */
  #lastSealedAt = 0;
  /** `configure` requests that call KMS: as many at once as it takes calls. */
  #running = 0;
  /** Start those that wait for their turn. */
  #turns: (() => void)[] = [];
  #ended = false;
  /** Memory for decoding blobs, reused since allocating it costs as much as opening a blob (measured). Never holds plaintext. */
  #scratch = new Uint8Array(SCRATCH_LENGTH);
  #workflows: Workflows;

  constructor(options: SessionKeyOptions, ports: Ports) {
    this.#options = { ...options, ...ports };
    this.#workflows = options.workflows(ports);
  }

  get warnings(): readonly string[] {
    const { kms, context } = this.#options;
    const warning =
      "session keys are taken without an EncryptionContext (--tsk-context none): whoever wraps them needs an unconditional kms:Encrypt";
    return kms.attested && context === undefined ? [warning] : [];
  }

  replyTo(thrown: unknown, request: string): ErrorReply | undefined {
    const { log } = this.#options;
    if (thrown instanceof WorkflowError) return refused(thrown);
    if (thrown instanceof OpenError) return errorReply("decrypt_failed", thrown.message);
    if (!(thrown instanceof EnclaveError) || request !== "configure") return undefined;
    log("error", "configure_failed", { code: thrown.code, reason: thrown.message, hint: thrown.hint });
    const { code, message } = kmsFailure(thrown, "kms_decrypt_failed");
    return errorReply(code, message);
  }

  /** What `health` tells of it. */
  get state() {
    const held = this.#held;
    return {
      configured: held !== undefined,
      ...(held && { configured_at: held.since, epoch: held.epoch, seals: held.key.seals }),
      workflow: this.#workflows.state,
    };
  }

  /**
   * Has KMS open the TSK and takes it into use. Until then, and after any failure, the old key stays in use.
   * A `configure` that was answered `timeout` never takes effect.
   *
   * Several run at the same time. In the end the highest epoch is in use; without epochs, the last one that
   * arrived, as if each had waited for the one before it. Of sealed ones it is the last one that was sealed,
   * since whoever carries them can keep one back.
   *
   * Each waits for a turn: they are given in the order of arrival.
   *
   * @throws {WireError | EnclaveError} (rejects)
   */
  async #inTurn(parsed: ConfigureRequest, credentials: Credentials, call: Call): Promise<Reply> {
    const { signal, sealedAt } = call;
    const arrived = { ...parsed, credentials, sealedAt, order: ++this.#arrived };
    this.#checkTimely(arrived, signal);
    if (this.#running + this.#turns.length >= MAX_WAITING) {
      throw new WireError("busy", `${MAX_WAITING} configures are waiting: try again later`);
    }
    if (this.#running < (this.#options.kms.callsAtOnce ?? 1)) this.#running++;
    else await new Promise<void>((resolve) => this.#turns.push(resolve));
    try {
      // Others may have taken effect while this one waited for its turn, and again while KMS works on it.
      this.#checkTimely(arrived, signal);
      return await this.#configure(arrived, signal);
    } finally {
      const next = this.#turns.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #parse(request: WireObject): ConfigureRequest {
    const { encrypted_tsk: ciphertext } = readFields(request, CONFIGURE);
    return { ciphertext, epoch: this.#epochOf(request), ...this.#select(request) };
  }

  async #configure(wanted: Wanted, signal: AbortSignal): Promise<Reply> {
    const { kms, log, now, aead, entropy, receipts } = this.#options;
    const { ciphertext, epoch, key: kmsKey, region, order, sealedAt, credentials } = wanted;
    const context = tskContext(this.#options.context, epoch);

    using unused = new DisposableStack();
    const plaintext = unused.use(
      await kms.decrypt({ region, credentials }, { ciphertext, keyId: kmsKey?.arn, context })
        .catch((thrown) => refuseTsk(thrown, context)),
    );
    if (plaintext.length !== KEY_LENGTH) {
      const wrong = `the TSK must have exactly ${KEY_LENGTH} bytes, not ${plaintext.length}`;
      throw new WireError("kms_decrypt_failed", `KMS opened it, but ${wrong}`);
    }
    const receiptSecret = unused.use(receipts.secretOf(plaintext));
    const key = unused.use(new SealingKey(plaintext, { aead, random: entropy.random.fill }));
    this.#checkTimely(wanted, signal);
    const since = now().toISOString();
    const old = this.#held;
    // The key of a later request, which KMS answered first, has replaced this one already.
    const overtaken = epoch === undefined && old !== undefined && old.order > order &&
      (sealedAt ?? 0) <= (old.sealedAt ?? Infinity);
    if (sealedAt !== undefined) this.#lastSealedAt = Math.max(sealedAt, this.#lastSealedAt);
    if (!overtaken) {
      this.#held = { key, receiptSecret, life: unused.move(), since, epoch, order, sealedAt, users: 1 };
      if (old !== undefined) release(old);
    }
    log("info", "configured", { rotated: old !== undefined, overtaken, region, key: kmsKey?.arn, epoch });
    return { status: "ok", msg: "configured", timestamp: since };
  }

  /** @throws {WireError | EnclaveError} when a key may no longer take effect. */
  #checkTimely({ epoch, sealedAt }: ConfigureOrder, signal: AbortSignal): void {
    if (this.#ended) throw new WireError("internal_error", "The service is ending");
    checkWaitedFor(signal);
    if (this.#options.configureOnce && this.#held !== undefined) {
      throw new WireError("already_configured", "The service is configured, and accepts a key only once");
    }
    const current = this.#held?.epoch;
    if (epoch !== undefined && current !== undefined && epoch <= current) {
      throw new WireError("already_configured", `The epoch must grow: ${epoch} is not above ${current}`);
    }
    // Without epochs, one that was kept back must not replace one that was sealed after it.
    if (epoch === undefined && sealedAt !== undefined && sealedAt < this.#lastSealedAt) {
      const newer = `A configure that was sealed ${this.#lastSealedAt - sealedAt} ms later has taken effect`;
      throw new WireError("sealed_replayed", `${newer}: seal this one anew if it is the newer one`);
    }
  }

  #select(request: WireObject): Pick<ConfigureRequest, "key" | "region"> {
    const { kms, keys, region: configured } = this.#options;
    const { region, ...selection } = keySelection(request, ["kms_key_id", "key_id"]);
    if (!kms.attested && keys.length === 0) {
      return { key: undefined, region: region ?? configured ?? FALLBACK_REGION };
    }
    const regionOfMany = keys.length > 1 ? configured : undefined;
    const key = selectKey(keys, { ...selection, region: region ?? regionOfMany });
    return { key, region: key.region };
  }

  #epochOf(request: WireObject): number | undefined {
    const { requireEpoch, minTskEpoch: minEpoch } = this.#options;
    if (!requireEpoch && minEpoch === undefined) return undefined;
    const epoch = field(request, "epoch");
    if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 0) {
      const missing = "Field epoch (a whole number that grows with every configure) is missing";
      throw new WireError("missing_fields", missing);
    }
    if (minEpoch !== undefined && epoch < minEpoch) {
      throw new WireError("row_rejected", `Cannot trust epoch ${epoch}: at least ${minEpoch} is wanted here`);
    }
    return epoch;
  }

  /**
   * Opens the blob, has the workflow work on it, seals the result.
   *
   * @param call.signal ends the wait for the workflow
   * @throws {WireError | EnclaveError | WorkflowError} (or rejects)
   */
  process(request: WireObject, call: Call = { signal: NEVER }): Promise<PreparedReply | Reply> {
    const held = this.#held;
    if (held === undefined) {
      throw new WireError("not_configured", "Send configure first: the service has no key yet");
    }
    // The reply's nonce is random.
    requireEntropy(this.#options, "Nothing is sealed");
    const hex = requiredString(request, "ciphertext", "nonce ‖ ciphertext ‖ tag, hex");
    const bound = readProcessBinding(request, { required: this.#options.bindProcess === true });
    const { receipt: nonce } = readFields(request, PROCESS);
    const blob = this.#parseBlob(hex);
    const input = held.key.open(blob, bound?.request, this.#workflows.headroom);
    const about = { type: "process", blob, input, secret: held.receiptSecret } as const;
    const receipt = nonce && this.#options.receipts.begin({ ...about, nonce }, call);
    return this.#work(held, { input, receipt, bound, signal: call.signal });
  }

  async #work(held: HeldKey, { input, receipt, bound, signal }: Work): Promise<PreparedReply | Reply> {
    // A DisposableStack would take as long as the cipher.
    let result = new Uint8Array(0);
    let begun: BegunReceipt | undefined;
    held.users++;
    try {
      begun = receipt && await receipt;
      result = await this.#workflows.run(input, signal);
      const signed = begun === undefined ? "" : `","receipt":"${await begun.finish("ok", result)}`;
      const sealed = held.key.seal(result, bound?.reply);
      const { seals } = held.key;
      if (seals === SEAL_LIMITS.warnAt) {
        this.#options.log("warn", "rekey_soon", { seals, limit: SEAL_LIMITS.refuseAt });
      }
      return new PreparedReply(['{"status":"ok","result":"', sealed, `${signed}"}`]);
    } catch (thrown) {
      // The workflow never received the plaintext.
      if (receipt !== undefined && begun === undefined) discard(input);
      if (begun === undefined || !(thrown instanceof WorkflowError)) throw thrown;
      const signed = await begun.finish("workflow_failed", encoder.encode(thrown.code));
      return { ...refused(thrown), receipt: signed };
    } finally {
      begun?.[Symbol.dispose]();
      release(held);
      discard(result);
    }
  }

  /** The bytes of a sealed blob, borrowed until the next call. */
  #parseBlob(hex: string): Uint8Array<ArrayBuffer> {
    const length = Math.ceil(hex.length / 2);
    const isWasteful = this.#scratch.length > SCRATCH_LENGTH && length < this.#scratch.length / 4;
    if (isWasteful || this.#scratch.length < length) {
      this.#scratch = new Uint8Array(Math.max(length, SCRATCH_LENGTH));
    }
    try {
      return decodeHexInto(hex, this.#scratch);
    } catch {
      throw new WireError("decrypt_failed", "Field ciphertext must be hex of nonce ‖ ciphertext ‖ tag");
    }
  }

  /** Wipes the key, even if a workflow is still running. */
  [Symbol.dispose](): void {
    this.#ended = true;
    this.#workflows[Symbol.dispose]();
    this.#held?.life[Symbol.dispose]();
    this.#held = undefined;
  }
}

/** One user less: the last one wipes the key. */
function release(held: HeldKey): void {
  if (--held.users === 0) held.life[Symbol.dispose]();
}

function refused({ code, message }: WorkflowError): ErrorReply {
  return { ...errorReply("workflow_failed", message), code };
}
