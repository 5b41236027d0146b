/**
 * What `up` shows over HTTP: `/metrics`, `/healthz`, `/livez` and `/status`. Nothing of it is secret, and
 * nothing can be changed by it.
 *
 * Permission: to listen on the address.
 *
 * @module
 */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { type Address, formatAddress } from "../../shared/wire/address.ts";
import type { UpState } from "./state.ts";

/** A running server. */
export interface StatusServer extends AsyncDisposable {
  /** With the port that was chosen where 0 was asked for. */
  readonly address: string;
}

/** Where it takes what it shows. */
export interface StatusPorts {
  readonly state: () => UpState;
  readonly prometheusText: (state: UpState) => Promise<string>;
}

type Answer = readonly [status: number, type: string, body: string];

const MAX_CONNECTIONS = 32;
/** For one request with its answer. */
const CONNECTION_MS = 10_000;
const JSON_TYPE = "application/json";
const TEXT_TYPE = "text/plain; charset=utf-8";
const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Whether every enclave serves. */
export function isServing({ enclaves }: UpState): boolean {
  return enclaves.every(({ phase }) => phase === "serving");
}

async function answer(path: string, { state, prometheusText }: StatusPorts): Promise<Answer> {
  switch (path) {
    case "/metrics":
      return [200, PROMETHEUS_TYPE, await prometheusText(state())];
    case "/status":
      return [200, JSON_TYPE, `${JSON.stringify(state(), null, 2)}\n`];
    case "/healthz": {
      const lines = state().enclaves.map(({ name, phase, reason }) => `${name}: ${phase}: ${reason}\n`);
      return [isServing(state()) ? 200 : 503, TEXT_TYPE, lines.join("")];
    }
    case "/livez":
      return [200, TEXT_TYPE, "up runs\n"];
    default:
      return [404, TEXT_TYPE, "There are /metrics, /healthz, /livez and /status.\n"];
  }
}

function send(response: ServerResponse, [status, type, body]: Answer): void {
  response.writeHead(status, {
    "content-type": type,
    "cache-control": "no-store",
    connection: "close",
    "x-content-type-options": "nosniff",
  });
  response.end(body);
}

function listening(
  server: Server,
  { hostname, port }: Extract<Address, { transport: "tcp" }>,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen(port, hostname, () => {
    const bound = server.address();
    resolve(typeof bound === "object" && bound !== null ? bound.port : port);
  });
  return promise;
}

/** Starts it. @throws {EnclaveError} `listen_failed` */
export async function serveStatus(
  address: Extract<Address, { transport: "tcp" }>,
  ports: StatusPorts,
): Promise<StatusServer> {
  const server = createServer((request, response) => {
    request.resume();
    if (request.method !== "GET" && request.method !== "HEAD") {
      return send(response, [405, TEXT_TYPE, "Only GET and HEAD are answered.\n"]);
    }
    answer(request.url?.split("?")[0] ?? "", ports).then(
      (given) => send(response, given),
      (thrown) => send(response, [500, TEXT_TYPE, `${messageOf(thrown)}\n`]),
    );
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket: Socket) => {
    const timer = setTimeout(() => socket.destroy(), CONNECTION_MS);
    socket.once("close", () => clearTimeout(timer));
  });
  let port: number;
  try {
    port = await listening(server, address);
  } catch (thrown) {
    throw new EnclaveError(`Cannot listen on ${formatAddress(address)} for metrics: ${messageOf(thrown)}`, {
      code: "listen_failed",
      hint: "Another program, or another up, may have the address: stop it, or choose another one (metrics).",
      cause: thrown,
    });
  }
  return {
    address: `${address.hostname}:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
