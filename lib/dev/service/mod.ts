/**
 * The service with development backends, for use on a host: a KMS emulator in this process, which needs no AWS account, or KMS's API over HTTP(S).
 * Also the backend that makes a wrapped session key for trying it out.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { LIBC_PATHS } from "../../../ffi/libc.ts";
import { readOneBuild } from "../../ctl/policy/one_build.ts";
import type { CtlIo } from "../../ctl/terminal/printing.ts";
import { giveUpPermissions } from "../../enclave/cli/permissions.ts";
import { type RunIo, runService } from "../../enclave/cli/run.ts";
import { openFeatures } from "../../enclave/features.ts";
import type { Kms } from "../../enclave/kms/kms.ts";
import { NSM_GENERATOR } from "../../enclave/server/entropy.ts";
import { EventLog } from "../../enclave/server/events.ts";
import { parseDevelopmentKey } from "../../shared/aws/development_key.ts";
import { isReadableOnTheWay, parseEndpoint } from "../../shared/aws/endpoint.ts";
import { type KeyArn, parseKeyArn } from "../../shared/aws/key_arn.ts";
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import {
  listenOption,
  readServeConfig,
  SERVE_OPTIONS,
  type ServeConfig,
} from "../../shared/cli/serve_options.ts";
import { NODE_AEAD } from "../../shared/crypto/aead.ts";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import { workflowLimitsFor } from "../../shared/cli/limits.ts";
import { openWorkflows } from "../../enclave/session_key/workflow/open.ts";
import { VERSION } from "../../shared/version.ts";
import { openAwsKms } from "../kms/https_api.ts";
import { LocalKms } from "../kms/local.ts";
import { SimulatedNsm } from "../nsm/simulated.ts";
import { openSimulatedRoot } from "../nsm/simulated_root.ts";

const LOCAL_FILE = {
  name: "kms-local-file",
  env: "KMS_LOCAL_FILE",
  value: "FILE",
  help: "keys of the local KMS, mode 0600, created if missing; without it they are kept in memory",
} as const;
/** Its options. */
export const DEV_OPTIONS = [
  ...SERVE_OPTIONS.map((spec): OptionSpec => {
    if (spec.name !== "port") return spec;
    // Other tools export PORT for programs of their own, which must not move this one.
    const { env: _, ...own } = spec;
    return { ...own, help: "TCP port to listen on at 127.0.0.1; the variable PORT is not read" };
  }),
  {
    name: "kms",
    env: "KMS",
    value: "KIND",
    default: "local",
    help:
      "which KMS: local, an emulator in this process; aws, the KMS API over HTTP(S), with attestation documents only if --simulate-nsm is set",
  },
  LOCAL_FILE,
  {
    name: "kms-endpoint-url",
    env: "KMS_ENDPOINT_URL",
    value: "URL",
    help:
      "with --kms aws: the KMS API's URL, such as http://localhost:4566; the default is AWS's, in the key's region",
  },
  {
    name: "simulate-nsm",
    help:
      "simulate the Nitro Security Module: its attestation documents have a root that clients do not trust by default",
  },
  {
    name: "measurements",
    short: "m",
    value: "FILE",
    help:
      "with --simulate-nsm: the PCRs of this image, JSON from denclavectl eif describe; invented by default",
  },
  {
    name: "nsm-root",
    value: "FILE",
    help:
      "with --simulate-nsm: write the root certificate here, and keep its key in FILE.key for the next start",
  },
  ...COMMON_OPTIONS,
] as const;
const SIMULATED =
  "simulated NSM: its attestation documents prove nothing; only clients given its root accept them";
const DEFAULT_REGION = "us-east-1";

const HELP =
  `denclave-dev ${VERSION}: the session key service on a host, with a development KMS. Not for secrets.

usage: deno task dev [options]                 serve, with the local KMS
       deno task dev --kms aws --kms-key KEY [options]
                                               serve, with KMS's API; KEY is an ARN, an id or an alias
       deno task dev --simulate-nsm [--measurements FILE] [--nsm-root FILE] [options]
                                               attest too, as an enclave does; deno task rehearse sets all of it up
       deno task dev tsk create --kms-local-file FILE --tsk-file FILE
                                               make a session key; prints it wrapped, for configure
options (a flag wins over the environment):
${helpLines(DEV_OPTIONS)}
`;

/** A development KMS, and what goes with it. */
interface Backend {
  readonly kms: Kms;
  /** What requests may select where no key is named. */
  readonly keys: readonly KeyArn[];
  readonly warnings: readonly string[];
}

/** The simulated module, for the life of the process; undefined where none is wanted. @throws {UsageError | EnclaveError} */
async function openSimulatedNsm(options: Options): Promise<SimulatedNsm | undefined> {
  const measurements = options.text("measurements");
  const rootFile = options.text("nsm-root");
  if (!options.on("simulate-nsm")) {
    if (measurements === undefined && rootFile === undefined) return undefined;
    throw new UsageError("--measurements and --nsm-root go with --simulate-nsm");
  }
  return await SimulatedNsm.start({
    pcrs: measurements === undefined ? undefined : await readOneBuild("measurements", measurements),
    root: rootFile === undefined ? undefined : await openSimulatedRoot(rootFile),
  });
}

/** The parts of a simulated module that the service uses. */
async function simulatedIo(
  nsm: SimulatedNsm,
): Promise<Pick<RunIo, "attester" | "clock" | "entropy" | "measurements">> {
  const pcr = async (index: number) => encodeHex(await nsm.pcr(index));
  return {
    attester: nsm,
    clock: {
      nsm,
      now: () => new Date(),
      monotonic: () => performance.now(),
      set: () => "a host's clock is never set",
    },
    // The host's random numbers are the kernel's own: with a simulated module they count as the module's.
    entropy: { kernelGenerator: NSM_GENERATOR, random: HOST_RANDOM },
    measurements: { pcrs: [await pcr(0), await pcr(1), await pcr(2)], debug: false },
  };
}

async function openKms(options: Options, nsm: SimulatedNsm | undefined): Promise<Backend> {
  const kind = options.choice("kms", ["local", "aws"]);
  const unused = kind === "local" ? "kms-endpoint-url" : "kms-local-file";
  if (options.text(unused) !== undefined) {
    throw new UsageError(`Option --${unused} does not go with --kms ${kind}`, "--help shows what it is for.");
  }
  switch (kind) {
    case "local": {
      const kms = await LocalKms.open({
        region: options.text("region") ?? DEFAULT_REGION,
        file: options.text("kms-local-file"),
      });
      return { kms, keys: kms.keyArns.map(parseKeyArn), warnings: [] };
    }
    case "aws": {
      if (options.list("kms-key").length === 0) {
        throw new UsageError(
          "--kms aws needs a key",
          "Name one with --kms-key: its ARN, its id, or an alias such as alias/mine.",
        );
      }
      const endpoint = options.text("kms-endpoint-url");
      if (nsm !== undefined && endpoint === undefined) {
        throw new UsageError(
          "--simulate-nsm with --kms aws needs --kms-endpoint-url",
          "AWS's KMS rejects simulated documents. Start an emulator with denclavectl emulator serve --root <the file of --nsm-root>.",
        );
      }
      const isReadable = endpoint !== undefined && isReadableOnTheWay(parseEndpoint(endpoint));
      return {
        kms: await openAwsKms({ endpoint, nsm }),
        keys: [],
        warnings: isReadable ? ["keys and session tokens cross the network in plain text (http:)"] : [],
      };
    }
    default:
      return kind satisfies never;
  }
}

/** Aliases and ids contain no region: they are in that of --region. */
function readConfig(options: Options): ServeConfig {
  const region = options.text("region") ?? DEFAULT_REGION;
  const config = options.text("kms") === "aws"
    ? readServeConfig(options, (text) => parseDevelopmentKey(text, region))
    : readServeConfig(options);
  if (listenOption(options) !== undefined) return config;
  // A host has no enclave's vsock: --port is a TCP port here.
  const port = options.number("port", { min: 1, max: 0xffff });
  return { ...config, address: { transport: "tcp", hostname: "127.0.0.1", port } };
}

/** The KMS of `deno task dev tsk`: the local one. */
export const LOCAL_TSK = {
  options: [LOCAL_FILE],
  open: async (options: Options) => {
    const file = options.text("kms-local-file");
    if (file === undefined) {
      throw new UsageError("--kms-local-file must be set", "The service and this command share that file.");
    }
    const kms = await LocalKms.open({ region: DEFAULT_REGION, file });
    const [keyArn = ""] = kms.keyArns;
    return {
      keyArn,
      encrypt: (plaintext: Uint8Array, context: Readonly<Record<string, string>>) =>
        kms.encrypt(keyArn, plaintext, context),
      [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
    };
  },
} as const;

/** Serves until it is signalled to stop. Returns the exit code. */
export async function runDevService(
  argv: readonly string[],
  io: Pick<CtlIo, "stdout" | "env" | "untilSignal">,
): Promise<number> {
  const options = parseOptions(DEV_OPTIONS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  if (options.on("version")) return io.stdout(`denclave-dev ${VERSION}\n`), EXIT.ok;
  const config = readConfig(options);
  const nsm = await openSimulatedNsm(options);
  const { kms, keys, warnings } = await openKms(options, nsm);
  const { maxMessage } = config.limits;
  const workflows = openWorkflows({
    ...workflowLimitsFor(config.workflow, { maxMessage, processors: navigator.hardwareConcurrency }),
    maxResult: maxMessage,
    requireWall: false,
    permissions: [`--allow-ffi=${LIBC_PATHS.join(",")}`],
    isDevelopment: true,
  });
  // Without --kms-key, the keys that this KMS has: so the wallet works at once.
  return await runService({ ...config, keys: config.keys.length > 0 ? config.keys : keys }, {
    warnings: nsm === undefined ? warnings : [SIMULATED, ...warnings],
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    events: new EventLog({ write: io.stdout, level: config.logLevel }),
    signalled: io.untilSignal(),
    kms,
    features: (ports) => openFeatures({ ...config, workflows }, ports),
    isDevelopment: true,
    grants: [{ name: "run", command: Deno.execPath() }],
    ...(nsm === undefined ? {} : await simulatedIo(nsm)),
    aead: NODE_AEAD,
    onListening: () =>
      giveUpPermissions([
        "read",
        "write",
        "env",
        "ffi",
        "sys",
        ...(options.text("kms") === "aws" ? [] : ["net"] as const),
      ]),
  });
}
