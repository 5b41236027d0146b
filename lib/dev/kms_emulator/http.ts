/**
 * The subset of HTTP/1.1 that KMS's JSON API needs, with limits that Deno's own server does not have: on connections, idle time, slow requests and lengths.
 * Bodies have a Content-Length; RFC 9112.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { sleep } from "../kms/aws/deadline.ts";
import { concat } from "../../shared/bytes.ts";
import { KmsRefusal } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A complete request. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** By lower-case name; repeated ones are joined by commas. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Bytes;
}

/** An answer. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Limits of connections. */
export interface HttpLimits {
  /** Bytes of a request's head. */
  readonly maxHead: number;
  /** Bytes of a request's body. */
  readonly maxBody: number;
  readonly maxConnections: number;
  /** Longest time that a connection may be idle, including the TLS handshake. Milliseconds. */
  readonly idleMs: number;
  /** Time limit, each, for receiving the rest of a request, answering it, and sending the response. Milliseconds. */
  readonly requestMs: number;
}

/** KMS's own request limit is not published; valid requests are far below this one. */
export const HTTP_LIMITS: HttpLimits = {
  maxHead: 32 * 1024,
  maxBody: 64 * 1024,
  maxConnections: 64,
  idleMs: 30_000,
  requestMs: 10_000,
};

/** Options of {@link HttpServer}. */
export interface HttpServerOptions {
  /** The listener; the server takes ownership of it. */
  readonly listener: Deno.Listener<Deno.Conn>;
  readonly answer: (request: HttpRequest) => Promise<HttpResponse>;
  readonly limits: HttpLimits;
  /** Called for connections that ended with an error. */
  readonly onProblem: (what: string) => void;
}

const SINGLE_HEADERS: readonly string[] = [
  ...["authorization", "content-length", "content-type", "host", "x-amz-date", "x-amz-security-token"],
  "x-amz-target",
];
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;
const REQUEST_LINE = /^([A-Z]{1,16}) (\/[\x21-\x7e]{0,2000}) HTTP\/1\.([01])$/;
const REASONS: Readonly<Record<number, string>> = { 200: "OK", 400: "Bad Request", 404: "Not Found" };
const READ_LENGTH = 16 * 1024;
/** Pause after a failed accept. Milliseconds. */
const ACCEPT_PAUSE_MS = 100;
const CRLF_CRLF = [13, 10, 13, 10] as const;

/** Serves until it is disposed. */
export class HttpServer implements AsyncDisposable {
  #options: HttpServerOptions;
  #connections = new Set<Deno.Conn>();
  #serving = new Set<Promise<void>>();
  #accepting: Promise<void>;
  #closed = new AbortController();

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#accepting = this.#accept();
  }

  get #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  async #accept(): Promise<void> {
    const { listener, limits, onProblem } = this.#options;
    while (!this.#isClosed) {
      let connection: Deno.Conn;
      try {
        connection = await listener.accept();
      } catch (thrown) {
        if (this.#isClosed) return;
        // The client disconnected before it was accepted, or no descriptors are left: pause before the next attempt.
        onProblem(`a connection was not accepted: ${messageOf(thrown)}`);
        await sleep(ACCEPT_PAUSE_MS, this.#closed.signal);
        continue;
      }
      if (this.#connections.size >= limits.maxConnections) {
        onProblem(`a connection was refused: there are ${limits.maxConnections} already`);
        close(connection);
        continue;
      }
      this.#connections.add(connection);
      const serving = this.#serve(connection).finally(() => {
        this.#connections.delete(connection);
        this.#serving.delete(serving);
        close(connection);
      });
      this.#serving.add(serving);
    }
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    const { limits, onProblem } = this.#options;
    const reader = new RequestReader(connection, limits);
    try {
      for (let isLast = false; !isLast && !this.#isClosed;) {
        const request = await reader.next();
        if (request === undefined) return;
        isLast = request.isLast;
        using _late = closeLater(connection, limits.requestMs);
        const answer = await this.#options.answer(request);
        // It may have held a plaintext.
        request.body.fill(0);
        await send(connection, answer, isLast);
      }
    } catch (thrown) {
      if (this.#isClosed) return;
      onProblem(`a connection ended: ${messageOf(thrown)}`);
      if (!(thrown instanceof KmsRefusal)) return;
      using _late = closeLater(connection, limits.requestMs);
      const { name, message } = thrown.kms;
      const body = JSON.stringify({ __type: name, message });
      await send(connection, {
        status: thrown.status,
        headers: { "content-type": "application/x-amz-json-1.1" },
        body,
      }, true)
        .catch(() => {});
    }
  }

  /** Ends connections, and waits for them. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#closed.abort();
    this.#options.listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#accepting;
    await Promise.all(this.#serving);
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}

/** Closes a connection after a time, unless it is disposed before: pending reads and writes then fail. */
function closeLater(connection: Deno.Conn, ms: number): Disposable & { readonly isOver: boolean } {
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    close(connection);
  }, ms);
  return {
    get isOver() {
      return isOver;
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}

async function send(
  connection: Deno.Conn,
  { status, headers, body }: HttpResponse,
  isLast: boolean,
): Promise<void> {
  const bytes = new TextEncoder().encode(body);
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `date: ${new Date().toUTCString()}`,
    `content-length: ${bytes.length}`,
    ...(isLast ? ["connection: close"] : []),
  ];
  const message = concat([new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n`), bytes]);
  for (let written = 0; written < message.length;) {
    written += await connection.write(message.subarray(written));
  }
  // The answer may hold a key.
  message.fill(0);
  bytes.fill(0);
}

/** A parsed request, and whether another may follow on the connection. */
interface ReadRequest extends HttpRequest {
  readonly isLast: boolean;
}

function malformed(what: string): KmsRefusal {
  return new KmsRefusal("MalformedHttpRequestException", `The request is not as HTTP has it: ${what}`);
}

class RequestReader {
  #connection: Deno.Conn;
  #limits: HttpLimits;
  #rest: Bytes = new Uint8Array(0);

  constructor(connection: Deno.Conn, limits: HttpLimits) {
    this.#connection = connection;
    this.#limits = limits;
  }

  /** The next request; undefined when the client sends no more. @throws {KmsRefusal} */
  async next(): Promise<ReadRequest | undefined> {
    if (this.#rest.length === 0) {
      using silence = closeLater(this.#connection, this.#limits.idleMs);
      try {
        if (!await this.#more()) return undefined;
      } catch (thrown) {
        if (silence.isOver) return undefined;
        throw thrown;
      }
    }
    using _late = closeLater(this.#connection, this.#limits.requestMs);
    const head = parseHead(await this.#readHead());
    const body = await this.#take(head.length);
    return { ...head, body };
  }

  /** Reads the head up to and including the empty line. */
  async #readHead(): Promise<string> {
    const { maxHead } = this.#limits;
    for (let from = 0;;) {
      const end = endOfHead(this.#rest, from);
      if (end > maxHead || (end === -1 && this.#rest.length > maxHead)) {
        throw malformed(`its head has more than ${maxHead} bytes`);
      }
      if (end !== -1) {
        const text = new TextDecoder("latin1").decode(this.#rest.subarray(0, end));
        this.#rest = this.#rest.slice(end + CRLF_CRLF.length);
        return text;
      }
      from = Math.max(0, this.#rest.length - CRLF_CRLF.length + 1);
      if (!await this.#more()) throw malformed("it ends in its head");
    }
  }

  async #take(length: number): Promise<Bytes> {
    if (length > this.#limits.maxBody) {
      throw new KmsRefusal(
        "RequestEntityTooLargeException",
        `A request has at most ${this.#limits.maxBody} bytes`,
      );
    }
    while (this.#rest.length < length) {
      if (!await this.#more()) throw malformed("it ends in its body");
    }
    const body = this.#rest.slice(0, length);
    const rest = this.#rest.slice(length);
    this.#rest.fill(0);
    this.#rest = rest;
    return body;
  }

  async #more(): Promise<boolean> {
    const buffer = new Uint8Array(READ_LENGTH);
    const count = await this.#connection.read(buffer);
    if (count === null) return false;
    this.#rest = concat([this.#rest, buffer.subarray(0, count)]);
    return true;
  }
}

function endOfHead(bytes: Bytes, from: number): number {
  for (let at = from; at + CRLF_CRLF.length <= bytes.length; at++) {
    if (CRLF_CRLF.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}

function parseHead(text: string): Omit<ReadRequest, "body"> & { readonly length: number } {
  const [first = "", ...lines] = text.split("\r\n");
  const [, method, target, minor] = REQUEST_LINE.exec(first) ?? [];
  if (method === undefined || target === undefined) throw malformed("its first line is not a request line");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value = ""] = HEADER.exec(line) ?? [];
    if (name === undefined) throw malformed("a line is not a header");
    const lower = name.toLowerCase();
    const earlier = headers.get(lower);
    if (earlier !== undefined && SINGLE_HEADERS.includes(lower)) throw malformed(`${lower} came twice`);
    headers.set(lower, earlier === undefined ? value.trimEnd() : `${earlier},${value.trimEnd()}`);
  }
  if (headers.has("transfer-encoding")) throw malformed("only Content-Length is supported");
  const length = headers.get("content-length") ?? "0";
  if (!/^[0-9]{1,9}$/.test(length)) throw malformed("its Content-Length is not a number");
  const connection = headers.get("connection")?.toLowerCase() ?? "";
  return {
    method,
    target,
    headers,
    length: Number(length),
    isLast: connection.includes("close") || (minor === "0" && !connection.includes("keep-alive")),
  };
}
