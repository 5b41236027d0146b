/**
 * The same service with development backends, for a host: the embedded KMS, which needs no AWS account, or a KMS over plain HTTPS. Also makes what
 * a first try needs: a session key, wrapped.
 *
 * @module
 */
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../lib/cli/options.ts";
import { runEntry } from "../lib/cli/entry.ts";
import { giveUpPermissions } from "../lib/cli/process_guard.ts";
import { runService } from "../lib/cli/run.ts";
import { startWatchdog } from "../ffi/watchdog.ts";
import { COMMON_OPTIONS, takeCommand } from "../lib/cli/options.ts";
import { readServeConfig, SERVE_OPTIONS, type ServeConfig } from "../lib/cli/serve.ts";
import { KEY_LENGTH } from "../lib/crypto/sealing.ts";
import { EnclaveError, messageOf } from "../lib/errors.ts";
import { AwsKms } from "../lib/kms/aws.ts";
import { isReadableOnTheWay, parseEndpoint } from "../lib/kms/aws/endpoint.ts";
import { parseDevelopmentKey } from "../lib/kms/development_key.ts";
import { type KeyArn, parseKeyArn } from "../lib/aws/key_arn.ts";
import type { Kms } from "../lib/kms/kms.ts";
import { LocalKms } from "../lib/kms/local.ts";
import { VERSION } from "../lib/version.ts";
import { workflow } from "../lib/workflow.ts";
import type { Workflow } from "../lib/workflow_context.ts";
import { encodeBase64, encodeHex } from "@std/encoding";

const LISTEN = "tcp:127.0.0.1:5000";
const LOCAL_FILE = {
  name: "kms-local-file",
  env: "KMS_LOCAL_FILE",
  value: "FILE",
  help: "keys of the local KMS, mode 0600, made when missing; without it they live in memory",
} as const;
const SPECS = [
  ...SERVE_OPTIONS.map((spec) => (spec.name === "listen" ? { ...spec, default: LISTEN } : spec)),
  {
    name: "kms",
    env: "KMS",
    value: "KIND",
    default: "local",
    help: "which KMS: local, in this process; aws, KMS's API over HTTP(S) without attestation",
  },
  LOCAL_FILE,
  {
    name: "kms-endpoint-url",
    env: "KMS_ENDPOINT_URL",
    value: "URL",
    help:
      "where KMS's API is for --kms aws, such as http://localhost:4566; else AWS's own, by the key's region",
  },
  ...COMMON_OPTIONS,
] as const;
const NEW_TSK_SPECS = [
  LOCAL_FILE,
  {
    name: "tsk-file",
    value: "FILE",
    help: "write the session key here, hex, mode 0600: a client seals with it",
  },
  ...COMMON_OPTIONS,
] as const;
const DEFAULT_REGION = "us-east-1";

const HELP =
  `denclave-dev ${VERSION}: the session key service on a host, with a development KMS. Not for secrets.

usage: deno task dev [options]                 serve, with the local KMS
       deno task dev --kms aws --kms-key KEY [options]
                                               serve, with KMS's API; KEY is an ARN, an id or an alias
       deno task dev new-tsk --kms-local-file FILE --tsk-file FILE
                                               make a session key; prints it wrapped, for configure
options (a flag wins over the environment):
${helpLines(SPECS)}
`;

const encoder = new TextEncoder();
const stdout = (text: string) => void Deno.stdout.writeSync(encoder.encode(text));

function untilSignal(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.addSignalListener(signal, () => resolve(signal));
  return promise;
}

/** A development KMS, and what goes with it. */
interface Backend {
  readonly kms: Kms;
  /** What requests may select where no key is named. */
  readonly keys: readonly KeyArn[];
  readonly warnings: readonly string[];
}

function refuseOption(options: Options, name: string, kind: string): void {
  if (options.text(name) === undefined) return;
  throw new UsageError(`Option --${name} does not go with --kms ${kind}`, "--help shows what it is for.");
}

async function openBackend(options: Options): Promise<Backend> {
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
      const isReadable = endpoint !== undefined && isReadableOnTheWay(parseEndpoint(endpoint));
      return {
        kms: AwsKms.open({ endpoint }),
        keys: [],
        warnings: isReadable ? ["keys and session tokens cross the network in plain text (http:)"] : [],
      };
    }
    default:
      return kind satisfies never;
  }
}

/** Aliases and ids name no region: they are in that of --region. */
function readConfig(options: Options): ServeConfig {
  if (options.text("kms") !== "aws") return readServeConfig(options);
  const region = options.text("region") ?? DEFAULT_REGION;
  return readServeConfig(options, (text) => parseDevelopmentKey(text, region));
}

async function newTsk(argv: readonly string[]): Promise<number> {
  const options = parseOptions(NEW_TSK_SPECS, argv, (name) => Deno.env.get(name));
  if (options.on("help")) {
    return stdout(`usage: deno task dev new-tsk [options]\n\n${helpLines(NEW_TSK_SPECS)}\n`), EXIT.ok;
  }
  const file = options.text("kms-local-file");
  const tskFile = options.text("tsk-file");
  if (file === undefined || tskFile === undefined) {
    throw new UsageError(
      "--kms-local-file and --tsk-file must be set",
      "The service and this command share the first.",
    );
  }
  await using kms = await LocalKms.open({ region: DEFAULT_REGION, file });
  const [keyArn] = kms.keyArns;
  if (keyArn === undefined) throw new UsageError(`There is no key in ${file}`);
  const tsk = crypto.getRandomValues(new Uint8Array(KEY_LENGTH));
  try {
    await Deno.writeTextFile(tskFile, `${encodeHex(tsk)}\n`, { mode: 0o600, createNew: true });
  } catch (thrown) {
    throw new EnclaveError(`Cannot write ${tskFile}: ${messageOf(thrown)}`, {
      code: "tsk_file",
      hint: "Name a file that is not there yet, in a folder that you may write to.",
      cause: thrown,
    });
  }
  stdout(`${encodeBase64(await kms.encrypt(keyArn, tsk))}\n`);
  tsk.fill(0);
  return EXIT.ok;
}

/** Runs a command line; with another workflow where a test or an example brings one. Returns the exit code. */
export async function main(argv: readonly string[], work: Workflow = workflow): Promise<number> {
  const { command, rest } = takeCommand(argv, ["serve", "new-tsk"]);
  if (command === "new-tsk") return await newTsk(rest);
  const options = parseOptions(SPECS, rest, (name) => Deno.env.get(name));
  if (options.on("help")) return stdout(HELP), EXIT.ok;
  if (options.on("version")) return stdout(`denclave-dev ${VERSION}\n`), EXIT.ok;
  const config = readConfig(options);
  using _watchdog = await startWatchdog({ silenceMs: config.silenceMs, exitCode: EXIT.software });
  const backend = await openBackend(options);
  await using kms = backend.kms;
  // Without --kms-key, the keys that this KMS has: so the wallet works at once.
  const keys = config.keys.length > 0 ? config.keys : backend.keys;
  return await runService({ ...config, keys }, {
    warnings: backend.warnings,
    stdout,
    untilSignal,
    workflow: work,
    isDevelopment: true,
    openKms: () => Promise.resolve(kms),
    // What the enclave's binary does not have, a workflow does not get here either. KMS's API is called over the network.
    onListening: () =>
      giveUpPermissions([
        "read",
        "write",
        "env",
        "run",
        "ffi",
        "sys",
        ...(options.text("kms") === "aws" ? [] : ["net"] as const),
      ]),
  });
}

if (import.meta.main) await runEntry((argv) => main(argv));
