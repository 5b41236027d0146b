/**
 * `denclavectl bridge`: forwards a local address to the enclave, for programs in any language.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import { Bridge, BRIDGE_LIMITS, parseBridgeListen } from "../bridge/bridge.ts";
import { formatAddress, parseAddress } from "../../shared/wire/address.ts";
import type { CtlIo } from "../terminal/io.ts";
import { oneLine } from "../terminal/printing.ts";

const MAX_MS = 86_400_000;

const SPECS = [
  {
    name: "listen",
    value: "ADDRESS",
    help: "unix:<path>, tcp:127.0.0.1:<port> or http://127.0.0.1:<port>",
  },
  { name: "connect", value: "ADDRESS", help: "where the enclave is: vsock:<cid>:<port>, tcp:…, unix:…" },
  {
    name: "max-connections",
    value: "N",
    default: String(BRIDGE_LIMITS.maxConnections),
    help: "maximum number of connections; further ones are closed (unix, tcp) or answered with 503 (http)",
  },
  {
    name: "connect-ms",
    value: "MS",
    default: String(BRIDGE_LIMITS.connectMs),
    help: "time limit for connecting to the enclave",
  },
  {
    name: "request-ms",
    value: "MS",
    default: String(BRIDGE_LIMITS.requestMs),
    help: "http: time limit for a reply",
  },
  {
    name: "idle-ms",
    value: "MS",
    default: String(BRIDGE_LIMITS.idleMs),
    help: "unix, tcp: close a connection that sends nothing for this long",
  },
  {
    name: "max-message",
    value: "BYTES",
    default: String(BRIDGE_LIMITS.maxLength),
    help: "http: the largest request",
  },
  {
    name: "allow-origin",
    value: "ORIGIN",
    multiple: true,
    help:
      "http: an origin that web pages may call from (CORS), such as http://localhost:3000; repeat for more",
  },
  {
    name: "insecure-listen-any",
    help: "allow an address that other machines can reach: there is no TLS and no authentication of callers",
  },
  { name: "json", help: "print the listening address as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: denclavectl bridge --listen ADDRESS --connect vsock:<cid>:<port> [options]

Connects a local address to the enclave. unix: and tcp: carry bytes, in any framing. http: takes one POST of a JSON object
as one request, and returns the enclave's reply (status 200, even if the reply is an error):
  curl --json '{"type":"ping"}' http://127.0.0.1:8080
Anyone who reaches the bridge reaches the enclave. It listens on loopback only, by default; a Unix socket has mode 0600.

${helpLines(SPECS)}

exit codes: 0 ended by a signal, 2 usage, 69 it cannot listen
`;

/** Forwards connections until the process is signalled to stop. */
export async function runBridge(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const [listen, connect] = ["listen", "connect"].map((name) => {
    const text = options.text(name);
    if (text !== undefined) return text;
    throw new UsageError(
      `--${name} must be given`,
      "denclavectl bridge --listen http://127.0.0.1:8080 --connect vsock:16:5000",
    );
  });
  const where = parseBridgeListen(listen ?? "", parseAddress);
  const origins = options.list("allow-origin");
  for (const origin of origins) {
    if (!/^https?:\/\/[^/\s]+$/.test(origin)) {
      throw new UsageError(
        `Cannot use ${JSON.stringify(origin)} for --allow-origin`,
        "Write http://localhost:3000.",
      );
    }
  }
  if (origins.length > 0 && where.kind !== "http") throw new UsageError("--allow-origin goes with http://");
  const ms = (name: string) => options.number(name, { min: 1, max: MAX_MS });
  const target = parseAddress(connect ?? "");
  const ended = io.untilSignal();
  await using bridge = await Bridge.start({
    listen: where,
    target,
    limits: {
      maxConnections: options.number("max-connections", { min: 1, max: 1000 }),
      connectMs: ms("connect-ms"),
      requestMs: ms("request-ms"),
      idleMs: ms("idle-ms"),
      maxLength: options.number("max-message", { min: 1024, max: 64 * 1024 * 1024 }),
    },
    allowOrigins: origins,
    allowAnyAddress: options.on("insecure-listen-any"),
    onProblem: (what) => io.stderr(`denclavectl bridge: ${oneLine(what)}\n`),
  });
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ event: "listening", address: bridge.address, connect: formatAddress(target) })}\n`
      : `listening on ${bridge.address}, for ${formatAddress(target)}\n`,
  );
  await ended;
  return EXIT.ok;
}
