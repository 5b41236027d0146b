/**
 * Our service for the benchmark, as its own process: `<key, hex> [milliseconds that a KMS call takes] [AWS-LC's library] [workflow processes]
 * [milliseconds of the workflow]`. The rest is what ships. Prints its port.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { Kernel } from "../../ffi/kernel.ts";
import { NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { Random } from "../../lib/shared/crypto/random.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { DEFAULT_LIMITS } from "../../lib/dev/defaults.ts";
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { workflowProcess } from "../../lib/enclave/cli/workflow_process.ts";
import { openWorkflows } from "../../lib/enclave/session_key/workflow/open.ts";
import { startTestService } from "../helpers/test_service.ts";

if (Deno.args[0] === "workflow-process") {
  await workflowProcess(Number(Deno.args[1]), { load: () => import("./workflows.ts"), exit: Deno.exit });
  Deno.exit(0);
}
const [key = "", kmsMs = "0", library = "", processes = "1", workflowMs = "5000"] = Deno.args;
const aead = library === ""
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
  workflows: openWorkflows({
    processes: Number(processes),
    deadlineMs: Number(workflowMs),
    memory: 256 * 1024 * 1024,
    maxResult: DEFAULT_LIMITS.maxMessage,
    requireWall: false,
    permissions: ["--no-lock", `--allow-ffi=${LIBC_PATHS.join(",")}`],
    isDevelopment: false,
  }),
});
console.log(address.port);
