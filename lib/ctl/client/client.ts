/**
 * The parent's side of the session key service: a connection that sends requests and gives replies.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";
import {
  type Address,
  formatAddress,
  parseAddress,
  type Stream,
  writeAll,
} from "../../shared/wire/address.ts";
import { DEFAULT_MAX_LENGTH, encodeMessage, FrameDecoder, type Framing } from "../../shared/wire/framing.ts";
import { type ErrorCode, parseObject, type WireObject } from "../../shared/wire/messages.ts";
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
import { ERROR_CODES } from "../../shared/wire/error_codes.ts";
import { connect } from "../../shared/wire/connect.ts";
import { BridgeError, httpStream } from "./http_stream.ts";
import { streamOf, type StreamSource } from "./streams.ts";

export { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";
export type * from "../../shared/wire/protocol.ts";
export { type Address, parseAddress, type Stream } from "../../shared/wire/address.ts";
export { BridgeError } from "./http_stream.ts";
export type { NodeSocket, StreamSource, WebStreams } from "./streams.ts";

/** Options of {@link Client.connect}. */
export interface ClientOptions {
  /** Defaults to `u32be`. */
  readonly framing?: Framing;
  /**
   * For connecting, and for each reply. Milliseconds; 65 seconds by default, a little more than the service
   * takes.
   */
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
  /** The service's explanation, for people. May be empty. */
  readonly details: string;

  /** Takes the code and the message from the reply. */
  constructor(reply: WireObject) {
    const code = typeof reply["msg"] === "string" ? reply["msg"] : "unknown";
    const details = typeof reply["details"] === "string" ? reply["details"] : "";
    const own = typeof reply["code"] === "string" ? ` (${reply["code"]})` : "";
    const hint = Object.hasOwn(ERROR_CODES, code)
      ? ERROR_CODES[code as ErrorCode].remedy.replaceAll("`", "")
      : undefined;
    super(`The service answered ${code}${own}${details === "" ? "" : `: ${details}`}`, { code, hint });
    this.reply = reply;
    this.details = details;
  }
}

/** What sends requests: a connection, or one on which they are sealed. */
export interface Requester {
  /** Gives the reply, whatever its status. */
  exchange(request: WireObject): Promise<WireObject>;
  /** Throws an error reply. */
  request(request: WireObject): Promise<WireObject>;
}

/**
 * As {@link Requester}, with the types of the requests that are known: `status` tells replies from errors.
 */
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
  #name: string;
  #transport: Address["transport"];
  #framing: Framing;
  #timeoutMs: number;
  #decoder: FrameDecoder;
  #last: Promise<unknown> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    stream: Stream,
    { name, transport }: { readonly name: string; readonly transport: Address["transport"] },
    options: ClientOptions,
  ) {
    this.#stream = stream;
    this.#name = name;
    this.#transport = transport;
    this.#framing = options.framing ?? "u32be";
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#decoder = new FrameDecoder(options.maxLength ?? 4 * DEFAULT_MAX_LENGTH);
  }

  /** Uses an existing stream; it is closed with this client. */
  static over(stream: Stream, options?: Omit<ClientOptions, "connectMs">): Client;
  /** Uses web streams or a socket of Node's; it is closed with this client. */
  static over(source: StreamSource, options?: Omit<ClientOptions, "connectMs">): Client;
  static over(source: StreamSource, options: Omit<ClientOptions, "connectMs"> = {}): Client {
    return new Client(streamOf(source), { name: "the service", transport: "tcp" }, options);
  }

  /**
   * Connects.
   *
   * @param to an address, also as text: `vsock:16:5000`, `tcp:127.0.0.1:5000`, `unix:/run/denclave.sock`; or
   * the URL of an HTTP bridge, to which each request connects anew
   * @throws {EnclaveError} `connect_failed` or `invalid_address`
   */
  static async connect(to: Address | string, options: ClientOptions = {}): Promise<Client> {
    if (typeof to === "string" && /^https?:/.test(to)) {
      return new Client(httpStream(to), { name: to, transport: "tcp" }, { ...options, framing: "raw" });
    }
    const address = typeof to === "string" ? parseAddress(to) : to;
    const connectMs = options.connectMs ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const named = { name: formatAddress(address), transport: address.transport };
    return new Client(await connect(address, connectMs), named, options);
  }

  /**
   * Sends a request and gives the reply, whatever its status.
   *
   * @throws {EnclaveError} `no_reply` when the connection ended, or nothing came in time; the connection is
   * closed then.
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
      if (thrown instanceof BridgeError) {
        // It ended this request alone.
        this.#writing = Promise.resolve();
        throw thrown;
      }
      this.close();
      throw new EnclaveError(`No reply from ${this.#name}: ${messageOf(thrown)}`, {
        code: "no_reply",
        hint: "The request may or may not have been carried out. Connect again.",
        cause: thrown,
      });
    }
  }

  async #sendAndReceive(request: WireObject): Promise<WireObject> {
    // The last request may have been refused before it was fully sent: send its rest first.
    await this.#writing;
    // This request may be refused early too, so read while writing.
    this.#writing = writeAll(this.#stream, encodeMessage(this.#framing, request), this.#transport);
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
  close(): void {
    try {
      this.#stream.close();
    } catch {
      // It was closed already.
    }
  }

  /** As {@link close}, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
