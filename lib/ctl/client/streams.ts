/**
 * What a client can be made over: a stream like Deno's, a pair of web streams, or a socket of Node's. Runs in
 * browsers.
 *
 * @module
 */
import type { Stream } from "../../shared/wire/address.ts";

/** A pair of web streams, such as a WebTransport stream's. */
export interface WebStreams {
  /** What the service sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What is sent to the service. */
  readonly writable: WritableStream<Uint8Array>;
}

/** The part of Node's `net.Socket`, or another Duplex, that a client uses. */
export interface NodeSocket {
  /** Yields what arrives. */
  [Symbol.asyncIterator](): AsyncIterator<unknown>;
  /** Sends bytes, and says when they were taken. */
  write(bytes: Uint8Array, done: (problem?: Error | null) => void): unknown;
  /** Ends the connection. */
  destroy(): unknown;
  /** Listens to errors. */
  on(name: "error", listener: (problem: Error) => void): unknown;
}

/** What `Client.over` takes. */
export type StreamSource = Stream | WebStreams | NodeSocket;

/** Reads from pieces of any length: what does not fit is kept for the next read. */
export function readPieces(
  next: () => Promise<{ readonly done?: boolean | undefined; readonly value?: unknown }>,
) {
  let rest: Uint8Array = new Uint8Array(0);
  return async (into: Uint8Array): Promise<number | null> => {
    while (rest.length === 0) {
      const { done, value } = await next();
      if (done) return null;
      if (!(value instanceof Uint8Array)) {
        throw new TypeError("the stream gives no bytes: it has an encoding");
      }
      rest = value;
    }
    const length = Math.min(into.length, rest.length);
    into.set(rest.subarray(0, length));
    rest = rest.subarray(length);
    return length;
  };
}

function overWeb({ readable, writable }: WebStreams): Stream {
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  // A failed write is also told to whoever awaits it.
  writer.closed.catch(() => {});
  return {
    read: readPieces(() => reader.read()),
    // The sink may keep the bytes; the client wipes them.
    write: (bytes) => writer.write(bytes.slice()).then(() => bytes.length),
    close: () => {
      reader.cancel().catch(() => {});
      writer.abort().catch(() => {});
    },
  };
}

function overNode(socket: NodeSocket): Stream {
  const pieces = socket[Symbol.asyncIterator]();
  // An error before the first read would end the process; the read has it too.
  socket.on("error", () => {});
  return {
    read: readPieces(() => pieces.next()),
    write: (bytes) =>
      new Promise((resolve, reject) =>
        socket.write(bytes.slice(), (problem) => problem ? reject(problem) : resolve(bytes.length))
      ),
    close: () => void socket.destroy(),
  };
}

/** The stream of a source. */
export function streamOf(source: StreamSource): Stream {
  if ("destroy" in source) return overNode(source);
  return "close" in source ? source : overWeb(source);
}
