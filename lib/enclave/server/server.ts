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
  #connections = new Set<Connection>();
  #refusals = new Set<Connection>();
  #served = new Set<Promise<void>>();
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
    this.#sweepTimer = setInterval(() => this.#sweep(), sweepMs);
    this.#accepting = this.#accept();
  }

  get stats(): { readonly connections: number; readonly accepted: number; readonly refused: number } {
    return { connections: this.#connections.size, accepted: this.#accepted, refused: this.#refused };
  }

  async #accept(): Promise<void> {
    while (!this.#stopping) {
      let stream: Stream;
      try {
        stream = await this.#acceptor.accept();
      } catch (thrown) {
        if (this.#stopping) return;
        this.#context.log("error", "accept_failed", { reason: messageOf(thrown) });
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
        continue;
      }
      this.#take(stream);
    }
  }

  #take(stream: Stream): void {
    const connection = new Connection(++this.#accepted, stream, this.#context);
    if (this.#connections.size < this.#context.limits.maxConnections) {
      this.#run(this.#connections, connection, connection.serve());
      return;
    }
    this.#refused++;
    this.#context.log("warn", "connection_refused", { connections: this.#connections.size });
    if (this.#refusals.size >= MAX_REFUSALS) return connection.close();
    this.#run(this.#refusals, connection, connection.refuse());
  }

  #run(set: Set<Connection>, connection: Connection, serving: Promise<void>): void {
    set.add(connection);
    const served = serving.finally(() => {
      set.delete(connection);
      this.#served.delete(served);
    });
    this.#served.add(served);
  }

  #sweep(): void {
    const now = this.#context.now();
    for (const connection of this.#connections) connection.sweep(now);
    for (const connection of this.#refusals) connection.sweep(now);
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
    for (const connection of [...this.#connections, ...this.#refusals]) connection.stop();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, withinMs);
    await Promise.race([Promise.all(this.#served), late.promise]);
    clearTimeout(timer);
    for (const connection of [...this.#connections, ...this.#refusals]) connection.close();
    clearInterval(this.#sweepTimer);
    // Does not wait for a handler that never ends: its connection is closed, so it cannot reply.
    await this.#accepting;
  }
}
