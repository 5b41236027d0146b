/**
 * The same service with development backends, for use on a host: the embedded KMS, which needs no AWS account, or a KMS over plain HTTPS. Also makes
 * a wrapped session key for trying it out.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { SimulatedNsm } from "../lib/dev/nsm/simulated.ts";
import { openSimulatedRoot } from "../lib/dev/nsm/simulated_root.ts";
import { SimulatedAttestedKms } from "../lib/dev/kms/attested_kms.ts";
import { readOneBuild } from "../lib/ctl/policy/one_build.ts";
import { NSM_GENERATOR } from "../lib/enclave/server/entropy.ts";
import {
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { runEntry, untilSignal } from "../lib/shared/cli/entry.ts";
import { giveUpPermissions } from "../lib/enclave/cli/permissions.ts";
import { type RunIo, runService } from "../lib/enclave/cli/run.ts";
import { LIBC_PATHS } from "../ffi/libc.ts";
import { COMMON_OPTIONS, takeCommand } from "../lib/shared/cli/options.ts";
import {
  listenOption,
  readServeConfig,
  SERVE_OPTIONS,
  type ServeConfig,
} from "../lib/shared/cli/serve_options.ts";
import { openFeatures } from "../lib/enclave/features.ts";
import { NODE_AEAD } from "../lib/shared/crypto/aead.ts";
import { HOST_RANDOM } from "../lib/shared/crypto/host_random.ts";
import { AwsKms } from "../lib/dev/kms/aws.ts";
import { isReadableOnTheWay, parseEndpoint } from "../lib/shared/aws/endpoint.ts";
import { parseDevelopmentKey } from "../lib/shared/aws/development_key.ts";
import { type KeyArn, parseKeyArn } from "../lib/shared/aws/key_arn.ts";
import type { Kms } from "../lib/enclave/kms/kms.ts";
import { LocalKms } from "../lib/dev/kms/local.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { runTsk, TSK_COMMANDS, type TskBackend } from "../lib/ctl/commands/tsk.ts";
import { EventLog } from "../lib/enclave/server/events.ts";
import { workflowLimitsFor } from "../lib/shared/cli/limits.ts";
import { openWorkflows } from "../lib/enclave/session_key/workflow/open.ts";
import type { WorkflowProcessPorts } from "../lib/enclave/session_key/workflow/process.ts";
import { workflowProcess } from "../lib/enclave/cli/workflow_process.ts";
import { VERSION } from "../lib/shared/version.ts";
import { writeAll } from "../lib/shared/write_all.ts";

const LOCAL_FILE = {
  name: "kms-local-file",
  env: "KMS_LOCAL_FILE",
  value: "FILE",
  help: "keys of the local KMS, mode 0600, created if missing; without it they are kept in memory",
} as const;
const SPECS = [
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
      "which KMS: local, in this process; aws, the KMS API over HTTP(S), with attestation documents only if --simulate-nsm is set",
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
${helpLines(SPECS)}
`;

const encoder = new TextEncoder();

/** For the commands that it shares with `denclavectl`. */
const io = openIo({
  write: (to, text) => writeAll((bytes) => Deno[to].writeSync(bytes), encoder.encode(text)),
  isTerminal: () => false,
  env: (name) => Deno.env.get(name),
  untilSignal,
});

/** A development KMS, and what goes with it. */
interface Backend {
  readonly kms: Kms;
  /** What requests may select where no key is named. */
  readonly keys: readonly KeyArn[];
  readonly warnings: readonly string[];
  /** The parts of a simulated module that the service uses. */
  readonly simulated: Pick<RunIo, "attester" | "entropy" | "measurements"> | undefined;
}

function refuseOption(options: Options, name: string, kind: string): void {
  if (options.text(name) === undefined) return;
  throw new UsageError(`Option --${name} does not go with --kms ${kind}`, "--help shows what it is for.");
}

/** The simulated module; undefined where none is wanted. @throws {UsageError | EnclaveError} */
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

/** The module exists as long as the process. */
async function openBackend(options: Options): Promise<Backend> {
  const nsm = await openSimulatedNsm(options);
  const backend = await openKms(options, nsm);
  if (nsm === undefined) return { ...backend, simulated: undefined };
  const pcr = async (index: number) => encodeHex((await nsm.describePcr(index)).value);
  return {
    ...backend,
    warnings: [SIMULATED, ...backend.warnings],
    simulated: {
      attester: nsm,
      // The host's random numbers are the kernel's own: with a simulated module they count as the module's.
      entropy: { kernelGenerator: NSM_GENERATOR, random: HOST_RANDOM },
      measurements: { pcrs: [await pcr(0), await pcr(1), await pcr(2)], debug: false },
    },
  };
}

async function openKms(options: Options, nsm: SimulatedNsm | undefined): Promise<Omit<Backend, "simulated">> {
  const kind = options.choice("kms", ["local", "aws"]);
  switch (kind) {
    case "local": {
      refuseOption(options, "kms-endpoint-url", kind);
      const kms = await LocalKms.open({
        region: options.text("region") ?? DEFAULT_REGION,
        file: options.text("kms-local-file"),
      });
      return { kms, keys: kms.keyArns.map(parseKeyArn), warnings: [] };
    }
    case "aws": {
      refuseOption(options, "kms-local-file", kind);
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
        kms: nsm === undefined
          ? AwsKms.open({ endpoint })
          : await SimulatedAttestedKms.open({ endpoint, nsm }),
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

/** `denclavectl tsk` with the local KMS. */
const LOCAL_TSK: TskBackend = {
  command: "deno task dev tsk",
  options: [LOCAL_FILE],
  open: async (options) => {
    const file = options.text("kms-local-file");
    if (file === undefined) {
      throw new UsageError("--kms-local-file must be set", "The service and this command share that file.");
    }
    const kms = await LocalKms.open({ region: DEFAULT_REGION, file });
    const [keyArn] = kms.keyArns;
    if (keyArn === undefined) throw new UsageError(`There is no key in ${file}`);
    return {
      keyArn,
      encrypt: (plaintext, context) => kms.encrypt(keyArn, plaintext, context),
      [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
    };
  },
};

/** Runs a command line; with another workflow where a test or an example brings one. Returns the exit code. */
export async function main(
  argv: readonly string[],
  load: WorkflowProcessPorts["load"] = () => import("../lib/workflow.ts"),
): Promise<number> {
  const { command, rest } = takeCommand(argv, ["serve", "tsk", "workflow-process"]);
  if (command === "workflow-process") {
    await workflowProcess(Number(rest[0]), { load, exit: Deno.exit });
    return EXIT.ok;
  }
  if (command === "tsk") {
    const { command: of, rest: given } = takeCommand(rest, TSK_COMMANDS);
    return await runTsk(of ?? "show", of === undefined ? ["--help"] : given, io, LOCAL_TSK);
  }
  const options = parseOptions(SPECS, rest, (name) => Deno.env.get(name));
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  if (options.on("version")) return io.stdout(`denclave-dev ${VERSION}\n`), EXIT.ok;
  const config = readConfig(options);
  const backend = await openBackend(options);
  const { kms } = backend;
  // Without --kms-key, the keys that this KMS has: so the wallet works at once.
  const keys = config.keys.length > 0 ? config.keys : backend.keys;
  const processors = navigator.hardwareConcurrency;
  const workflow = workflowLimitsFor(config.workflow, { maxMessage: config.limits.maxMessage, processors });
  const workflows = openWorkflows({
    ...workflow,
    maxResult: config.limits.maxMessage,
    requireWall: false,
    permissions: [`--allow-ffi=${LIBC_PATHS.join(",")}`],
    isDevelopment: true,
  });
  return await runService({ ...config, keys }, {
    warnings: backend.warnings,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    events: new EventLog({ write: io.stdout, level: config.logLevel }),
    signalled: untilSignal(),
    kms,
    features: (ports) => openFeatures({ ...config, workflows }, ports),
    isDevelopment: true,
    ...backend.simulated,
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

if (import.meta.main) await runEntry((argv) => main(argv));
