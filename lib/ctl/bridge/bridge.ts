/**
 * A bridge from a local address to the enclave, so that a program in any language reaches it: a Unix socket or a TCP port that carries the bytes
 * as they are, or HTTP, where one POST of JSON is one request.
 *
 * Needs net permission for both addresses, and read and write permission for a Unix socket's path.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { concat } from "../../shared/bytes.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";
import { isObject } from "../../shared/json.ts";
import { type Address, formatAddress, type Stream, writeAll } from "../../shared/wire/address.ts";
import { connect } from "../../shared/wire/connect.ts";
import { listen } from "../../shared/wire/listen.ts";
import { DEFAULT_MAX_LENGTH, FrameDecoder } from "../../shared/wire/framing.ts";

/** Where the bridge listens. */
export type BridgeListen =
  | { readonly kind: "raw"; readonly address: Address }
  | { readonly kind: "http"; readonly hostname: string; readonly port: number };

/** Limits of connections. */
interface BridgeLimits {
  /** At the same time; more are closed at once, or answered 503. */
  readonly maxConnections: number;
  /** To reach the enclave. Milliseconds. */
  readonly connectMs: number;
  /** HTTP: for the enclave's reply. Milliseconds. */
  readonly requestMs: number;
  /** HTTP: for a request's head, and between two requests. Milliseconds. */
  readonly headMs: number;
  /** How long a raw connection may be idle in both directions. Milliseconds. */
  readonly idleMs: number;
  /** HTTP: the largest body, bytes; a reply may have four times as many. */
  readonly maxLength: number;
}

/** The default limits. */
export const BRIDGE_LIMITS: BridgeLimits = {
  maxConnections: 64,
  connectMs: 10_000,
  requestMs: 65_000,
  headMs: 10_000,
  idleMs: 600_000,
  maxLength: DEFAULT_MAX_LENGTH,
};

/** Options of {@link Bridge.start}. */
export interface BridgeOptions {
  readonly listen: BridgeListen;
  /** Where the enclave is. A function is asked for each connection, and may wait up to `connectMs`. */
  readonly target: Address | (() => Promise<Address>);
  readonly limits?: Partial<BridgeLimits>;
  /** HTTP: origins of web pages that may send requests, such as `http://localhost:3000`. None by default. */
  readonly allowOrigins?: readonly string[];
  /** Allows an address that other machines reach. Whoever reaches the bridge reaches the enclave. */
  readonly allowAnyAddress?: boolean;
  /** Called for each connection that failed. */
  readonly onProblem?: (what: string) => void;
}

function invalidAddress(text: string, hint: string): EnclaveError {
  return new EnclaveError(`Cannot use address ${JSON.stringify(text)}`, { code: "invalid_address", hint });
}

/**
 * Reads where a bridge is to listen: `unix:<path>`, `tcp:<host>:<port>` or `http://<host>:<port>`.
 *
 * @throws {EnclaveError} `invalid_address`
 */
export function parseBridgeListen(text: string, parseAddress: (text: string) => Address): BridgeListen {
  if (!/^https?:/.test(text)) {
    const address = parseAddress(text);
    if (address.transport !== "vsock") return { kind: "raw", address };
    throw invalidAddress(text, "Listen on unix:<path>, tcp:127.0.0.1:<port> or http://127.0.0.1:<port>.");
  }
  const [, hostname, port] = /^http:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})\/?$/.exec(text) ??
    [];
  if (hostname === undefined || port === undefined || Number(port) > 0xffff) {
    throw invalidAddress(text, "Write http://127.0.0.1:<port>; the bridge does not support TLS.");
  }
  return { kind: "http", hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port) };
}

/** Whether only this machine reaches it. */
function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || /^127(\.[0-9]{1,3}){3}$/.test(hostname);
}

/** A failure of the bridge itself, as HTTP says it. */
class HttpProblem extends Error {
  override name = "HttpProblem";
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(status: number, code: string, message: string, hint?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

const PIECE = 32 * 1024;
/** Access for the owner only. */
const SOCKET_MASK = 0o177;
/** How long connections may continue after the bridge was told to stop. */
const DRAIN_MS = 2_000;
/** For a request's body to arrive. */
const BODY_MS = 20_000;
const ACCEPT_PAUSE_MS = 100;

function closeQuietly(stream: Pick<Stream, "close">): void {
  try {
    stream.close();
  } catch {
    // It was closed already.
  }
}

/** Ends the writing half, where the stream has one of its own. */
async function endWriting(stream: Stream): Promise<void> {
  const half = stream as Partial<Pick<Deno.Conn, "closeWrite">>;
  await half.closeWrite?.();
}

/** A running bridge. Disposing of it stops listening and closes open connections. */
export class Bridge implements AsyncDisposable {
  /** Where it listens, with the port that was chosen where 0 was asked for. */
  readonly address: string;
  #limits: BridgeLimits;
  #options: BridgeOptions;
  #streams = new Set<Pick<Stream, "close">>();
  #running = new Set<Promise<void>>();
  #open = 0;
  #ended = false;
  #stop: () => Promise<void>;

  private constructor(options: BridgeOptions, address: string, stop: (bridge: Bridge) => Promise<void>) {
    this.#options = options;
    this.#limits = { ...BRIDGE_LIMITS, ...options.limits };
    this.address = address;
    this.#stop = () => stop(this);
  }

  /**
   * Starts to listen. Connects to the enclave once for each incoming connection or request.
   *
   * @throws {EnclaveError} `invalid_address` for one that other machines reach, `listen_failed`.
   */
  static async start(options: BridgeOptions): Promise<Bridge> {
    const where = options.listen;
    const hostname = where.kind === "http"
      ? where.hostname
      : where.address.transport === "tcp"
      ? where.address.hostname
      : "localhost";
    if (!isLoopback(hostname) && options.allowAnyAddress !== true) {
      throw invalidAddress(
        hostname,
        "Other machines could reach the enclave through it: give a loopback address, or set --insecure-listen-any.",
      );
    }
    return where.kind === "http" ? await startHttp(options, where) : startRaw(options, where.address);

    function startRaw(options: BridgeOptions, wanted: Address): Bridge {
      // Only this user may access the socket, from its creation on.
      const before = wanted.transport === "unix" ? Deno.umask(SOCKET_MASK) : undefined;
      let opened: ReturnType<typeof listen>;
      try {
        opened = listen(wanted);
      } finally {
        if (before !== undefined) Deno.umask(before);
      }
      const { listener, address } = opened;
      const bridge = new Bridge(options, formatAddress(address), async () => {
        closeQuietly(listener);
        await accepting;
        if (address.transport === "unix") await Deno.remove(address.path).catch(() => {});
      });
      const accepting = bridge.#accept(listener);
      return bridge;
    }

    async function startHttp(options: BridgeOptions, { hostname, port }: { hostname: string; port: number }) {
      const server = createServer();
      server.maxConnections = 2 * (options.limits?.maxConnections ?? BRIDGE_LIMITS.maxConnections);
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      server.once("error", reject);
      server.listen(port, hostname, () => {
        const bound = server.address();
        resolve(typeof bound === "object" && bound !== null ? bound.port : port);
      });
      let chosen: number;
      try {
        chosen = await promise;
      } catch (thrown) {
        throw new EnclaveError(`Cannot listen on http://${hostname}:${port}: ${messageOf(thrown)}`, {
          code: "listen_failed",
          hint: "Another process may have the address: stop it, or choose another port.",
          cause: thrown,
        });
      }
      const shown = hostname.includes(":") ? `[${hostname}]` : hostname;
      const bridge = new Bridge(options, `http://${shown}:${chosen}`, () => closeServer(server));
      const names = [hostname, "localhost", "127.0.0.1", "[::1]", shown].map((name) => `${name}:${chosen}`);
      const waiting = new WeakMap<Socket, ReturnType<typeof setTimeout>>();
      // Deno's server has no deadline for a request's head.
      const wait = (socket: Socket) => {
        clearTimeout(waiting.get(socket));
        waiting.set(socket, setTimeout(() => socket.destroy(), bridge.#limits.headMs));
      };
      server.on("connection", (socket: Socket) => {
        wait(socket);
        socket.once("close", () => clearTimeout(waiting.get(socket)));
      });
      server.on("request", (request: IncomingMessage, response: ServerResponse) => {
        const { socket } = request;
        clearTimeout(waiting.get(socket));
        response.once("finish", () => wait(socket));
        bridge.#track(bridge.#answer(request, response, names));
      });
      return bridge;
    }
  }

  #problem(what: string): void {
    if (!this.#ended) this.#options.onProblem?.(what);
  }

  #track(promise: Promise<void>): void {
    const settled = promise.catch((thrown) => this.#problem(messageOf(thrown)));
    this.#running.add(settled);
    void settled.then(() => this.#running.delete(settled));
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    while (!this.#ended) {
      let client: Deno.Conn;
      try {
        client = await listener.accept();
      } catch (thrown) {
        if (this.#ended) return;
        this.#problem(`cannot accept a connection: ${messageOf(thrown)}`);
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
        continue;
      }
      if (this.#open >= this.#limits.maxConnections) {
        this.#problem(`${this.#open} connections are open: one more was closed`);
        closeQuietly(client);
      } else this.#track(this.#bridge(client));
    }
  }

  /** Carries bytes both ways until one side ends, or both are silent for too long. */
  async #bridge(client: Deno.Conn): Promise<void> {
    this.#open++;
    this.#streams.add(client);
    let enclave: Stream | undefined;
    try {
      const { stream, transport } = await this.#reach();
      enclave = stream;
      if (this.#ended) return;
      this.#streams.add(enclave);
      await this.#carry(client, stream, transport);
    } catch (thrown) {
      this.#problem(messageOf(thrown));
    } finally {
      for (const stream of [client, enclave]) {
        if (stream === undefined) continue;
        this.#streams.delete(stream);
        closeQuietly(stream);
      }
      this.#open--;
    }
  }

  /** Connects to the enclave. @throws {EnclaveError} `connect_failed` */
  async #reach(): Promise<{ readonly stream: Stream; readonly transport: Address["transport"] }> {
    const { target } = this.#options;
    const { connectMs } = this.#limits;
    const late = () =>
      new EnclaveError(`The enclave was not back within ${connectMs} ms`, { code: "connect_failed" });
    const address = typeof target === "function" ? await within(connectMs, target(), late) : target;
    return { stream: await connect(address, connectMs), transport: address.transport };
  }

  async #carry(client: Stream, enclave: Stream, transport: Address["transport"]): Promise<void> {
    const { promise: idle, resolve: isIdle } = Promise.withResolvers<void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const restart = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(isIdle, ms);
    };
    let waitMs = this.#limits.idleMs;
    const pump = async (from: Stream, to: Stream, transport: Address["transport"]) => {
      const piece = new Uint8Array(PIECE);
      try {
        for (let length; (length = await from.read(piece)) !== null;) {
          restart(waitMs);
          await writeAll(to, piece.subarray(0, length), transport);
        }
      } finally {
        piece.fill(0);
      }
    };
    restart(waitMs);
    try {
      const there = pump(client, enclave, transport).then(async () => {
        // The client sends no more, and may wait for a reply: as long as one takes. vsock may not tell the enclave of this end.
        waitMs = Math.min(waitMs, this.#limits.requestMs);
        restart(waitMs);
        await endWriting(enclave);
      });
      const back = pump(enclave, client, "tcp");
      // A failure of either direction ends both; the end of the enclave's side is the end.
      const failed = new Promise<never>((_, reject) => void there.catch(reject));
      await Promise.race([back, failed, idle]);
    } finally {
      clearTimeout(timer);
      closeQuietly(enclave);
      closeQuietly(client);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse, names: readonly string[]): Promise<void> {
    const origin = request.headers.origin;
    const isAllowed = origin !== undefined && (this.#options.allowOrigins ?? []).includes(origin);
    const headers = isAllowed ? { "access-control-allow-origin": origin, vary: "origin" } : {};
    const counted = this.#open < this.#limits.maxConnections;
    if (counted) this.#open++;
    try {
      if (!counted) throw new HttpProblem(503, "busy", `${this.#open} requests are under way`, "Try again.");
      this.#check(request, names, isAllowed);
      if (request.method === "OPTIONS") {
        response.writeHead(204, {
          ...headers,
          "access-control-allow-methods": "POST",
          "access-control-allow-headers": "content-type",
          "access-control-max-age": "600",
        }).end();
        return;
      }
      const late = () => new HttpProblem(408, "too_slow", `The body did not come within ${BODY_MS} ms`);
      const body = await within(BODY_MS, readBody(request, this.#limits.maxLength), late);
      const reply = await this.#exchange(body);
      response.writeHead(200, { ...headers, "content-type": "application/json", "cache-control": "no-store" })
        .end(reply);
    } catch (thrown) {
      const problem = thrown instanceof HttpProblem
        ? thrown
        : new HttpProblem(500, "internal_error", messageOf(thrown));
      if (problem.status >= 500) this.#problem(problem.message);
      if (response.headersSent || response.destroyed) return;
      const { code, message, hint } = problem;
      response.writeHead(problem.status, {
        ...headers,
        "content-type": "application/json",
        // The unread rest of the body would be parsed as the next request.
        connection: "close",
        ...(problem.status === 405 ? { allow: "POST" } : {}),
      }).end(`${JSON.stringify({ error: { code, message, ...(hint === undefined ? {} : { hint }) } })}\n`);
    } finally {
      if (counted) this.#open--;
    }
  }

  /** Refuses requests that any web page could send: another origin, another host's name (DNS rebinding), a form's body. */
  #check(request: IncomingMessage, names: readonly string[], isAllowed: boolean): void {
    const { origin, host = "" } = request.headers;
    if (this.#options.allowAnyAddress !== true && !names.includes(host.toLowerCase())) {
      throw new HttpProblem(403, "host_refused", `Host ${JSON.stringify(host)} is not this bridge`);
    }
    if (origin !== undefined && !isAllowed) {
      throw new HttpProblem(
        403,
        "origin_refused",
        `Origin ${JSON.stringify(origin)} may not use this bridge`,
        "Start it with --allow-origin for each permitted origin.",
      );
    }
    if (request.method === "OPTIONS" && isAllowed) return;
    if (request.method !== "POST") {
      throw new HttpProblem(
        405,
        "method_refused",
        "One POST of JSON is one request",
        'curl --json \'{"type":"ping"}\'',
      );
    }
    if (!/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")) {
      throw new HttpProblem(
        415,
        "type_refused",
        "The Content-Type must be application/json",
        "curl --json sets it.",
      );
    }
  }

  /** One request on a connection of its own. The bytes are carried as they are. */
  async #exchange(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    let reached: { readonly stream: Stream; readonly transport: Address["transport"] };
    try {
      reached = await this.#reach();
    } catch (thrown) {
      throw new HttpProblem(
        502,
        "connect_failed",
        messageOf(thrown),
        thrown instanceof EnclaveError ? thrown.hint : undefined,
      );
    }
    const { stream, transport } = reached;
    this.#streams.add(stream);
    const { requestMs } = this.#limits;
    const late = () => new HttpProblem(504, "no_reply", `Nothing came within ${requestMs} ms`);
    try {
      return await within(requestMs, this.#roundTrip(stream, body, transport), late);
    } catch (thrown) {
      if (thrown instanceof HttpProblem) throw thrown;
      throw new HttpProblem(502, "no_reply", `No reply from the enclave: ${messageOf(thrown)}`);
    } finally {
      this.#streams.delete(stream);
      closeQuietly(stream);
    }
  }

  async #roundTrip(
    stream: Stream,
    body: Uint8Array<ArrayBuffer>,
    transport: Address["transport"],
  ): Promise<Uint8Array<ArrayBuffer>> {
    const message = new Uint8Array(4 + body.length);
    new DataView(message.buffer).setUint32(0, body.length);
    message.set(body, 4);
    // A request may be refused before it was fully sent, so read while writing.
    writeAll(stream, message, transport).catch(() => {}).finally(() => {
      message.fill(0);
      body.fill(0);
    });
    const decoder = new FrameDecoder(4 * this.#limits.maxLength);
    for (;;) {
      const frame = decoder.next();
      if (frame !== undefined) {
        if ("problem" in frame) throw new Error(frame.details);
        return frame.body.slice();
      }
      const length = await stream.read(decoder.space());
      if (length === null) throw new Error("the enclave closed the connection");
      decoder.commit(length);
    }
  }

  /** Stops listening, gives replies that are under way a moment, and ends the rest. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const stopped = this.#stop();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const drained = new Promise<void>((resolve) => timer = setTimeout(resolve, DRAIN_MS));
    // Raw connections may stay open for hours, so wait only for HTTP requests.
    if (this.#options.listen.kind === "http") await Promise.race([Promise.all(this.#running), drained]);
    clearTimeout(timer);
    for (const stream of this.#streams) closeQuietly(stream);
    await Promise.all(this.#running);
    await stopped;
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** A request's body: a JSON object as it came. @throws {HttpProblem} */
async function readBody(request: IncomingMessage, maxLength: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () => new HttpProblem(413, "too_large", `A request may have ${maxLength} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > maxLength) throw tooLarge();
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of request as AsyncIterable<Uint8Array>) {
    length += piece.length;
    if (length > maxLength) throw tooLarge();
    pieces.push(piece);
  }
  const body = concat(pieces);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (thrown) {
    throw new HttpProblem(400, "not_json", `The body is not JSON: ${messageOf(thrown)}`);
  }
  if (isObject(value)) return body;
  throw new HttpProblem(400, "not_json", "The body must be a JSON object");
}
