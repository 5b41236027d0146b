/**
 * The parent's side of the session key service: a connection that sends requests and gives replies. Knows the wire, not the service.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";
import { type Address, connect, formatAddress, type Stream, writeAll } from "../wire/address.ts";
import { DEFAULT_MAX_LENGTH, encodeMessage, FrameDecoder, type Framing } from "../wire/framing.ts";
import { parseObject, type WireObject } from "../wire/messages.ts";

export { EnclaveError, type EnclaveErrorOptions } from "../errors.ts";

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

/** The service answered with an error. */
export class ServiceError extends EnclaveError {
  /** The reply as it came. */
  readonly reply: WireObject;

  /** Takes code and words from the reply. */
  constructor(reply: WireObject) {
    const code = typeof reply["msg"] === "string" ? reply["msg"] : "unknown";
    const details = typeof reply["details"] === "string" ? reply["details"] : "";
    super(`The service answered ${code}${details === "" ? "" : `: ${details}`}`, { code });
    this.reply = reply;
  }
}

/** What sends requests: a connection, or one on which they are sealed. */
export type Requester = Pick<Client, "exchange" | "request">;

/** A connection to the service. Requests on it are answered in order, one at a time. */
export class Client implements Disposable {
  #stream: Stream;
  #address: Address;
  #framing: Framing;
  #timeoutMs: number;
  #decoder: FrameDecoder;
  #last: Promise<unknown> = Promise.resolve();
  #writing: Promise<void> = Promise.resolve();

  private constructor(stream: Stream, address: Address, options: Required<Omit<ClientOptions, "connectMs">>) {
    this.#stream = stream;
    this.#address = address;
    this.#framing = options.framing;
    this.#timeoutMs = options.timeoutMs;
    this.#decoder = new FrameDecoder(options.maxLength);
  }

  /**
   * Connects.
   *
   * @throws {EnclaveError} `connect_failed`
   */
  static async connect(address: Address, options: ClientOptions = {}): Promise<Client> {
    const all = {
      framing: "u32be" as const,
      timeoutMs: 65_000,
      maxLength: 4 * DEFAULT_MAX_LENGTH,
      ...options,
    };
    return new Client(await connect(address, options.connectMs ?? all.timeoutMs), address, all);
  }

  /**
   * Sends a request and gives the reply, whatever its status.
   *
   * @throws {EnclaveError} `no_reply` when the connection ended, or nothing came in time; the connection is closed then.
   */
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
  async request(request: WireObject): Promise<WireObject> {
    const reply = await this.exchange(request);
    if (reply["status"] !== "ok") throw new ServiceError(reply);
    return reply;
  }

  async #exchange(request: WireObject): Promise<WireObject> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`nothing came within ${this.#timeoutMs} ms`)),
      this.#timeoutMs,
    );
    try {
      return await Promise.race([this.#sendAndReceive(request), late]);
    } catch (thrown) {
      this[Symbol.dispose]();
      throw new EnclaveError(`No reply from ${formatAddress(this.#address)}: ${messageOf(thrown)}`, {
        code: "no_reply",
        hint: "The request may or may not have been carried out. Connect again.",
        cause: thrown,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async #sendAndReceive(request: WireObject): Promise<WireObject> {
    // The last request may have been refused before all of it was sent: what is left of it goes first.
    await this.#writing;
    // And this one may be: so read while writing.
    this.#writing = writeAll(this.#stream, encodeMessage(this.#framing, request), this.#address.transport);
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
