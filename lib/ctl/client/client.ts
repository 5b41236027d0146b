/**
 * The parent's side of the session key service: a connection that sends requests and gives replies.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";
import { type Address, formatAddress, type Stream, writeAll } from "../../shared/wire/address.ts";
import { DEFAULT_MAX_LENGTH, encodeMessage, FrameDecoder, type Framing } from "../../shared/wire/framing.ts";
import { parseObject, type WireObject } from "../../shared/wire/messages.ts";
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
import { connect } from "../../shared/wire/connect.ts";

export { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";
export type * from "../../shared/wire/protocol.ts";
export type { Stream } from "../../shared/wire/address.ts";

/** Options of {@link Client.connect}. */
export interface ClientOptions {
  /** Defaults to `u32be`. */
  readonly framing?: Framing;
  /** For connecting, and for each reply. Milliseconds; 65 seconds by default, a little more than the service takes. */
  readonly timeoutMs?: number;
  /** For connecting, where it may not take as long as a reply. Milliseconds. */
  readonly connectMs?: number;
  /** The largest reply, bytes. */
  readonly maxLength?: number;
}

/** A little more than the service takes. */
const DEFAULT_TIMEOUT_MS = 65_000;

/** The service answered with an error. */
export class ServiceError extends EnclaveError {
  /** The class. */
  override name = "ServiceError";
  /** The reply as it came. */
  readonly reply: WireObject;

  /** Takes the code and the message from the reply. */
  constructor(reply: WireObject) {
    const code = typeof reply["msg"] === "string" ? reply["msg"] : "unknown";
    const details = typeof reply["details"] === "string" ? reply["details"] : "";
    const own = typeof reply["code"] === "string" ? ` (${reply["code"]})` : "";
    super(`The service answered ${code}${own}${details === "" ? "" : `: ${details}`}`, { code });
    this.reply = reply;
  }
}

/** What sends requests: a connection, or one on which they are sealed. */
export interface Requester {
  /** Gives the reply, whatever its status. */
  exchange(request: WireObject): Promise<WireObject>;
  /** Throws an error reply. */
  request(request: WireObject): Promise<WireObject>;
}

/** As {@link Requester}, with the types of the requests that are known: `status` tells replies from errors. */
export interface TypedRequester extends Requester {
  /** Gives the reply, whatever its status. */
  exchange<T extends RequestType>(request: RequestOf<T>): Promise<ExchangeOf<T>>;
  /** Gives the wallet's reply, whatever its status. */
  exchange<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletExchangeOf<T>>;
  /** Of a request that is not known here. */
  exchange(request: WireObject): Promise<WireObject>;
  /** Throws an error reply. */
  request<T extends RequestType>(request: RequestOf<T>): Promise<ReplyOf<T>>;
  /** Throws the wallet's error reply. */
  request<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletReplyOf<T>>;
  /** Of a request that is not known here. */
  request(request: WireObject): Promise<WireObject>;
}

/**
 * The reply, unless it is an error.
 *
 * @throws {ServiceError} with the service's code
 */
export function orThrow(reply: WireObject): WireObject {
  const isWallets = reply["status"] === undefined && typeof reply["apiResponse"] === "string";
  if (reply["status"] !== "ok" && !isWallets) throw new ServiceError(reply);
  return reply;
}

/** A connection to the service. Requests on it are answered in order, one at a time. */
export class Client implements TypedRequester, Disposable {
  #stream: Stream;
  #address: Address | undefined;
  #framing: Framing;
  #timeoutMs: number;
  #decoder: FrameDecoder;
  #last: Promise<unknown> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  private constructor(stream: Stream, address: Address | undefined, options: ClientOptions) {
    this.#stream = stream;
    this.#address = address;
    this.#framing = options.framing ?? "u32be";
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#decoder = new FrameDecoder(options.maxLength ?? 4 * DEFAULT_MAX_LENGTH);
  }

  /** Uses an existing stream, such as another runtime's socket; it is closed with this client. */
  static over(stream: Stream, options: Omit<ClientOptions, "connectMs"> = {}): Client {
    return new Client(stream, undefined, options);
  }

  /**
   * Connects.
   *
   * @throws {EnclaveError} `connect_failed`
   */
  static async connect(address: Address, options: ClientOptions = {}): Promise<Client> {
    const connectMs = options.connectMs ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    return new Client(await connect(address, connectMs), address, options);
  }

  /**
   * Sends a request and gives the reply, whatever its status.
   *
   * @throws {EnclaveError} `no_reply` when the connection ended, or nothing came in time; the connection is closed then.
   */
  exchange<T extends RequestType>(request: RequestOf<T>): Promise<ExchangeOf<T>>;
  exchange<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletExchangeOf<T>>;
  exchange(request: WireObject): Promise<WireObject>;
  exchange(request: WireObject): Promise<WireObject> {
    const turn = this.#last.then(() => this.#exchange(request));
    this.#last = turn.catch(() => {});
    return turn;
  }

  /**
   * As {@link exchange}, but an error reply is thrown.
   *
   * @throws {ServiceError} with the service's code
   */
  request<T extends RequestType>(request: RequestOf<T>): Promise<ReplyOf<T>>;
  request<T extends WalletRequestType>(request: WalletRequestOf<T>): Promise<WalletReplyOf<T>>;
  request(request: WireObject): Promise<WireObject>;
  async request(request: WireObject): Promise<WireObject> {
    return orThrow(await this.exchange(request));
  }

  async #exchange(request: WireObject): Promise<WireObject> {
    const late = () => new Error(`nothing came within ${this.#timeoutMs} ms`);
    try {
      return await within(this.#timeoutMs, this.#sendAndReceive(request), late);
    } catch (thrown) {
      this[Symbol.dispose]();
      throw new EnclaveError(`No reply from ${this.#name}: ${messageOf(thrown)}`, {
        code: "no_reply",
        hint: "The request may or may not have been carried out. Connect again.",
        cause: thrown,
      });
    }
  }

  get #name(): string {
    return this.#address === undefined ? "the service" : formatAddress(this.#address);
  }

  async #sendAndReceive(request: WireObject): Promise<WireObject> {
    // The last request may have been refused before it was fully sent: send its rest first.
    await this.#writing;
    // This request may be refused early too, so read while writing.
    this.#writing = writeAll(
      this.#stream,
      encodeMessage(this.#framing, request),
      this.#address?.transport ?? "tcp",
    );
    this.#writing.catch(() => {});
    for (;;) {
      const frame = this.#decoder.next();
      if (frame !== undefined) {
        if ("problem" in frame) throw new Error(frame.details);
        const reply = parseObject(frame.body);
        this.#decoder.release();
        return reply;
      }
      const length = await this.#stream.read(this.#decoder.space());
      if (length === null) throw new Error("the service closed the connection");
      this.#decoder.commit(length);
    }
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    try {
      this.#stream.close();
    } catch {
      // It was closed already.
    }
  }
}
