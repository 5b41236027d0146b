/**
 * Accepts connections, limits their number, ends requests that take too long, and drains at shutdown.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Stream } from "../../shared/wire/address.ts";
import { Connection, type ConnectionContext } from "./connection.ts";

/** Maximum number of refusals in progress: further connections are closed without a reply. */
const MAX_REFUSALS = 256;
/** Pause before retrying a failed accept (for example without free descriptors). Milliseconds. */
const ACCEPT_RETRY_MS = 100;

/** Accepts connections: a `Deno.Listener`, or a stand-in of the tests. */
export interface Acceptor {
  accept(): Promise<Stream>;
  close(): void;
}

/** Serves connections until it is drained. */
export class Server {
  #acceptor: Acceptor;
  #context: ConnectionContext;
  /** With when each ends. */
  #connections = new Map<Connection, Promise<void>>();
  #refusals = new Map<Connection, Promise<void>>();
  #accepted = 0;
  #refused = 0;
  #stopping = false;
  #sweepTimer: ReturnType<typeof setInterval>;
  #accepting: Promise<void>;

  /** Takes ownership of an open listener and starts to serve. */
  constructor(acceptor: Acceptor, context: ConnectionContext) {
    this.#acceptor = acceptor;
    this.#context = context;
    const { idleMs, requestMs } = context.limits;
    const sweepMs = Math.max(10, Math.min(1_000, Math.min(idleMs, requestMs) / 4));
    this.#sweepTimer = setInterval(() => {
      for (const connection of this.#all) connection.sweep(context.now());
    }, sweepMs);
    this.#accepting = this.#accept();
  }

  get stats(): { readonly connections: number; readonly accepted: number; readonly refused: number } {
    return { connections: this.#connections.size, accepted: this.#accepted, refused: this.#refused };
  }

  get #all(): readonly Connection[] {
    return [...this.#connections.keys(), ...this.#refusals.keys()];
  }

  async #accept(): Promise<void> {
    while (!this.#stopping) {
      try {
        this.#take(await this.#acceptor.accept());
      } catch (thrown) {
        if (this.#stopping) return;
        this.#context.log("error", "accept_failed", { reason: messageOf(thrown) });
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  #take(stream: Stream): void {
    const connection = new Connection(++this.#accepted, stream, this.#context);
    const serve = (among: Map<Connection, Promise<void>>, serving: Promise<void>) =>
      void among.set(connection, serving.finally(() => among.delete(connection)));
    if (this.#connections.size < this.#context.limits.maxConnections) {
      return serve(this.#connections, connection.serve());
    }
    this.#refused++;
    this.#context.log("warn", "connection_refused", { connections: this.#connections.size });
    if (this.#refusals.size >= MAX_REFUSALS) return connection.close();
    serve(this.#refusals, connection.refuse());
  }

  /**
   * Stops accepting, lets requests in progress end, closes the rest.
   *
   * @param withinMs milliseconds after which the remaining connections are closed
   */
  async drain(withinMs: number): Promise<void> {
    this.#stopping = true;
    try {
      this.#acceptor.close();
    } catch {
      // It was closed already.
    }
    for (const connection of this.#all) connection.stop();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, withinMs);
    await Promise.race([
      Promise.all([...this.#connections.values(), ...this.#refusals.values()]),
      late.promise,
    ]);
    clearTimeout(timer);
    for (const connection of this.#all) connection.close();
    clearInterval(this.#sweepTimer);
    // Does not wait for a handler that never ends: its connection is closed, so it cannot reply.
    await this.#accepting;
  }
}
