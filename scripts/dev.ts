/**
 * The same service with development backends, for a host: no enclave, no AWS account. Also makes what a first try needs: a session key,
 * wrapped.
 *
 * @module
 */
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../lib/cli/options.ts";
import { describeFailure, runService } from "../lib/cli/run.ts";
import { COMMON_OPTIONS, readServeConfig, SERVE_OPTIONS, takeCommand } from "../lib/cli/serve.ts";
import { KEY_LENGTH } from "../lib/crypto/sealing.ts";
import { EnclaveError, messageOf } from "../lib/errors.ts";
import { parseKeyArn } from "../lib/kms/key_arn.ts";
import { LocalKms } from "../lib/kms/local.ts";
import { VERSION } from "../lib/version.ts";
import { workflow } from "../lib/workflow.ts";
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
  { name: "kms", env: "KMS", value: "KIND", default: "local", help: "which KMS: local" },
  LOCAL_FILE,
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

usage: deno task dev [options]                 serve
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

function openKms(options: Options): Promise<LocalKms> {
  options.choice("kms", ["local"]);
  return LocalKms.open({
    region: options.text("region") ?? DEFAULT_REGION,
    file: options.text("kms-local-file"),
  });
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

async function main(argv: readonly string[]): Promise<number> {
  const { command, rest } = takeCommand(argv, ["serve", "new-tsk"]);
  if (command === "new-tsk") return await newTsk(rest);
  const options = parseOptions(SPECS, rest, (name) => Deno.env.get(name));
  if (options.on("help")) return stdout(HELP), EXIT.ok;
  if (options.on("version")) return stdout(`denclave-dev ${VERSION}\n`), EXIT.ok;
  const config = readServeConfig(options);
  await using kms = await openKms(options);
  // Without --kms-key, the keys that this KMS has: so the wallet works at once.
  const keys = config.keys.length > 0 ? config.keys : kms.keyArns.map(parseKeyArn);
  return await runService({ ...config, keys }, {
    stdout,
    untilSignal,
    workflow,
    openKms: () => Promise.resolve(kms),
  });
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (thrown) {
    const { text, exitCode } = describeFailure(thrown);
    Deno.stderr.writeSync(encoder.encode(text));
    Deno.exit(exitCode);
  }
}
