/**
 * Connections in memory: an acceptor for the server, and the client's ends. Nothing in it waits by itself, so
 * that a test decides when bytes arrive, are taken, or stop coming.
 *
 * @module
 */
import type { Acceptor } from "../../lib/enclave/server/server.ts";
import type { Stream } from "../../lib/shared/wire/address.ts";
import { encodeMessage, FrameDecoder, type Framing } from "../../lib/shared/wire/framing.ts";
import { parseObject, type WireObject } from "../../lib/shared/wire/messages.ts";
import { within } from "./deadline.ts";

interface Chunk {
  /** Borrowed from the writer until it was taken, as a write to a socket borrows it. */
  rest: Uint8Array;
  readonly length: number;
  readonly written: PromiseWithResolvers<number>;
}

interface Reader {
  readonly into: Uint8Array;
  readonly done: PromiseWithResolvers<number | null>;
}

/** One direction. A write ends when its bytes were read. */
class Pipe {
  #chunks: Chunk[] = [];
  #reader: Reader | undefined;
  #ended = false;
  #broken: Error | undefined;
  #starved: PromiseWithResolvers<void>[] = [];

  write(bytes: Uint8Array): Promise<number> {
    if (this.#broken !== undefined || this.#ended) {
      return Promise.reject(this.#broken ?? new Deno.errors.BrokenPipe("ended"));
    }
    const written = Promise.withResolvers<number>();
    written.promise.catch(() => {});
    this.#chunks.push({ rest: bytes, length: bytes.length, written });
    this.#serve();
    return written.promise;
  }

  read(into: Uint8Array): Promise<number | null> {
    const done = Promise.withResolvers<number | null>();
    this.#reader = { into, done };
    this.#serve();
    return done.promise;
  }

  #serve(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    const [chunk] = this.#chunks;
    if (this.#broken !== undefined) reader.done.reject(this.#broken);
    else if (chunk !== undefined) {
      const piece = chunk.rest.subarray(0, reader.into.length);
      reader.into.set(piece);
      chunk.rest = chunk.rest.subarray(piece.length);
      if (chunk.rest.length === 0) {
        this.#chunks.shift();
        chunk.written.resolve(chunk.length);
      }
      reader.done.resolve(piece.length);
    } else if (this.#ended) reader.done.resolve(null);
    else {
      for (const { resolve } of this.#starved.splice(0)) resolve();
      return;
    }
    this.#reader = undefined;
  }

  /** Resolves when the reader has taken everything and waits for more. */
  starved(): Promise<void> {
    const waiting = Promise.withResolvers<void>();
    this.#starved.push(waiting);
    this.#serve();
    return waiting.promise;
  }

  /** No more bytes come after those that were written. */
  end(): void {
    this.#ended = true;
    this.#serve();
  }

  /** Both sides of it fail from here on. */
  break(error: Error): void {
    this.#broken ??= error;
    for (const { written } of this.#chunks.splice(0)) written.reject(this.#broken);
    this.#serve();
  }
}

/** The service's end. */
class ServiceEnd implements Stream {
  closed = false;
  #incoming: Pipe;
  #outgoing: Pipe;
  #onClose: () => void;

  constructor(incoming: Pipe, outgoing: Pipe, onClose: () => void) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#onClose = onClose;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#incoming.read(into);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#outgoing.write(bytes);
  }

  close(): void {
    if (this.closed) throw new Deno.errors.BadResource("closed twice");
    this.closed = true;
    this.#incoming.break(new Deno.errors.Interrupted("closed by the service"));
    this.#outgoing.end();
    this.#onClose();
  }
}

/** The client's end. Every wait has a deadline. */
export class Peer {
  /** The other end, to be served. */
  readonly stream: Stream;
  #outgoing = new Pipe();
  #incoming = new Pipe();
  #framing: Framing;
  #decoder = new FrameDecoder();
  #closed = Promise.withResolvers<void>();

  constructor(framing: Framing = "u32be") {
    this.#framing = framing;
    this.stream = new ServiceEnd(this.#outgoing, this.#incoming, this.#closed.resolve);
  }

  /** Sends bytes, or a value as a message of this peer's framing. Does not wait until they are read. */
  send(what: Uint8Array | WireObject): void {
    const bytes = what instanceof Uint8Array ? what : encodeMessage(this.#framing, what);
    void this.#outgoing.write(bytes.slice()).catch(() => {});
  }

  /** Resolves when the service has read all that was sent, and waits for more. */
  allRead(): Promise<void> {
    return within(this.#outgoing.starved(), "the service's next read");
  }

  /** Bytes as the service sends them; null when it closed. */
  read(into: Uint8Array): Promise<number | null> {
    return within(this.#incoming.read(into), "bytes of a reply");
  }

  /** The next reply, or undefined when the service closed. */
  receive(): Promise<WireObject | undefined> {
    return within(this.#receive(), "a reply");
  }

  async #receive(): Promise<WireObject | undefined> {
    for (;;) {
      const frame = this.#decoder.next();
      if (frame !== undefined) {
        if ("problem" in frame) throw new Error(`The reply is broken: ${frame.details}`);
        const reply = parseObject(frame.body);
        this.#decoder.release();
        return reply;
      }
      const length = await this.#incoming.read(this.#decoder.space());
      if (length === null) return undefined;
      this.#decoder.commit(length);
    }
  }

  /** All replies until the service closes. */
  async receiveAll(): Promise<WireObject[]> {
    const replies: WireObject[] = [];
    for (let reply = await this.receive(); reply !== undefined; reply = await this.receive()) {
      replies.push(reply);
    }
    return replies;
  }

  /** Resolves when the service has closed its end. */
  closedByService(): Promise<void> {
    return within(this.#closed.promise, "the end of the connection");
  }

  /** Sends no more, and still reads. */
  end(): void {
    this.#outgoing.end();
  }

  /** Breaks the connection. */
  vanish(): void {
    const gone = new Deno.errors.ConnectionReset("the client is gone");
    this.#outgoing.break(gone);
    this.#incoming.break(gone);
  }
}

/** Hands out connections made by {@link connect}. */
export class MemoryAcceptor implements Acceptor {
  closed = false;
  #arrived: Stream[] = [];
  #failures: Error[] = [];
  #waiting: PromiseWithResolvers<Stream> | undefined;

  accept(): Promise<Stream> {
    this.#waiting = Promise.withResolvers<Stream>();
    const { promise } = this.#waiting;
    this.#serve();
    return promise;
  }

  #serve(): void {
    if (this.#waiting === undefined) return;
    const failure = this.closed ? new Deno.errors.BadResource("closed") : this.#failures.shift();
    const stream = failure === undefined ? this.#arrived.shift() : undefined;
    if (failure !== undefined) this.#waiting.reject(failure);
    else if (stream !== undefined) this.#waiting.resolve(stream);
    else return;
    this.#waiting = undefined;
  }

  /** A client. */
  connect(framing?: Framing): Peer {
    const peer = new Peer(framing);
    this.#arrived.push(peer.stream);
    this.#serve();
    return peer;
  }

  /** Makes an accept fail. */
  fail(error: Error): void {
    this.#failures.push(error);
    this.#serve();
  }

  close(): void {
    this.closed = true;
    this.#serve();
  }
}
