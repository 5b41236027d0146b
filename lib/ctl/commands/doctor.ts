/**
 * `denclavectl doctor`.
 *
 * @module
 */
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { within } from "../../shared/within.ts";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { Client } from "../client/client.ts";
import { type CheckResult, CHECKS, type DoctorTarget, type DoctorWorld, examine } from "../doctor/mod.ts";
import { MIN_MEMORY_MIB } from "../nitro/memory.ts";
import { readMeasurements } from "../policy/measurements.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { credentialSource, enclaveAddress, readInput, regionOf, timeoutOf } from "../terminal/io.ts";
import {
  AWS_OPTIONS,
  ENCLAVE_OPTIONS,
  JSON_OPTION,
  KEY_OPTION,
  LINT_OPTIONS,
  MEASUREMENTS_OPTION,
  POLICY_FILE_OPTION,
} from "../terminal/options.ts";
import { type CtlIo, oneLine, type Text } from "../terminal/printing.ts";
import { Progress } from "../terminal/progress.ts";
import { runToEnd } from "../terminal/run_program.ts";
import { fillFromPolicyFile, lintOptionsOf } from "./policy_input.ts";

/** `doctor` */
export const DOCTOR: Command = {
  path: "doctor",
  summary: "check everything that an enclave needs to get a key",
  usage: "-k <key arn> [-m <file>] [options]",
  about:
    `Checks everything that an enclave needs to get a key: reserved memory, the enclave, its port, the vsock-proxy, the way
to KMS, clock, credentials, the key, and its policy against the image. Changes nothing. Run it on the parent instance.`,
  options: [
    KEY_OPTION,
    {
      ...MEASUREMENTS_OPTION,
      help: `${MEASUREMENTS_OPTION.help}. The last is the one that should be running`,
    },
    ...ENCLAVE_OPTIONS.map((spec) => spec.name === "timeout-ms" ? { ...spec, default: "5000" } : spec),
    {
      name: "proxy-port",
      value: "PORT",
      default: "8000",
      help: "the vsock-proxy's port, through which the enclave reaches KMS",
    },
    {
      name: "memory",
      value: "MIB",
      default: "2048",
      help: `memory that the enclave needs, at least ${MIN_MEMORY_MIB}`,
    },
    { name: "cpus", value: "N", default: "2", help: "CPUs that the enclave needs" },
    POLICY_FILE_OPTION,
    ...LINT_OPTIONS,
    ...AWS_OPTIONS,
    JSON_OPTION,
  ],
  run: check,
};

const RUN_MS = 10_000;
const TLS_MS = 5_000;
const FETCH_MS = 5_000;
const MAX_FILE = 1_048_576;

async function connectTls(hostname: string, port: number): Promise<void> {
  const connecting = Deno.connectTls({ hostname, port }).then(async (stream) => {
    using connection = stream;
    await connection.handshake();
  });
  await within(TLS_MS, connecting, () => new Error(`no connection within ${TLS_MS} ms`));
}

async function fetchDate(url: string): Promise<string | undefined> {
  const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_MS), redirect: "manual" });
  await response.body?.cancel();
  return response.headers.get("date") ?? undefined;
}

async function readText(path: string): Promise<string> {
  const { size } = await Deno.stat(path);
  if (size > MAX_FILE) throw new Error(`${path} is longer than ${MAX_FILE} bytes`);
  return await Deno.readTextFile(path);
}

async function readTarget(options: Options, io: CtlIo): Promise<DoctorTarget> {
  const arn = options.text("key");
  const key = arn === undefined ? undefined : parseKeyArn(arn);
  // The newest build is the last one.
  const file = options.text("measurements");
  const [measurements, ...more] = file === undefined ? [] : readMeasurements(await readInput(file), file);
  if (more.length > 0) throw new UsageError("--measurements must be of one image");
  return {
    address: enclaveAddress(options),
    key,
    // A key's ARN takes precedence over the environment's region.
    region: key === undefined || options.isFlag("region") ? regionOf(options, io) : undefined,
    endpoint: options.text("endpoint-url"),
    measurements,
    proxyPort: options.number("proxy-port", { min: 1, max: 0xffff_ffff }),
    memoryMib: options.number("memory", { min: MIN_MEMORY_MIB, max: 16_777_216 }),
    cpus: options.number("cpus", { min: 1, max: 4_096 }),
    ...lintOptionsOf(options),
  };
}

const COLOURS = { ok: "green", warn: "yellow", fail: "red", skipped: "grey" } as const;

/** Formats results: mark, name and reason in columns, remedies below. */
export function formatResults(results: readonly CheckResult[]): Text {
  const width = Math.max(0, ...results.map(({ id }) => id.length));
  const lines = results.flatMap(({ id, status, reason, remedy }) => {
    const below = remedy === undefined ? [] : `→ ${remedy}`.split("\n");
    const text = [reason, ...below].map(oneLine).join(`\n${" ".repeat(width + 11)}`);
    return [
      { colour: COLOURS[status], text: (status === "fail" ? "FAIL" : status).padEnd(7) },
      `  ${id.padEnd(width)}  ${text}\n`,
    ];
  });
  const summary = (["ok", "warn", "fail", "skipped"] as const).map((wanted) =>
    `${results.filter(({ status }) => status === wanted).length} ${wanted}`
  );
  return [...lines, `\n${summary.join(", ")}\n`];
}

async function check(given: Options, io: CtlIo): Promise<number> {
  const options = await fillFromPolicyFile(given, DOCTOR.options);
  const target = await readTarget(options, io);
  const timeoutMs = timeoutOf(options);
  const credentials = credentialSource(options, io);
  const world: DoctorWorld = {
    run: (program, args) => runToEnd(program, args, RUN_MS),
    readText,
    connectTls,
    fetchDate,
    askHealth: async (address) => {
      using client = await Client.connect(address, { timeoutMs });
      return await client.request({ type: "health" });
    },
    credentials: () => credentials.get(),
    now: () => Date.now(),
  };
  using stack = new DisposableStack();
  const { key, endpoint } = target;
  const admin = key === undefined ? undefined : stack.use(
    (await import("../aws/open_key_admin.ts")).openKeyAdmin({ key, credentials, endpoint }),
  );
  let results: readonly CheckResult[];
  {
    using progress = new Progress("checks", CHECKS.length, io);
    let done = 0;
    results = await examine(world, target, admin, { onDone: () => progress.at(++done) });
  }
  const ok = results.every(({ status }) => status !== "fail");
  return printResult(options, io, { json: { ok, checks: results }, text: formatResults(results), ok });
}
