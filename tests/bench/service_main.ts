/**
 * Our service for the benchmark, as its own process: `<key, hex> [milliseconds that a KMS call takes] [AWS-LC's library]`. The rest is what ships.
 * Prints its port.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { Kernel } from "../../ffi/kernel.ts";
import { NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { Random } from "../../lib/shared/crypto/random.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { DEFAULT_LIMITS } from "../../lib/shared/cli/limits.ts";
import { inProcess } from "../../lib/dev/in_process_workflow.ts";
import { workflow } from "../../lib/workflow.ts";
import { startTestService } from "../helpers/test_service.ts";

const [key = "", kmsMs = "0", library] = Deno.args;
const aead = library === undefined
  ? NODE_AEAD
  : (await import("../../ffi/aead.ts")).openAeadLibrary(library) ?? NODE_AEAD;
const kernel = new Kernel("read random numbers");
const { address } = startTestService({
  kms: {
    attested: false,
    decrypt: async () => {
      await new Promise((resolve) => setTimeout(resolve, Number(kmsMs)));
      return new SecretBytes(decodeHex(key));
    },
    generateDataKey: () => Promise.reject(new TypeError("not here")),
    health: () => ({ backend: "bench" }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  },
  aead,
  entropy: {
    kernelGenerator: undefined,
    random: new Random({ kernel: (bytes) => kernel.fillRandom(bytes), nsm: undefined }),
  },
  limits: { ...DEFAULT_LIMITS, maxConnections: 72 },
  workflows: inProcess(workflow),
});
console.log(address.port);
