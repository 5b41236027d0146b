/**
 * End-to-end protection for clients: `attest` returns a document that binds a key of the service, and `sealed` accepts requests that are sealed for
 * that key, so that nobody between client and enclave can read, replay or answer them.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { attestUserData } from "../../shared/attestation/statement.ts";
import { SealedError } from "../../shared/sealed/errors.ts";
import { importPublicKey, keyPairOf, PRIVATE_KEY_LENGTH } from "../../shared/sealed/hpke.ts";
import type { MessageTimes, OpenedRequest } from "../../shared/sealed/message.ts";
import { NONCE_LENGTH, openRequest } from "../../shared/sealed/message.ts";
import { readFields, type Values } from "../../shared/wire/fields.ts";
import { MessageEncoder } from "../../shared/wire/framing.ts";
import type { ErrorReply, Reply, WireObject } from "../../shared/wire/messages.ts";
import { errorReply, field, isErrorReply, WireError } from "../../shared/wire/messages.ts";
import { ATTEST, SEALED } from "../../shared/wire/requests.ts";
import type { Answer, AnswerInner, Call, Feature, Ports, Routes } from "../server/feature.ts";
import { PreparedReply } from "../server/feature.ts";
import { drawSecret } from "../server/entropy.ts";
import { attestKey, requireAttester } from "../server/attestation.ts";
import { SealedKeys, unknownKey } from "./sealed_keys.ts";
import { timeProblem } from "./sealed_time.ts";
import type { SealedConfig } from "../../shared/cli/sealed_options.ts";

/** Bytes of a `u32be` length. */
const LENGTH_HEADER = 4;
/** Requests that never need to be sealed. */
const ALWAYS_OPEN: readonly unknown[] = ["ping", "health", "attest", "sealed"];

/** The parsed fields of a sealed request. */
type Parsed = Values<typeof SEALED>;

/** Attests keys, and serves requests that are sealed for them. */
export class SealedService implements Feature {
  readonly name = "sealed";
  readonly routes: Routes = { attest: { answer: (request) => this.attest(request) } };
  readonly state = {};
  #options: SealedConfig & Ports;
  #keys: SealedKeys;
  /** Client keys by base64, imported once. */
  #clientKeys: ReadonlyMap<string, Uint8Array>;
  #encoder = new MessageEncoder();

  constructor(options: SealedConfig, ports: Ports) {
    this.#options = { ...options, ...ports };
    const makeKeyPair = async () => {
      using secret = await drawSecret(ports, "sealed", PRIVATE_KEY_LENGTH);
      return await keyPairOf(secret.expose());
    };
    this.#keys = new SealedKeys({ ...ports, makeKeyPair });
    this.#clientKeys = new Map(options.clientKeys.map((raw) => [encodeBase64(raw), raw]));
  }

  outerRoutes(answerInner: AnswerInner): Routes {
    return { sealed: { answer: (request, call) => this.serve(request, call, answerInner), isLarge: true } };
  }

  get warnings(): readonly string[] {
    const { required, clientKeys: { length }, attester } = this.#options;
    const beside =
      "client keys are configured, but clients that do not seal their requests need none (add --require-sealed)";
    const unattested =
      "sealed requests are required, but there is no NSM to attest to a key: none can be served";
    return [
      ...(length > 0 && !required ? [beside] : []),
      ...(attester === undefined && (required || length > 0) ? [unattested] : []),
    ];
  }

  /** The error reply to a request that must be sealed; undefined for one that need not be. */
  refusal(request: WireObject): ErrorReply | undefined {
    if (!this.#options.required) return undefined;
    const isOpen = field(request, "apiRequest") === undefined && ALWAYS_OPEN.includes(field(request, "type"));
    if (isOpen) return undefined;
    return errorReply(
      "sealed_required",
      "Seal this request: only ping, health and attest are served unsealed",
    );
  }

  /**
   * Returns a document that binds the service's key.
   *
   * @throws {WireError} (or rejects)
   */
  attest(request: WireObject): Promise<Reply> {
    const { nonce, user_data } = readFields(request, ATTEST);
    if (nonce === undefined) {
      throw new WireError("missing_fields", "Field nonce (at least 16 random bytes, base64) is missing");
    }
    return this.#attest(nonce, user_data ?? new Uint8Array(0));
  }

  async #attest(nonce: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<Reply> {
    requireAttester(this.#options);
    const userData = await attestUserData(data, this.#options.configurationHash);
    return await attestKey(this.#options, await this.#keys.current(), { userData, nonce });
  }

  /**
   * Opens a sealed request, has it answered, and seals the reply, also an error reply. Errors before that are answered unsealed.
   *
   * @param answerInner answers the inner request
   * @throws {WireError} (or rejects)
   */
  serve(request: WireObject, call: Call, answerInner: AnswerInner): Promise<PreparedReply> {
    requireAttester(this.#options);
    return this.#serve(readFields(request, SEALED), call, answerInner);
  }

  async #serve(parsed: Parsed, call: Call, answerInner: AnswerInner): Promise<PreparedReply> {
    const { random } = this.#options.entropy;
    const { counter, client_id: clientId } = parsed;
    const key = this.#keys.find(encodeBase64(parsed.key_id));
    if (key === undefined) throw unknownKey();
    const clientKey = parsed.client_key && encodeBase64(parsed.client_key);
    const senderPublicKey = await this.#senderKey(clientKey);
    const message = { client: encodeBase64(clientId), clientKey, counter };
    // Checked before opening, and again after it, since another copy may have been opened meanwhile.
    this.#keys.check(key, message);
    const { keys, keyHash } = key;
    const opened = await openRequest(keys, parsed, { keyHash, clientId, counter, senderPublicKey })
      .catch(refuseUnopened);
    const { type, reply } = await this.#answer(opened, ({ sessionStarted, sealedAt }) => {
      this.#keys.use(key, { ...message, sessionStarted });
      const sealed = { ciphertext: parsed.ciphertext, receiptSecret: opened.receiptSecret };
      return answerInner(opened.plaintext, { ...call, sealedAt, sealed });
    });
    const isPrepared = reply instanceof PreparedReply;
    if (!isPrepared && isErrorReply(reply)) {
      // The reply is sealed, so the operator can see the error only in the log.
      this.#options.log("warn", "sealed_request_failed", { type, code: reply.msg });
    }
    // Without the length prefix; a copy, since the encoder reuses its memory.
    const framed = this.#encoder.encode("u32be", isPrepared ? reply.json : [JSON.stringify(reply)]);
    const json = framed.slice(LENGTH_HEADER);
    framed.fill(0);
    const sealed = await opened.sealReply(json, random.bytes(NONCE_LENGTH)).finally(() => json.fill(0));
    return new PreparedReply(['{"status":"ok","type":"sealed","ciphertext":"', encodeBase64(sealed), '"}']);
  }

  /**
   * The answer to a request; a late one gets an error reply, which is also sealed, so the client knows that it
   * comes from the enclave. The request's bytes are parsed immediately, and not kept while it is answered.
   */
  #answer(
    { plaintext, times }: OpenedRequest,
    answer: (times: MessageTimes) => Answer | Promise<Answer>,
  ): Answer | Promise<Answer> {
    const { now, maxAgeMs } = this.#options;
    try {
      const problem = timeProblem(times, { now: now().getTime(), maxAgeMs });
      if (problem === undefined) return answer(times);
      return { type: "late", reply: errorReply("clock_skew", problem) };
    } finally {
      plaintext.fill(0);
    }
  }

  /** The client key that the request must be sealed with; undefined where any client may seal. */
  async #senderKey(clientKey: string | undefined): Promise<CryptoKey | undefined> {
    if (clientKey === undefined && this.#clientKeys.size === 0) return undefined;
    const known = clientKey === undefined ? undefined : this.#clientKeys.get(clientKey);
    if (known !== undefined) return await importPublicKey(known);
    throw new WireError(
      "client_not_allowed",
      clientKey === undefined
        ? "Only known clients are served: seal with a client key, and name it in client_key"
        : "This client key is not among those of the configuration",
    );
  }

  /** Drops its keys: requests sealed for them no longer open. */
  [Symbol.dispose](): void {
    this.#keys[Symbol.dispose]();
  }
}

function refuseUnopened(thrown: unknown): never {
  if (!(thrown instanceof SealedError)) throw thrown;
  throw new WireError(
    "decrypt_failed",
    "The request does not open: it was sealed for another key, client id or counter, by another client, or changed on the way",
  );
}
