/**
 * One connection: documents in, replies out, in order. It has no timers of its own; the server's sweep checks `deadline`.
 *
 * @module
 */
import { discard } from "../../shared/bytes.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { type Address, type Stream, writeAll } from "../../shared/wire/address.ts";
import { type Frame, FrameDecoder, MessageEncoder } from "../../shared/wire/framing.ts";
import type { ErrorCode, Reply, WireObject } from "../../shared/wire/messages.ts";
import { errorReply, isErrorReply, WireError } from "../../shared/wire/messages.ts";
import type { Handler } from "./dispatch.ts";
import { type Answer, PreparedReply } from "./feature.ts";
import type { Limits } from "../../shared/cli/limits.ts";
import { parseReserved, Reservation, type ServiceMemory } from "./memory_budget.ts";
import type { Metrics } from "./metrics.ts";

/** What all connections of a server share. */
export interface ConnectionContext {
  readonly handler: Handler;
  readonly limits: Limits;
  readonly memory: ServiceMemory;
  readonly transport: Address["transport"];
  readonly log: Log;
  readonly metrics: Metrics;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** Resolves when everything that arrived in this turn of the event loop has been processed. */
  readonly turnEnd: () => Promise<void>;
}

/** After a reply that ends a connection, the client's remaining input is read for this long, so that the client receives the reply. */
const DRAIN_MS = 2_000;
/** How long to wait for more of a document that may already be complete (`{}`). */
const AMBIGUOUS_MS = 250;
/**
 * Buffers up to here are kept between requests, since allocating large ones is slow; larger ones are released. Bytes.
 * Room for 1 MiB as hex.
 */
const KEPT_ARRIVING = 2.25 * 1024 * 1024;
/** Less, since it does not count towards the memory budget. */
const KEPT_LEAVING = 2 * 1024 * 1024;
/** What all connections together may keep in either of them, as a share of the memory for messages. */
const KEPT_SHARE = 0.3;

const PROBLEM_CODES = {
  too_large: "message_too_large",
  not_json: "invalid_json",
  no_memory: "busy",
} as const;

type Phase = "idle" | "receiving" | "handling" | "writing" | "draining";

/** Serves one connection. */
export class Connection {
  readonly id: number;
  #context: ConnectionContext;
  #keptShare: number;
  #stream: Stream;
  #decoder: FrameDecoder;
  /** The decoder's buffer. */
  #buffered: Reservation;
  #encoder = new MessageEncoder();
  #phase: Phase = "idle";
  /** When the sweep ends the present phase. Milliseconds on the context's clock. */
  #deadline: number;
  /** When the request's first byte arrived, or the request before it was answered, if that was later. */
  #requestStarted: number;
  #requests = 0;
  #closed = false;
  #stopping = false;
  /** No further document can be taken from the stream: further input is ignored. */
  #lost = false;
  /** The sweep's reply, until it is written. */
  #timeoutReply: Promise<void> | undefined;
  /** The read that a waiting request has begun, and its byte. */
  #ahead: { readonly byte: Uint8Array; readonly read: Promise<number | null> } | undefined;
  /** Aborted when the sweep has answered, or the connection is closed: further input is ignored. */
  #abandoned = new AbortController();

  constructor(id: number, stream: Stream, context: ConnectionContext) {
    this.id = id;
    this.#stream = stream;
    this.#context = context;
    const { maxInFlight, maxConnections } = context.limits;
    this.#keptShare = KEPT_SHARE * maxInFlight / maxConnections;
    this.#buffered = new Reservation(context.memory.buffers);
    this.#decoder = new FrameDecoder(context.limits.maxMessage, (bytes) => this.#buffered.resize(bytes));
    this.#requestStarted = context.now();
    this.#deadline = this.#requestStarted + context.limits.idleMs;
  }

  /** Serves until the client disconnects, a limit ends the connection, or it is stopped. Never rejects. */
  serve(): Promise<void> {
    return this.#untilLost(async () => {
      while (!this.#stopping) {
        const frame = this.#decoder.next() ?? await this.#receive();
        if (frame === undefined || this.#abandoned.signal.aborted) break;
        await this.#serveFrame(frame);
      }
    });
  }

  /** Answers one request with `busy`, or waits a moment for it, and closes. Never rejects. */
  refuse(): Promise<void> {
    this.#enter("draining", DRAIN_MS);
    return this.#untilLost(async () => {
      while (this.#decoder.framing === undefined && this.#decoder.next() === undefined) {
        if (!await this.#readMore()) return;
      }
      const busy = errorReply("busy", "The service has reached its limit of connections: try again later");
      await this.#send(busy);
      await this.#drain();
    });
  }

  /** Closes at the end, or when the client has disconnected or the sweep closed the stream. */
  async #untilLost(serve: () => Promise<void>): Promise<void> {
    try {
      await serve();
    } catch (thrown) {
      this.#context.log("debug", "connection_lost", { connection: this.id, reason: messageOf(thrown) });
    } finally {
      // Frees the buffer before its reservation: the garbage collector would free it later.
      this.#decoder[Symbol.dispose]();
      this.#buffered[Symbol.dispose]();
      // A handler that honours the signal can end before the sweep's reply is written.
      await this.#timeoutReply;
      this.#encoder.trim(0);
      this.close();
    }
  }

  #enter(phase: Phase, withinMs: number, now = this.#context.now()): void {
    this.#phase = phase;
    this.#deadline = now + withinMs;
  }

  /** Lets a request in progress end, then closes; when idle, closes immediately. */
  stop(): void {
    this.#stopping = true;
    if (this.#phase !== "handling" && this.#phase !== "writing") this.close();
  }

  /** Ends a phase that took too long. Called by the server's sweep. */
  sweep(now: number): void {
    if (now < this.#deadline || this.#closed) return;
    const isHandling = this.#phase === "handling";
    if (isHandling || this.#phase === "receiving") {
      const { limits: { requestMs, idleMs }, metrics } = this.#context;
      const what = isHandling
        ? `The request took longer than ${requestMs} ms`
        : `The rest of the message did not arrive in time (${idleMs} ms without a byte, or ${requestMs} ms in all)`;
      metrics.count(isHandling ? "timed_out" : "incomplete", false, now - this.#requestStarted);
      this.#enter("writing", DRAIN_MS, now);
      this.#stopping = true;
      this.#abandoned.abort();
      this.#decoder.end();
      this.#timeoutReply = this.#send(errorReply("timeout", what)).catch(() => {});
      void this.#timeoutReply.then(() => this.close());
    } else this.close();
  }

  /** Closes the stream, which ends pending reads and writes. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#abandoned.abort();
    try {
      this.#stream.close();
    } catch {
      // It was closed by the other side.
    }
  }

  /** Reads until a document is complete. Undefined when the client has ended its stream. */
  async #receive(): Promise<Frame | undefined> {
    const { limits, now } = this.#context;
    // A part of the next request may have arrived with the last one, or the rest of a refused one may still arrive.
    this.#enter(this.#decoder.pending ? "receiving" : "idle", limits.idleMs, this.#requestStarted);
    while (this.#decoder.ambiguous ? await this.#readAmbiguous() : await this.#readMore()) {
      const time = now();
      if (this.#phase === "idle") this.#requestStarted = time;
      this.#phase = "receiving";
      this.#deadline = Math.min(time + limits.idleMs, this.#requestStarted + limits.requestMs);
      const frame = this.#decoder.next();
      if (frame !== undefined) return frame;
      if (!this.#decoder.pending) this.#phase = "idle";
    }
    this.#decoder.end();
    return this.#decoder.pending ? this.#decoder.next() : undefined;
  }

  async #readMore(): Promise<boolean> {
    const ahead = this.#ahead;
    const length = await (ahead?.read ?? this.#stream.read(this.#decoder.space()));
    if (length === null) return false;
    if (ahead !== undefined) this.#decoder.space().set(ahead.byte);
    this.#ahead = undefined;
    this.#decoder.commit(length);
    return true;
  }

  /**
   * Settles once the client sends more or ends its stream. Reads one byte, since the decoder's memory is freed while a
   * request waits.
   */
  async #more(): Promise<void> {
    const byte = new Uint8Array(1);
    this.#ahead ??= { byte, read: this.#stream.read(byte) };
    await this.#ahead.read;
  }

  /** As {@link #readMore}, but with a short time-out, after which the connection ends, since the read is still pending. */
  #readAmbiguous(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => {
      this.#stopping = true;
      resolve(false);
    }, AMBIGUOUS_MS);
    return Promise.race([this.#readMore(), promise]).finally(() => clearTimeout(timer));
  }

  async #serveFrame(frame: Frame): Promise<void> {
    const { now, limits, memory } = this.#context;
    const started = now();
    this.#enter("handling", limits.requestMs, this.#requestStarted);
    this.#lost = "problem" in frame && !frame.recoverable;
    const charge = new Reservation(memory.requests);
    const answered = "problem" in frame
      ? broken(PROBLEM_CODES[frame.problem], frame.details)
      : this.#answer(frame.body, charge);
    const answer = answered instanceof Promise ? await this.#orAbandoned(answered) : answered;
    if (answer === undefined || this.#abandoned.signal.aborted) {
      // The handler's reservation lasts until the handler ends.
      return void Promise.resolve(answered).then(() => charge[Symbol.dispose]());
    }
    this.#decoder.release();
    this.#decoder.trim(Math.min(KEPT_ARRIVING, this.#keptShare));
    this.#enter("writing", limits.requestMs);
    try {
      await this.#send(answer.reply);
    } finally {
      this.#encoder.trim(Math.min(KEPT_LEAVING, this.#keptShare));
      charge[Symbol.dispose]();
    }
    this.#requestStarted = now();
    this.#note(answer, this.#requestStarted - started);
    if (this.#lost) {
      this.#stopping = true;
      this.#enter("draining", DRAIN_MS);
      await this.#drain();
    }
  }

  #note({ type, reply }: Answer, took: number): void {
    const { log, metrics } = this.#context;
    const failed = !(reply instanceof PreparedReply) && isErrorReply(reply);
    metrics.count(type, !failed, took);
    const ms = Math.round(took * 100) / 100;
    const fields = { connection: this.id, number: ++this.#requests, type, ms };
    if (failed) log("warn", "request_failed", { ...fields, code: reply.msg });
    // It would end the next wait for an event.
    else if (type !== "logs") log("debug", "request", fields);
  }

  /** The answer, or undefined once nobody waits for it: a handler that never ends keeps no connection's place. */
  #orAbandoned(answering: Promise<Answer>): Promise<Answer | undefined> {
    return new Promise((resolve) => {
      this.#abandoned.signal.onabort = () => resolve(undefined);
      void answering.then(resolve);
    });
  }

  /** Not async, so that a waiting caller's frame does not keep the request alive. */
  #answer(body: Uint8Array, charge: Reservation): Answer | Promise<Answer> {
    let request: WireObject;
    try {
      request = parseReserved(body, charge, body.length);
    } catch (thrown) {
      if (!(thrown instanceof WireError)) throw thrown;
      // Brackets that balance do not make a document: what follows may be the text of another protocol.
      this.#lost = this.#decoder.framing === "raw" && thrown.code === "invalid_json";
      return broken(thrown.code, thrown.message);
    } finally {
      this.#decoder.release();
    }
    return this.#context.handler(request, this.#abandoned.signal, () => {
      charge[Symbol.dispose]();
      this.#decoder.trim(0);
    }, () => this.#more());
  }

  #send(reply: Reply | PreparedReply): Promise<void> {
    const json = reply instanceof PreparedReply ? reply.json : [JSON.stringify(reply)];
    const message = this.#encoder.encode(this.#decoder.framing ?? "raw", json);
    for (const piece of json) if (typeof piece !== "string") discard(piece);
    return this.#context.turnEnd().then(() => writeAll(this.#stream, message, this.#context.transport));
  }

  /** Discards further input until the client ends its stream or the sweep closes it: closing immediately could lose the reply. */
  async #drain(): Promise<void> {
    const sink = new Uint8Array(64 * 1024);
    while (!this.#closed && await this.#stream.read(sink) !== null);
  }
}

/** The answer to what is not a request. */
function broken(code: ErrorCode, details: string): Answer {
  return { type: "broken", reply: errorReply(code, details) };
}
