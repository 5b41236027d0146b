/**
 * Our service for the benchmark, as its own process: the key comes as hex on the command line, by way of a KMS that has nothing else to give;
 * the rest is what ships. Prints its port.
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
import { TEST_SERVICE } from "../helpers/test_service.ts";

const [key = ""] = Deno.args;
const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
startService({
  ...TEST_SERVICE,
  kms: {
    attested: false,
    decrypt: () => Promise.resolve(new SecretBytes(decodeHex(key))),
    generateDataKey: () => Promise.reject(new TypeError("not here")),
    health: () => ({ backend: "bench" }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  },
  acceptor: listener,
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
});
if (address.transport === "tcp") console.log(address.port);
