/**
 * A client with an end-to-end encrypted connection to the enclave: it has the enclave attest to a key, verifies the document, seals its requests for
 * that key and opens the replies. The parent instance sees only lengths and times, and can withhold messages.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { expectationProblem } from "../../shared/attestation/expectation.ts";
import type { AttestationDocument } from "../../shared/attestation/payload.ts";
import { SealedError } from "../../shared/sealed/errors.ts";
import type { HpkeKeyPair } from "../../shared/sealed/hpke.ts";
import { SealedSender } from "../../shared/sealed/sender.ts";
import type { Address } from "../../shared/wire/address.ts";
import { optionalString, type WireObject } from "../../shared/wire/messages.ts";
import { type Attested, type ExpectedReply, verifyAttestReply } from "./attest_reply.ts";
import type {
  ExchangeOf,
  ReplyOf,
  RequestOf,
  RequestType,
  WalletExchangeOf,
  WalletReplyOf,
  WalletRequestOf,
  WalletRequestType,
} from "../../shared/wire/protocol.ts";
import { Client, type ClientOptions, orThrow, ServiceError, type TypedRequester } from "./client.ts";

export type * from "../../shared/wire/protocol.ts";
export { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";
export { Client, type ClientOptions, ServiceError } from "./client.ts";
export { type AttestationCode, AttestationError } from "../../shared/attestation/errors.ts";
export type { AttestationDocument } from "../../shared/attestation/payload.ts";
export type { ExpectedPcrs, TrustedAttestation } from "../../shared/attestation/document.ts";
export type { ExpectedAttestation } from "../../shared/attestation/verify.ts";
export type { Attested, ExpectedReply } from "./attest_reply.ts";
export { type SealedCode, SealedError } from "../../shared/sealed/errors.ts";
export type { HpkeKeyPair } from "../../shared/sealed/hpke.ts";
export type { Address } from "../../shared/wire/address.ts";
export type { Framing } from "../../shared/wire/framing.ts";
export type { WireObject } from "../../shared/wire/messages.ts";

/** Options of {@link SealedClient}. */
export interface SealedClientOptions extends ClientOptions, ExpectedReply {
  /** This client's key pair, for a service with a list of client keys. */
  readonly clientKey?: HpkeKeyPair;
  /** How long a sealed request is valid: milliseconds, 60,000 by default. The service's own limit holds too. */
  readonly requestLifeMs?: number;
  /** This clock, milliseconds since 1970: the enclave's may be 5 seconds off it. */
  readonly clock?: () => number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** A reply, and what its receipt is verified with. */
export interface ReceiptExchange {
  /** The opened reply. */
  readonly reply: WireObject;
  /** What the receipt names as the request: the sealed ciphertext. */
  readonly request: Uint8Array<ArrayBuffer>;
  /** Gives what the salts are derived from. */
  readonly secret: () => Promise<Uint8Array<ArrayBuffer>>;
}

const NONCE_LENGTH = 32;
/** The longest time before the key is requested again, whatever the reply says. Milliseconds. */
const MAX_KEY_MS = 3_600_000;
/** The shortest time, since the reply is not authenticated. Milliseconds. */
const MIN_KEY_MS = 1_000;

/** How long a key may be used, by its reply and its document, whose clocks are the enclave's. */
function lifeOf(reply: WireObject, { timestamp }: AttestationDocument): number {
  const life = Date.parse(optionalString(reply, "expires_at") ?? "") - timestamp.getTime();
  return Number.isNaN(life) ? MAX_KEY_MS : Math.min(Math.max(life, MIN_KEY_MS), MAX_KEY_MS);
}

/** An unsealed error is not authenticated, unlike a {@link ServiceError} from a sealed reply. */
function refusedInTheOpen(cause: ServiceError): SealedError {
  return new SealedError("sealed_refused", `${cause.message} (in the open)`, cause);
}

/** Requests and replies that the enclave alone can read. One request at a time, in order. */
export class SealedClient implements TypedRequester, Disposable {
  #client: Client;
  #options: SealedClientOptions;
  #now: () => number;
  #sender: { readonly sender: SealedSender; readonly until: number } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Uses an existing connection, which is closed with this client.
   *
   * @throws {SealedError} `sealed_expectation` when neither PCR0 nor PCR8 is expected: any enclave would match, including an attacker's.
   */
  constructor(client: Client, options: SealedClientOptions) {
    const problem = expectationProblem(options.pcrs);
    if (problem !== undefined && options.insecureSkipPcrs !== true) {
      throw new SealedError("sealed_expectation", `Cannot trust an enclave: ${problem}`);
    }
    this.#client = client;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Connects, as {@link Client.connect} does.
   *
   * @throws {EnclaveError} `connect_failed` or `invalid_address`
   */
  static async connect(to: Address | string, options: SealedClientOptions): Promise<SealedClient> {
    const client = await Client.connect(to, options);
    try {
      return new SealedClient(client, options);
    } catch (thrown) {
      client.close();
      throw thrown;
    }
  }

  /**
   * Has the enclave attest, to its key and to some bytes of the caller's, and verifies the document.
   *
   * @param userData up to 256 bytes to include in the document
   * @throws {AttestationError} whose code says which check failed.
   * @throws {ServiceError} when the service has no document to give.
   */
  attest(userData?: Uint8Array): Promise<Attested> {
    return this.#inTurn(async () => (await this.#attest(userData)).attested);
  }

  async #attest(userData?: Uint8Array): Promise<{ readonly attested: Attested; readonly lifeMs: number }> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
    const reply = await this.#client.request({
      type: "attest",
      nonce: encodeBase64(nonce),
      ...(userData === undefined ? {} : { user_data: encodeBase64(userData) }),
    });
    const attested = await verifyAttestReply(reply, { ...this.#options, nonce, userData });
    return { attested, lifeMs: lifeOf(reply, attested.document) };
  }

  /**
   * Seals a request, sends it, and opens the reply, whatever its status. Attests first if there is no key or it has expired.
   *
   * A request that received an unsealed answer is not sent again: the answer is not authenticated, and the request may have been carried out.
   *
   * @throws {SealedError} when the reply is not this request's; `sealed_refused` when there is an error in the open, which is the cause.
   * @throws {ServiceError} when the service has no document to give.
   * @throws {AttestationError} when the enclave is not the one expected.
   * @throws {EnclaveError} `no_reply`
   */
  exchange<T extends RequestType>(request: RequestOf<T>): Promise<ExchangeOf<T>>;
  exchange<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletExchangeOf<T>>;
  exchange(request: WireObject): Promise<WireObject>;
  exchange(request: WireObject): Promise<WireObject> {
    return this.#inTurn(() => this.#exchange(request));
  }

  /**
   * As {@link exchange}, but an error reply is thrown: it was sealed, so it comes from the enclave.
   *
   * @throws {ServiceError} with the service's code
   */
  request<T extends RequestType>(request: RequestOf<T>): Promise<ReplyOf<T>>;
  request<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletReplyOf<T>>;
  request(request: WireObject): Promise<WireObject>;
  async request(request: WireObject): Promise<WireObject> {
    return orThrow(await this.exchange(request));
  }

  /** Messages must arrive in the order of their counters. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** As {@link exchange}, and what the receipt in the reply is verified with. */
  exchangeForReceipt(request: WireObject): Promise<ReceiptExchange> {
    return this.#inTurn(() => this.#exchangeForReceipt(request));
  }

  async #exchange(request: WireObject): Promise<WireObject> {
    return (await this.#exchangeForReceipt(request)).reply;
  }

  async #exchangeForReceipt(request: WireObject): Promise<ReceiptExchange> {
    const sender = await this.#ready();
    const { message, open, ciphertext, receiptSecret } = await sender.seal(request);
    try {
      const reply = await this.#client.exchange({ ...message });
      if (reply["status"] !== "ok") throw refusedInTheOpen(new ServiceError(reply));
      return { reply: await open(reply), request: ciphertext, secret: receiptSecret };
    } catch (thrown) {
      // The enclave may have restarted with another key.
      this.#sender = undefined;
      throw thrown;
    }
  }

  async #ready(): Promise<SealedSender> {
    if (this.#sender !== undefined && this.#now() < this.#sender.until) return this.#sender.sender;
    const asked = this.#now();
    const { attested, lifeMs } = await this.#attest();
    const sender = await SealedSender.create(attested.publicKey, {
      clientKey: this.#options.clientKey,
      lifeMs: this.#options.requestLifeMs,
      clock: this.#options.clock,
    });
    this.#sender = { sender, until: asked + lifeMs };
    return sender;
  }

  /** Closes the connection. */
  close(): void {
    this.#sender = undefined;
    this.#client.close();
  }

  /** As {@link close}, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
