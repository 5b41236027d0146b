/**
 * `denclavectl bridge`: forwards a local address to the enclave, for programs in any language.
 *
 * @module
 */
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { formatAddress, parseAddress } from "../../shared/wire/address.ts";
import { Bridge, BRIDGE_LIMITS, parseBridgeListen } from "../bridge/bridge.ts";
import { type Command, required } from "../terminal/command.ts";
import { enclaveAddress } from "../terminal/io.ts";
import { ADDRESS_OPTIONS, JSON_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";

const MAX_MS = 86_400_000;

/** An option with a number, whose default is one of the bridge's limits. */
function limit(name: string, value: string, limit: keyof typeof BRIDGE_LIMITS, help: string) {
  return { name, value, default: String(BRIDGE_LIMITS[limit]), help };
}

/** `bridge` */
export const BRIDGE: Command = {
  path: "bridge",
  summary: "connect a Unix socket, a TCP port or HTTP to the enclave",
  usage: "--listen ADDRESS [options]",
  about:
    `Connects a local address to the enclave. unix: and tcp: carry bytes, in any framing. http: takes one POST of a JSON object
as one request, and returns the enclave's reply (status 200, even if the reply is an error):
  curl --json '{"type":"ping"}' http://127.0.0.1:8080
Anyone who reaches the bridge reaches the enclave. It listens on loopback only, by default; a Unix socket has mode 0600.`,
  options: [
    {
      name: "listen",
      value: "ADDRESS",
      help: "unix:<path>, tcp:127.0.0.1:<port> or http://127.0.0.1:<port>",
    },
    ...ADDRESS_OPTIONS,
    limit(
      "max-connections",
      "N",
      "maxConnections",
      "maximum number of connections; further ones are closed (unix, tcp) or answered with 503 (http)",
    ),
    limit("connect-ms", "MS", "connectMs", "time limit for connecting to the enclave"),
    limit("request-ms", "MS", "requestMs", "http: time limit for a reply"),
    limit("idle-ms", "MS", "idleMs", "unix, tcp: close a connection that sends nothing for this long"),
    limit("max-message", "BYTES", "maxLength", "http: the largest request"),
    {
      name: "allow-origin",
      value: "ORIGIN",
      multiple: true,
      help:
        "http: an origin that web pages may call from (CORS), such as http://localhost:3000; repeat for more",
    },
    {
      name: "insecure-listen-any",
      help:
        "allow an address that other machines can reach: there is no TLS and no authentication of callers",
    },
    JSON_OPTION,
  ],
  run: serve,
};

function originsOf(options: Options): readonly string[] {
  const origins = options.list("allow-origin");
  const bad = origins.find((origin) => !/^https?:\/\/[^/\s]+$/.test(origin));
  if (bad === undefined) return origins;
  throw new UsageError(
    `Cannot use ${JSON.stringify(bad)} for --allow-origin`,
    "Write http://localhost:3000.",
  );
}

/** Forwards connections until the process is signalled to stop. */
async function serve(options: Options, io: CtlIo): Promise<number> {
  const text = required(options, "listen", "denclavectl bridge --listen http://127.0.0.1:8080");
  const listen = parseBridgeListen(text, parseAddress);
  const target = enclaveAddress(options);
  const origins = originsOf(options);
  if (origins.length > 0 && listen.kind !== "http") throw new UsageError("--allow-origin goes with http://");
  const ms = (name: string) => options.number(name, { min: 1, max: MAX_MS });
  const ended = io.untilSignal();
  await using bridge = await Bridge.start({
    listen,
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
  const connect = formatAddress(target);
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ event: "listening", address: bridge.address, connect })}\n`
      : `listening on ${bridge.address}, for ${connect}\n`,
  );
  await ended;
  return EXIT.ok;
}
