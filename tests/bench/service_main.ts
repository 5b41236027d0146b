/**
 * Our service for the benchmark, as its own process: `<key, hex> [milliseconds that a KMS call takes] [AWS-LC's library]`. The rest is what ships.
 * Prints its port.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { EventLog } from "../../lib/service/events.ts";
import { DEFAULT_LIMITS } from "../../lib/service/limits.ts";
import { startService } from "../../lib/service/start.ts";
import { listen } from "../../lib/wire/address.ts";
import { workflow } from "../../lib/workflow.ts";

const [key = "", kmsMs = "0", library] = Deno.args;
const aead = library === undefined ? undefined : (await import("../../ffi/mod.ts")).openAeadLibrary(library);
const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
startService({
  kms: {
    attested: false,
    decrypt: async () => {
      await new Promise((resolve) => setTimeout(resolve, Number(kmsMs)));
      return new SecretBytes(decodeHex(key));
    },
    generateDataKey: () => Promise.reject(new TypeError("not here")),
    generateRandom: () => Promise.reject(new TypeError("not here")),
    health: () => ({ backend: "bench" }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  },
  aead,
  acceptor: listener,
  transport: "tcp",
  limits: { ...DEFAULT_LIMITS, maxConnections: 256 },
  session: {
    keys: [],
    region: undefined,
    context: undefined,
    configureOnce: false,
    requireEpoch: false,
    workflow,
  },
  events: new EventLog({ write: () => {}, level: "info" }),
  version: "bench",
});
if (address.transport === "tcp") console.log(address.port);
