/**
 * `denclavectl up` as a process, with stand-ins for `nitro-cli` and `vsock-proxy` (tests/helpers/stand_ins):
 * an enclave is the repository's own service with a simulated NSM, on a Unix socket; KMS is the emulator of
 * this repository, which verifies documents and evaluates the key's policy.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { Client } from "../../lib/ctl/client/client.ts";
import { openKmsWrapper } from "../../lib/ctl/client/kms_wrapper.ts";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { wrapSessionKey } from "../../lib/ctl/client/session_keys.ts";
import { formatPolicyIntent } from "../../lib/ctl/config/policy_intent.ts";
import type { UpState } from "../../lib/ctl/up/state.ts";
import { derOf, type Holder } from "../../lib/dev/certificates.ts";
import { type KmsEmulator, startKmsEmulator } from "../../lib/dev/kms_emulator/server.ts";
import { parseAccessKeys } from "../../lib/dev/kms_emulator/signature.ts";
import { openSimulatedRoot } from "../../lib/dev/nsm/simulated_root.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import type { AuditEvent } from "../../lib/dev/kms_emulator/audit.ts";
import { ctlLaunch, devLaunch } from "./ctl_process.ts";
import { until, within } from "./deadline.ts";
import { Folder } from "./folder.ts";
import { accessKeysFile, ACCOUNT, ADMIN, policyFor, REGION, ROLE } from "./kms_place.ts";

const STAND_INS = new URL("stand_ins", import.meta.url).pathname;
/** A service from source starts slowly on a loaded machine. */
export const START_MS = 60_000;
const STOP_MS = 40_000;
const ISSUER = `arn:aws:iam::${ACCOUNT}:role/issuer`;
const PARENT_KEY = { accessKeyId: "AKIAPARENT", secretAccessKey: "secret-of-the-parent" };
const ISSUER_KEY = { accessKeyId: "AKIAISSUER", secretAccessKey: "secret-of-the-issuer" };

/** PCRs of an image, by a digit. */
export function pcrsOf(digit: string): Readonly<Record<"PCR0" | "PCR1" | "PCR2", string>> {
  return { PCR0: `${digit}0`.repeat(48), PCR1: `${digit}1`.repeat(48), PCR2: `${digit}2`.repeat(48) };
}

/** A line of `up`'s log. */
export type UpLine = Readonly<Record<string, unknown>>;

/** A process of `denclavectl up`. */
export class UpProcess implements AsyncDisposable {
  readonly lines: UpLine[] = [];
  stderr = "";
  #child: Deno.ChildProcess;
  #ended: Promise<Deno.CommandStatus>;

  constructor(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string) {
    const launch = ctlLaunch(["up", ...args]);
    this.#child = new Deno.Command(launch.command, {
      args: [...launch.args],
      env: { ...launch.env, ...env },
      cwd,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#ended = Promise.all([this.#readLog(), this.#readStderr()]).then(() => this.#child.status);
  }

  async #readLog(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.lines.push(JSON.parse(line) as UpLine);
    }
  }

  async #readStderr(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) this.stderr += text;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The lines of one event. */
  events(name: string): readonly UpLine[] {
    return this.lines.filter(({ event }) => event === name);
  }

  /** Waits until its log has so many lines of this event. */
  async logged(name: string, count = 1, ms = START_MS): Promise<readonly UpLine[]> {
    try {
      await until(`${count} ${name}`, () => this.events(name).length >= count, ms);
    } catch (thrown) {
      throw new Error(
        `${String(thrown)}\n${this.lines.map((line) => JSON.stringify(line)).join("\n")}\n${this.stderr}`,
      );
    }
    return this.events(name);
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Waits for its end. */
  ended(): Promise<Deno.CommandStatus> {
    return within(this.#ended, "the end of up", STOP_MS);
  }

  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus> {
    this.kill(signal);
    return await this.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }
}

/** How an image of the stand-in differs. */
export interface StandInImage {
  /** Of the measurements that it has; its build's otherwise. */
  readonly attests?: string;
  /** An error code of nitro-cli. */
  readonly fault?: string;
  readonly debug?: boolean;
  /** In place of the service. */
  readonly command?: string;
  /** More of the service's options. */
  readonly options?: readonly string[];
}

/** A parent instance: a folder with all files, KMS, and the stand-ins on PATH. */
export class UpRig implements AsyncDisposable {
  readonly path: string;
  readonly kms: KmsEmulator;
  readonly keyArn: string;
  /** Of the session key, 32 bytes. */
  readonly tsk: Uint8Array<ArrayBuffer>;
  /** What KMS was asked. */
  readonly audit: AuditEvent[];
  /** Of simulated NSMs. */
  readonly root: Holder;
  /** Of the vsock-proxy: the machine may have those of other tests. */
  readonly proxyPort = 10_000 + Math.floor(Math.random() * 1_000_000_000);
  /** More of the environment of `up`. */
  readonly env: Record<string, string> = {};
  #stack: AsyncDisposableStack;

  private constructor(
    path: string,
    made: Pick<UpRig, "kms" | "keyArn" | "tsk" | "audit" | "root"> & { readonly stack: AsyncDisposableStack },
  ) {
    this.path = path;
    this.kms = made.kms;
    this.keyArn = made.keyArn;
    this.tsk = made.tsk;
    this.audit = made.audit;
    this.root = made.root;
    this.#stack = made.stack;
  }

  /** @param sessions further access keys of the parent's role */
  static async make(...sessions: readonly Readonly<Record<string, string>>[]): Promise<UpRig> {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await Folder.make());
    const audit: AuditEvent[] = [];
    const root = await openSimulatedRoot(`${folder.path}/nsm-root.pem`);
    const kms = stack.use(
      await startKmsEmulator({
        region: REGION,
        account: ACCOUNT,
        root: derOf(root),
        accessKeys: parseAccessKeys(
          accessKeysFile(
            { ...PARENT_KEY, arn: ROLE },
            { ...ISSUER_KEY, arn: ISSUER },
            ...sessions.map((session) => ({ ...session, arn: ROLE })),
          ),
        ),
        onEvent: (event) => void audit.push(event),
      }),
    );
    const [keyArn = ""] = kms.kms.keyArns;
    const tsk = crypto.getRandomValues(new Uint8Array(32));
    const rig = new UpRig(folder.path, { kms, keyArn, tsk, audit, root, stack: stack.move() });
    await Deno.mkdir(`${folder.path}/stand-in`);
    await Deno.writeTextFile(`${folder.path}/stand-in/calls`, "");
    rig.allow("a");
    await Deno.writeTextFile(
      `${folder.path}/denclave-policy.yaml`,
      formatPolicyIntent({
        key: keyArn,
        parents: [ROLE],
        administrators: [ADMIN],
        issuers: [ISSUER],
        inspect: false,
        builds: [],
      }),
    );
    using secret = new SecretBytes(new Uint8Array(tsk));
    await using wrapper = openKmsWrapper({
      key: parseKeyArn(keyArn),
      credentials: new CredentialSource(() => Promise.resolve(ISSUER_KEY)),
      endpoint: kms.url,
    });
    const { encrypted_tsk } = await wrapSessionKey(secret, wrapper);
    await Deno.writeTextFile(`${folder.path}/tsk.wrapped`, `${encrypted_tsk}\n`);
    await Deno.writeTextFile(`${folder.path}/tsk.hex`, `${encodeHex(tsk)}\n`, { mode: 0o600 });
    return rig;
  }

  /** Gives the key a policy for these builds; without any, KMS denies all. */
  allow(...digits: readonly string[]): void {
    const issue = {
      Sid: "Issuer",
      Effect: "Allow",
      Principal: { AWS: ISSUER },
      Action: "kms:Encrypt",
      Resource: "*",
    };
    const builds = digits.length === 0 ? ["ff".repeat(48)] : digits.map((digit) => pcrsOf(digit).PCR0);
    this.kms.kms.putPolicy(this.keyArn, policyFor(builds, [issue]));
  }

  /**
   * Writes an image of the build, `<digit>.eif`, and its measurements, `<digit>.json`, for an enclave of a
   * name.
   */
  async image(
    digit: string,
    { attests = digit, fault, debug, command, options = [] }: StandInImage = {},
    name = "main",
  ) {
    const measured = (of: string) => JSON.stringify({ Measurements: pcrsOf(of) });
    await Deno.writeTextFile(`${this.path}/${digit}.json`, measured(digit));
    const attested = `${this.path}/${digit}.attested.json`;
    await Deno.writeTextFile(attested, measured(attests));
    const launch = devLaunch([
      ...["--kms", "aws", "--kms-endpoint-url", this.kms.url, "--kms-key", this.keyArn],
      ...["--listen", `unix:${this.socket(name)}`, "--simulate-nsm", "--measurements", attested],
      ...["--nsm-root", `${this.path}/nsm-root.pem`, ...options],
    ]);
    const socket = `'${this.socket(name)}'`;
    const words = [launch.command, ...launch.args].map((word) => `'${word}'`).join(" ");
    const lines = [
      ...Object.entries(pcrsOf(digit)).map(([pcr, value]) => `${pcr}=${value}`),
      ...(fault === undefined ? [] : [`FAULT=${fault}`]),
      ...(debug === true ? ["DEBUG=1"] : []),
      // A killed service leaves its socket.
      `rm -f ${socket}`,
      `COMMAND=$(cat <<'END'\n${command ?? words}\nEND\n)`,
    ];
    await Deno.writeTextFile(`${this.path}/${digit}.eif`, `${lines.join("\n")}\n`);
  }

  /** Where the service of an enclave listens. */
  socket(name = "main"): string {
    return `${this.path}/${name}.enclave`;
  }

  /** Writes `denclave.yaml` for one enclave, and others. */
  async configure(
    digit: string,
    { others = [], limits = {}, proxy = false, gateway = false, connect = `unix:${this.socket()}` }: {
      /** Where the service is. */
      readonly connect?: string;
      /** Lines of further enclaves. */
      readonly others?: readonly string[];
      readonly limits?: Readonly<Record<string, number>>;
      readonly proxy?: boolean;
      /** Whether it names gateway.yaml. */
      readonly gateway?: boolean;
    } = {},
  ): Promise<void> {
    const times = { health_ms: 200, first_pause_ms: 100, longest_pause_ms: 1_000, steady_ms: 10, ...limits };
    const lines = [
      "policy: denclave-policy.yaml",
      "enclaves:",
      ...this.enclaveLines("main", digit, 16, connect),
      "    session_key: {wrapped: tsk.wrapped}",
      `    listen: ["unix:${this.path}/main.sock"]`,
      ...others,
      "metrics: 127.0.0.1:0",
      "root: nsm-root.pem",
      ...(proxy ? [`proxy: {port: ${this.proxyPort}}`] : []),
      ...(gateway ? ["master_keys: {gateway: gateway.yaml}"] : []),
      `limits: ${JSON.stringify(times)}`,
    ];
    await Deno.writeTextFile(`${this.path}/denclave.yaml`, `${lines.join("\n")}\n`);
  }

  enclaveLines(
    name: string,
    digit: string,
    cid: number,
    connect = `unix:${this.socket(name)}`,
  ): readonly string[] {
    return [
      `  - name: ${name}`,
      ...[
        `image: ${digit}.eif`,
        `measurements: ${digit}.json`,
        `cid: ${cid}`,
        `connect: ${connect}`,
      ]
        .map((line) => `    ${line}`),
    ];
  }

  /** Of `up`. */
  environment(): Readonly<Record<string, string>> {
    return {
      PATH: `${STAND_INS}:${Deno.env.get("PATH") ?? ""}`,
      STAND_IN_DIR: `${this.path}/stand-in`,
      AWS_ACCESS_KEY_ID: PARENT_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: PARENT_KEY.secretAccessKey,
      ...this.env,
    };
  }

  /** Starts `up`. */
  up(...args: readonly string[]): UpProcess {
    return new UpProcess(args, this.environment(), this.path);
  }

  /** How the stand-ins were called, a line each. */
  async calls(beginning = ""): Promise<readonly string[]> {
    const text = await Deno.readTextFile(`${this.path}/stand-in/calls`);
    return text.split("\n").filter((line) => line !== "" && line.startsWith(beginning));
  }

  /** Process ids of the enclaves that the stand-in knows. */
  enclavePids(): readonly number[] {
    const files = Array.from(Deno.readDirSync(`${this.path}/stand-in`), ({ name }) => name);
    return files.filter((name) => /^i-[^.]*$/.test(name)).map((name) =>
      Number(/^pid=([0-9]+)$/m.exec(Deno.readTextFileSync(`${this.path}/stand-in/${name}`))?.[1])
    );
  }

  /** Asks the service of an enclave itself, past `up`. */
  async direct(request: WireObject, name = "main"): Promise<WireObject> {
    using client = await Client.connect({ transport: "unix", path: this.socket(name) }, {
      timeoutMs: 10_000,
    });
    return await client.request(request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const proxy = await Deno.readTextFile(`${this.path}/stand-in/vsock-proxy.pid`).catch(() => undefined);
    for (const pid of [...this.enclavePids(), ...(proxy === undefined ? [] : [Number(proxy)])]) {
      try {
        Deno.kill(pid, "SIGTERM");
      } catch {
        // It has ended.
      }
    }
    await this.#stack.disposeAsync();
  }
}

/** What `up` says over HTTP. */
export async function stateOf(up: UpProcess): Promise<UpState> {
  const [{ metrics } = {}] = await up.logged("listening");
  const response = await fetch(`http://${String(metrics)}/status`);
  return await response.json() as UpState;
}
