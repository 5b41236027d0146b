/**
 * `deno task rehearse`: production on one machine, without AWS. Starts the KMS emulator and two services with simulated NSMs, one for each of two
 * builds, gives the key a policy for the first build's PCRs, and prints commands to try.
 *
 * Permission: to run `deno`, and to read and write the rehearsal's folder.
 *
 * @module
 */
import { encodeBase64, encodeHex } from "@std/encoding";
import { openSimulatedRoot } from "../nsm/simulated_root.ts";
import { COMMON_OPTIONS, EXIT, helpLines, type OptionSpec, parseOptions } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { CtlIo } from "../../ctl/terminal/printing.ts";
import { readOneBuild } from "../../ctl/policy/one_build.ts";
import { formatRehearsal, rehearsalParts, rehearsalSetup } from "./rehearse_commands.ts";

const SPECS = [
  {
    name: "measurements",
    short: "m",
    value: "FILE",
    help: "PCRs of the first build: JSON from denclavectl eif describe; invented by default",
  },
  { name: "next", value: "FILE", help: "PCRs of the next build; invented by default" },
  {
    name: "dir",
    value: "DIR",
    help: "keep the files in this folder, which must not exist yet; by default they are deleted at the end",
  },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: deno task rehearse [options]

Production on this machine, without AWS: a KMS emulator, an account store (SQLite), and services with a simulated NSM, under
a key policy on their PCRs. Prints the commands to try, each with every option filled in. Ctrl-C ends all of it.

${helpLines(SPECS)}
`;

const REGION = "us-east-1";
const ACCOUNT = "111122223333";
const ROLES = { parent: "Parent", admin: "Admin", issuer: "Issuer" } as const;
const START_MS = 60_000;
/** From the first signal to the last: milliseconds. */
const END_MS = 10_000;
const MAX_LINE = 65_536;
const ROOT = new URL("../../../", import.meta.url);

const roleArn = (name: string) => `arn:aws:iam::${ACCOUNT}:role/${name}`;
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

function failed(what: string, hint: string): EnclaveError {
  return new EnclaveError(what, { code: "rehearsal_failed", hint });
}

/** The programs that a rehearsal runs: Deno's arguments. */
type Programs = Readonly<Record<"ctl" | "dev", readonly string[]>>;

/** Runs the programs, and stops those that are still running at the end. */
class Tasks implements AsyncDisposable {
  /** Rejects when a service ends by itself. */
  readonly broken: Promise<never>;
  #break: (reason: unknown) => void;
  #running = new Set<Deno.ChildProcess>();
  #folder: string;
  #programs: Programs;
  #isEnded = false;

  /** @param folder where logs go */
  constructor(folder: string, programs: Programs) {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    [this.broken, this.#break] = [promise, reject];
    [this.#folder, this.#programs] = [folder, programs];
  }

  /** Not as a task, so that a signal reaches the program itself. */
  #spawn(
    task: keyof Programs,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Deno.ChildProcess {
    if (this.#isEnded) throw failed("The rehearsal has ended", "Start it again.");
    const child = new Deno.Command("deno", {
      args: [...this.#programs[task], ...args],
      cwd: ROOT,
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      // Not in the terminal's group: Ctrl-C reaches this process, and this process ends them.
      detached: true,
    }).spawn();
    this.#running.add(child);
    void child.status.then(() => this.#running.delete(child));
    return child;
  }

  /** Runs a task to its end. @returns what it printed; @throws {EnclaveError} `rehearsal_failed` */
  async run(
    task: keyof Programs,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<string> {
    const { success, stdout, stderr } = await this.#spawn(task, args, env).output();
    const decoder = new TextDecoder();
    if (success) return decoder.decode(stdout);
    throw failed(
      `deno task ${task} ${args.slice(0, 2).join(" ")} failed: ${
        decoder.decode(stderr).trim() || decoder.decode(stdout).trim()
      }`,
      "Nothing was left running.",
    );
  }

  /** Starts a service, which logs to `<name>.log`. @returns its `listening` event; @throws {EnclaveError} `rehearsal_failed` */
  async serve(
    name: string,
    task: keyof Programs,
    args: readonly string[],
  ): Promise<Readonly<Record<string, unknown>>> {
    const child = this.#spawn(task, args, {});
    const logFile = `${this.#folder}/${name}.log`;
    const log = await Deno.open(logFile, { write: true, create: true });
    const { promise: listening, resolve, reject } = Promise.withResolvers<
      Readonly<Record<string, unknown>>
    >();
    const hint = `Its log is ${logFile}; --dir keeps it.`;
    const timer = setTimeout(
      () => reject(failed(`The ${name} did not start within ${START_MS} ms`, hint)),
      START_MS,
    );
    let words = "";
    const read = Promise.all([
      eachLine(child.stdout, (line) => {
        log.writeSync(new TextEncoder().encode(`${line}\n`));
        if (!line.includes('"event":"listening"')) return;
        resolve(JSON.parse(line));
      }),
      eachLine(child.stderr, (line) => {
        log.writeSync(new TextEncoder().encode(`${line}\n`));
        words = `${words}${line}\n`.slice(-2000);
      }),
    ]);
    void read.catch(() => {}).then(() => child.status).then(({ code }) => {
      log.close();
      const error = failed(`The ${name} ended with ${code}: ${words.trim()}`, hint);
      reject(error);
      if (!this.#isEnded) this.#break(error);
    });
    try {
      return await listening;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends what runs: first by SIGTERM, and what has not ended in time by SIGKILL. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    const running = [...this.#running];
    const signal = (name: Deno.Signal) => {
      for (const child of running) {
        try {
          child.kill(name);
        } catch {
          // It has already ended.
        }
      }
    };
    signal("SIGTERM");
    const timer = setTimeout(() => signal("SIGKILL"), END_MS);
    await Promise.all(running.map((child) => child.status));
    clearTimeout(timer);
  }
}

async function eachLine(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) take(line);
  }
  if (rest !== "") take(rest);
}

/** PCRs of a build that does not exist. */
async function inventedPcrs(name: string): Promise<Readonly<Record<number, string>>> {
  const pcr = async (index: number) => {
    const text = new TextEncoder().encode(`denclave rehearsal, ${name}, PCR${index}`);
    return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-384", text)));
  };
  return { 0: await pcr(0), 1: await pcr(1), 2: await pcr(2) };
}

/** Writes measurements as `nitro-cli` prints them. */
async function writeBuild(file: string, pcrs: Readonly<Record<number, string>>): Promise<void> {
  const named = Object.entries(pcrs).map(([index, value]) => [`PCR${index}`, value]);
  const Measurements = { HashAlgorithm: "Sha384 { ... }", ...Object.fromEntries(named) };
  await Deno.writeTextFile(file, `${JSON.stringify({ Measurements }, null, 2)}\n`);
}

/** Access keys of the three roles, for the emulator, and for each role the environment that uses its key. */
async function writeRoles(folder: string): Promise<(url: string) => Promise<void>> {
  const keys = Object.entries(ROLES).map(([role, name]) => ({
    role,
    accessKeyId: `AKIA${encodeHex(random(8)).toUpperCase()}`,
    secretAccessKey: encodeHex(random(20)),
    arn: roleArn(name),
  }));
  const secret = { mode: 0o600, createNew: true } as const;
  const accessKeys = keys.map(({ role: _, ...key }) => key);
  await Deno.writeTextFile(`${folder}/access-keys.json`, JSON.stringify({ version: 1, accessKeys }), secret);
  return async (url) => {
    for (const { role, accessKeyId, secretAccessKey } of keys) {
      const env = {
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        AWS_REGION: REGION,
        AWS_ENDPOINT_URL: url,
        AWS_EC2_METADATA_DISABLED: "true",
      };
      const lines = Object.entries(env).map(([name, value]) => `${name}=${value}\n`).join("");
      await Deno.writeTextFile(`${folder}/${role}.env`, lines, secret);
    }
  };
}

async function readEnvironment(file: string): Promise<Readonly<Record<string, string>>> {
  const lines = (await Deno.readTextFile(file)).trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s, 2)));
}

function gatewayConfig(folder: string, keyArn: string, address: string): string {
  const [, host = "", port = ""] = /^tcp:(.*):([0-9]+)$/.exec(address) ?? [];
  return `environment: development
kms:
  key_id: ${JSON.stringify(keyArn)}
  enable_attestation: true
enclaves:
  - enclave_id: 1
    transport: tcp
    host: ${host}
    port: ${port}
database:
  path: ${JSON.stringify(`${folder}/gateway.sqlite`)}
`;
}

/** Starts everything. @returns the text for the person; @throws {EnclaveError} */
async function start(
  folder: string,
  { tasks, builds }: { readonly tasks: Tasks; readonly builds: readonly (string | undefined)[] },
): Promise<string> {
  const root = `${folder}/nsm-root.pem`;
  await openSimulatedRoot(root);
  for (const [index, option] of ["measurements", "next"].entries()) {
    const [given, name] = [builds[index], `build ${index + 1}`];
    const pcrs = given === undefined ? await inventedPcrs(name) : await readOneBuild(option, given);
    await writeBuild(`${folder}/build-${index + 1}.json`, pcrs);
  }
  // The account store: SQLite takes an empty file for a new database.
  await Deno.writeTextFile(`${folder}/accounts.sqlite`, "", { mode: 0o600, createNew: true });
  const writeEnvironments = await writeRoles(folder);
  const emulator = await tasks.serve("emulator", "ctl", [
    ...["emulator", "serve", "--listen", "tcp:127.0.0.1:0", "--account", ACCOUNT, "--region", REGION],
    ...["--keys-file", `${folder}/kms-keys.json`, "--access-keys", `${folder}/access-keys.json`],
    ...["--root", root],
  ]);
  const url = String(emulator["url"]);
  const [keyArn = ""] = emulator["keys"] as string[];
  await writeEnvironments(url);
  const admin = await readEnvironment(`${folder}/admin.env`);
  const policy = (...args: string[]) => tasks.run("ctl", ["policy", ...args], admin);
  const policyFile = ["-f", `${folder}/policy.yaml`];
  const applied = async () => {
    const roles = Object.entries(ROLES).flatMap(([role, name]) => [`--${role}`, roleArn(name)]);
    await policy("init", ...policyFile, "-k", keyArn, ...roles, "-m", "build-1.json");
    await Deno.writeTextFile(`${folder}/first.json`, await policy("render", ...policyFile));
    await policy("apply", `${folder}/first.json`, ...policyFile, "--yes");
  };
  const served = (number: number) =>
    tasks.serve(`enclave-${number}`, "dev", [
      ...["--kms", "aws", "--kms-endpoint-url", url, "--kms-key", keyArn, "--listen", "tcp:127.0.0.1:0"],
      ...["--simulate-nsm", "--measurements", `${folder}/build-${number}.json`, "--nsm-root", root],
    ]);
  const [first, next] = await Promise.all([served(1), served(2), applied()]);
  const enclaves = [String(first["address"]), String(next["address"])] as const;
  for (const [index, address] of enclaves.entries()) {
    await Deno.writeTextFile(`${folder}/gateway-${index + 1}.yaml`, gatewayConfig(folder, keyArn, address));
  }
  const nonce = encodeBase64(random(32));
  return `Rehearsal in ${folder}: for trying out, not for secrets

  KMS emulator  ${url}, log emulator.log
  key           ${keyArn}, policy first.json
  build 1       ${enclaves[0]}, log enclave-1.log
  build 2       ${enclaves[1]}, log enclave-2.log
  accounts      accounts.sqlite

Run the commands in the repository's folder, in order. These first:

${rehearsalSetup(folder)}
${formatRehearsal(rehearsalParts({ keyArn, enclaves, nonce }))}
Ctrl-C ends all of it.
`;
}

/** Runs the rehearsal until the process is told to end. @param programs run in the repository's folder; @throws {EnclaveError} `rehearsal_failed` */
export async function runRehearsal(
  argv: readonly string[],
  programs: Programs,
  io: Pick<CtlIo, "stdout" | "untilSignal">,
): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const ended = io.untilSignal();
  await using place = new AsyncDisposableStack();
  const folder = await makeFolder(options.text("dir"));
  if (options.text("dir") === undefined) place.defer(() => Deno.remove(folder, { recursive: true }));
  const tasks = place.use(new Tasks(folder, programs));
  const started = start(folder, { tasks, builds: [options.text("measurements"), options.text("next")] });
  started.catch(() => {});
  const text = await Promise.race([started, ended.then(() => undefined)]);
  if (text === undefined) return EXIT.ok;
  io.stdout(text);
  await Promise.race([ended, tasks.broken]);
  return EXIT.ok;
}

async function makeFolder(dir: string | undefined): Promise<string> {
  if (dir === undefined) return await Deno.makeTempDir({ prefix: "denclave-rehearsal-" });
  try {
    await Deno.mkdir(dir, { mode: 0o700 });
    return await Deno.realPath(dir);
  } catch (thrown) {
    throw new EnclaveError(`Cannot make ${dir}: ${messageOf(thrown)}`, {
      code: "usage",
      hint: "Name a folder that does not exist yet.",
      cause: thrown,
    });
  }
}
