/**
 * Our service for the benchmark, as its own process: the key comes as hex on the command line, by way of a KMS that has nothing else to give;
 * the rest is what ships. Prints its port.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { DEFAULT_LIMITS } from "../../lib/service/limits.ts";
import { workflow } from "../../lib/workflow.ts";
import { startTestService } from "../helpers/test_service.ts";

const [key = ""] = Deno.args;
const { address } = startTestService({
  kms: {
    attested: false,
    decrypt: () => Promise.resolve(new SecretBytes(decodeHex(key))),
    generateDataKey: () => Promise.reject(new TypeError("not here")),
    health: () => ({ backend: "bench" }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  },
  limits: { ...DEFAULT_LIMITS, maxConnections: 256 },
  session: { workflow },
});
console.log(address.port);
