/**
 * `denclavectl up` as a process. The enclaves are the repository's own service with a simulated NSM, started
 * by stand-ins for `nitro-cli` and `vsock-proxy` (tests/helpers/stand_ins); KMS is this repository's
 * emulator.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import { processData } from "../../lib/ctl/client/process.ts";
import { FileLock } from "../../lib/ctl/up/lock.ts";
import { openAwsKms } from "../../lib/dev/kms/https_api.ts";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { field } from "../../lib/shared/json.ts";
import { NSM_GENERATOR } from "../../lib/enclave/server/entropy.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { ctlLaunch, runCtl } from "../helpers/ctl_process.ts";
import { until } from "../helpers/deadline.ts";
import { count } from "../helpers/effort.ts";
import { Folder } from "../helpers/folder.ts";
import { startTestService } from "../helpers/test_service.ts";
import { START_MS, stateOf, type UpProcess, UpRig } from "../helpers/up_rig.ts";

// The emulator's sockets and the AWS SDK's end a moment later.
const unsanitized = { sanitizeOps: false, sanitizeResources: false } as const;

function test(behaviour: string, fn: (rig: UpRig) => Promise<void>): void {
  Deno.test({
    name: behaviour,
    ...unsanitized,
    fn: async () => {
      await using rig = await UpRig.make();
      await fn(rig);
    },
  });
}

/** A client's request through the listener of `up`: data, sealed and opened. */
async function ask(rig: UpRig, data: string): Promise<string> {
  using client = await Client.connect({ transport: "unix", path: `${rig.path}/main.sock` }, {
    timeoutMs: 20_000,
  });
  const opened = await processData(client, { key: rig.tsk, data: new TextEncoder().encode(data) });
  return new TextDecoder().decode(opened);
}

/** A rig whose enclave serves. */
async function serving(rig: UpRig, options: Parameters<UpRig["configure"]>[1] = {}): Promise<UpProcess> {
  await rig.image("a");
  await rig.configure("a", options);
  const up = rig.up();
  await up.logged("serving");
  return up;
}

const decrypted = ({ audit }: UpRig) =>
  audit.filter(({ eventName, errorCode }) => eventName === "Decrypt" && errorCode === undefined).length;

test("from nothing to a serving enclave, and back: started, verified, configured, reached, ended in order", async (rig) => {
  await using up = await serving(rig, { proxy: true });
  assertEquals(await ask(rig, "hello"), "hello");
  const steps = up.lines.filter(({ enclave }) => enclave === "main").map(({ event }) => event);
  const order = ["starting", "started", "verifying", "configuring", "serving"];
  assertEquals(steps.filter((event) => order.includes(String(event))), order);
  const { enclaves: [enclave], proxy } = await stateOf(up);
  assertEquals([enclave?.phase, enclave?.cid, proxy], ["serving", 16, { running: true, restarts: 0 }]);
  assertMatch(
    (await rig.calls("vsock-proxy"))[0] ?? "",
    /^vsock-proxy --num_workers 20 --config \S+ [0-9]+ kms\.us-east-1\.amazonaws\.com 443$/,
  );
  assertEquals(
    up.events("configuration").filter(({ seq }) => seq === undefined).length,
    2,
    "root and connect are for development",
  );
  const { code } = await up.stop();
  assertEquals([code, up.stderr, rig.enclavePids()], [0, "", []]);
  const ends = up.lines.map(({ event }) => event).slice(
    up.lines.findIndex(({ event }) => event === "ending"),
  );
  assertEquals(ends.filter((event) => event !== "client_failed"), [
    "ending",
    "terminated",
    "stopped",
    "stopped",
  ]);
});

/** Two clients that ask again and again. What is wrong is kept; a failure is asked again. */
class Load implements AsyncDisposable {
  right = 0;
  readonly wrong: string[] = [];
  /** The longest time from a question to its right answer. Milliseconds. */
  longest = 0;
  /** When the last right answers came. */
  readonly times: number[] = [];
  #isEnded = false;
  #running: readonly Promise<void>[];

  constructor(rig: UpRig) {
    this.#running = [1, 2].map((client) => this.#ask(rig, client));
  }

  async #ask(rig: UpRig, client: number): Promise<void> {
    for (let asked = 0; !this.#isEnded; asked++) {
      const begun = performance.now();
      const data = `question ${asked} of client ${client}`;
      while (!this.#isEnded) {
        try {
          const answer = await ask(rig, data);
          if (answer !== data) this.wrong.push(answer);
          this.right++;
          this.times.push(Date.now());
          this.longest = Math.max(this.longest, performance.now() - begun);
          break;
        } catch {
          // The enclave was killed: ask again.
        }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    await Promise.all(this.#running);
  }
}

/** When the service of the enclave answers, configured or not, and when its workflow processes have started. */
async function started(rig: UpRig): Promise<{ readonly answers: number; readonly works: number }> {
  const health = () => rig.direct({ type: "health" }).catch(() => undefined);
  await until("the enclave to answer", async () => await health() !== undefined, START_MS);
  const answers = Date.now();
  await until(
    "its workflow",
    async () => Number(field((await health())?.["workflow"], "processes")) > 0,
    START_MS,
  );
  return { answers, works: Date.now() };
}

test("an enclave that is killed again and again under load comes back configured; no answer is wrong or late", async (rig) => {
  await using up = await serving(rig);
  const rounds = count(50, 5);
  const [configuring, gaps]: [number[], number[]] = [[], []];
  {
    await using load = new Load(rig);
    for (let round = 1; round <= rounds; round++) {
      const { right } = load;
      await until("load", () => load.right > right + 5);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 300));
      const [pid] = rig.enclavePids();
      assert(pid !== undefined);
      Deno.kill(pid, "SIGKILL");
      const { answers, works } = await started(rig);
      const serving = (await up.logged("serving", round + 1)).at(-1);
      configuring.push(Date.parse(String(serving?.["time"])) - answers);
      const ready = Math.max(answers, works);
      await until("a right answer", () => (load.times.at(-1) ?? 0) > ready, START_MS);
      gaps.push((load.times.find((time) => time > ready) ?? Infinity) - ready);
    }
    assertEquals(load.wrong, []);
    // What a start of the stand-in takes, and the rest.
    assert(load.longest < 20_000, `${load.longest} ms`);
    const middle = (times: readonly number[]) =>
      times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
    console.log(
      `${rounds} kills, ${load.right} right answers, none wrong, the longest after ${
        Math.round(load.longest)
      } ms. ` +
        `From the first answer of the socket until it serves: ${configuring.join(", ")} ms, middle ${
          middle(configuring)
        }. ` +
        `From the start of its workflow to the next right answer: ${gaps.join(", ")} ms, middle ${
          middle(gaps)
        }.`,
    );
  }
  // On a quiet machine it takes less than 500 ms; other tests may have this one.
  assert(Math.max(...gaps, ...configuring) <= 10_000, `${configuring}; ${gaps}`);
  const { enclaves: [enclave] } = await stateOf(up);
  assertEquals([enclave?.phase, enclave?.restarts], ["serving", { health: rounds }]);
  assertEquals(decrypted(rig), rounds + 1);
});

test("after up was killed, the next one takes the enclave over, by its PCR0, and its vsock-proxy", async (rig) => {
  {
    await using _ = await serving(rig, { proxy: true });
  }
  const before = rig.enclavePids();
  await using up = rig.up();
  await up.logged("serving");
  assertEquals(rig.enclavePids(), before);
  assertEquals((await rig.calls("nitro-cli run-enclave")).length, 1);
  assertEquals([(await rig.calls("vsock-proxy")).length, up.events("proxy_taken_over").length], [1, 1]);
  assertMatch(String(up.events("starting")[0]?.["reason"]), /runs already: it is taken over/);
  assertEquals(await ask(rig, "again"), "again");
});

test("--keep leaves the enclave running", async (rig) => {
  await rig.image("a");
  await rig.configure("a");
  await using up = rig.up("--keep");
  await up.logged("serving");
  assertEquals((await up.stop()).code, 0);
  assertEquals((await rig.direct({ type: "health" }))["configured"], true);
});

test("a vsock-proxy that is killed is started again, and the enclave serves on", async (rig) => {
  await using up = await serving(rig, { proxy: true });
  Deno.kill(Number(await Deno.readTextFile(`${rig.path}/stand-in/vsock-proxy.pid`)), "SIGKILL");
  await up.logged("proxy_started", 2);
  const { proxy, enclaves: [enclave] } = await stateOf(up);
  assertEquals([proxy, enclave?.restarts], [{ running: true, restarts: 1 }, {}]);
});

test("a master key is sent to the enclave, and again after its end; without a stored one up says what to do", async (rig) => {
  await rig.image("a");
  await Deno.writeTextFile(
    `${rig.path}/gateway.yaml`,
    `environment: development
kms: {key_id: "${rig.keyArn}", enable_attestation: true}
enclaves: [{enclave_id: 1, transport: unix, path: "${rig.socket()}"}]
database: {path: gateway.sqlite}
`,
  );
  await rig.configure("a", { gateway: true });
  await using up = rig.up();
  const [waiting] = await up.logged("waiting");
  assertMatch(String(waiting?.["reason"]), /gateway\.sqlite.*gateway init --new/);
  assertEquals(await ask(rig, "meanwhile"), "meanwhile");
  const init = [
    "gateway",
    "init",
    "--new",
    "--config",
    "gateway.yaml",
    "-m",
    "a.json",
    "--root",
    "nsm-root.pem",
  ];
  const made = await runCtl(init, { cwd: rig.path, env: rig.environment() });
  assertEquals(made.code, 0, made.stdout + made.stderr);
  await up.logged("serving");
  Deno.kill(rig.enclavePids()[0] ?? 0, "SIGKILL");
  await up.logged("serving", 2);
  const { master_key } = await rig.direct({ type: "health" });
  assertEquals((master_key as { initialised: boolean }).initialised, true);
});

test("while KMS denies, up says so and waits, with the enclave running; when KMS allows, it serves", async (rig) => {
  rig.allow();
  await rig.image("a");
  await rig.configure("a");
  await using up = rig.up();
  const [, second] = await up.logged("waiting", 2);
  assertMatch(String(second?.["reason"]), /kms_decrypt_failed.*AccessDenied/);
  const health = await fetch(`http://${String((await up.logged("listening"))[0]?.["metrics"])}/healthz`);
  assertEquals([health.status, /^main: waiting: /.test(await health.text())], [503, true]);
  rig.allow("a");
  await up.logged("serving");
  assertEquals((await rig.calls("nitro-cli run-enclave")).length, 1);
  assertEquals(await ask(rig, "allowed"), "allowed");
});

Deno.test({
  name: "credentials that KMS calls expired are fetched anew, and sent again",
  ...unsanitized,
  fn: async () => {
    const session = (name: string, expires: string) => ({
      accessKeyId: `ASIA${name}`,
      secretAccessKey: `secret-of-${name}`,
      sessionToken: `token-of-${name}`,
      expires,
    });
    const sessions = [session("OLD", "2001-01-01T00:00:00Z"), session("NEW", "2999-01-01T00:00:00Z")];
    await using rig = await UpRig.make(...sessions);
    let given = 0;
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
      const { accessKeyId, secretAccessKey, sessionToken } = session(given++ === 0 ? "OLD" : "NEW", "");
      return Response.json({
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        Token: sessionToken,
        Expiration: "2999-01-01T00:00:00Z",
      });
    });
    Object.assign(rig.env, {
      AWS_ACCESS_KEY_ID: "",
      AWS_SECRET_ACCESS_KEY: "",
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${server.addr.port}/`,
    });
    await using up = await serving(rig);
    assertEquals([given, up.events("waiting").length], [2, 0]);
  },
});

test("an image that cannot start is tried again, with nitro-cli's code explained", async (rig) => {
  await rig.image("a", { fault: "E36" });
  await rig.configure("a");
  await using up = rig.up();
  const [, , third] = await up.logged("waiting", 3);
  assertMatch(String(third?.["reason"]), /ended with 36: \[ E36 \].*did not boot.*next attempt is in 0\.4 s/);
  await rig.image("a");
  await up.logged("serving");
});

/** Random numbers of a host, taken for those of its simulated NSM. */
const NSM_ENTROPY = { kernelGenerator: NSM_GENERATOR, random: HOST_RANDOM };

/** What was sent to an enclave that must get nothing. */
function sentTo({ requests }: WireObject): readonly string[] {
  const harmless = ["attest", "health", "logs", "metrics", "ping"];
  return Object.keys(requests as Readonly<Record<string, unknown>>).filter((type) =>
    !harmless.includes(type)
  );
}

test("an enclave that attests other PCRs than its build's is never sent a key or a credential", async (rig) => {
  rig.allow("a", "b");
  await rig.image("a", { attests: "b" });
  await rig.configure("a");
  await using up = rig.up();
  await up.logged("verifying", 2);
  assertEquals(sentTo(await rig.direct({ type: "metrics" })), []);
  await up.logged("terminated", 2);
  assertEquals([decrypted(rig), up.events("serving")], [0, []]);
  assertMatch(String(up.events("waiting")[0]?.["reason"]), /Attestation document refused: PCR 0 is b0b0/);
});

for (const debug of [true, false]) {
  const says = debug ? "says so too" : "hides it";
  test(`an enclave in debug mode is never sent a key or a credential; nitro-cli ${says}`, async (rig) => {
    const zero = "00".repeat(48);
    const pcrs = { 0: zero, 1: zero, 2: zero };
    await using nsm = await SimulatedNsm.start({ pcrs, root: rig.root });
    await using kms = await openAwsKms({ nsm, endpoint: rig.kms.url });
    await using service = startTestService({
      kms,
      attester: nsm,
      entropy: NSM_ENTROPY,
      keys: [parseKeyArn(rig.keyArn)],
    });
    await rig.image("a", { debug, command: "sleep 600" });
    await rig.configure("a", { connect: formatAddress(service.address) });
    await using up = rig.up();
    await up.logged("terminated", 2);
    using client = await Client.connect(service.address, { timeoutMs: 10_000 });
    assertEquals(sentTo(await client.request({ type: "metrics" })), []);
    assertEquals([decrypted(rig), up.events("serving")], [0, []]);
    assertMatch(String(up.events("waiting")[0]?.["reason"]), /Attestation document refused: .*debug mode/);
  });
}

test("SIGHUP: a changed image is stopped and started, other keys are only sent, and a wrong file changes nothing", async (rig) => {
  await using up = await serving(rig);
  const [first] = rig.enclavePids();
  const good = await Deno.readTextFile(`${rig.path}/denclave.yaml`);

  await Deno.writeTextFile(`${rig.path}/denclave.yaml`, good.replace("cid: 16", "cid: 1"));
  up.kill("SIGHUP");
  const [refused] = await up.logged("reload_failed");
  assertMatch(
    String(refused?.["message"]),
    /denclave\.yaml:[0-9]+:10: enclaves\[0\]\.cid: must be 4 or more/,
  );
  assertEquals([rig.enclavePids(), await ask(rig, "still")], [[first], "still"]);

  await Deno.writeTextFile(
    `${rig.path}/denclave.yaml`,
    good.replace("tsk.wrapped}", "tsk.wrapped, epoch: 7}"),
  );
  up.kill("SIGHUP");
  await up.logged("serving", 2);
  assertEquals([rig.enclavePids(), await ask(rig, "same")], [[first], "same"]);

  await rig.image("b");
  rig.allow("a", "b");
  await rig.configure("b");
  up.kill("SIGHUP");
  await up.logged("serving", 3);
  const [next] = rig.enclavePids();
  assert(next !== first);
  const { enclaves: [enclave] } = await stateOf(up);
  assertEquals([enclave?.pcr0?.slice(0, 4), enclave?.restarts], ["b0b0", { changed: 2 }]);
  assertEquals(await ask(rig, "next"), "next");
});

test("SIGHUP: what could not listen is started by the next one, also with the file of before", async (rig) => {
  const path = (name: string) => `${rig.path}/${name}.sock`;
  const listen = (name: string) => Deno.listen({ transport: "unix", path: path(name) });
  await using up = await serving(rig);
  const good = await Deno.readTextFile(`${rig.path}/denclave.yaml`);
  const reload = async (text: string) => {
    await Deno.writeTextFile(`${rig.path}/denclave.yaml`, text);
    up.kill("SIGHUP");
  };
  {
    using _taken = listen("moved");
    await reload(good.replace("main.sock", "moved.sock"));
    await up.logged("reload_failed");
  }
  await reload(good);
  await up.logged("reloaded");
  assertEquals(await ask(rig, "back"), "back");

  await rig.image("b", {}, "second");
  rig.allow("a", "b");
  const second = [...rig.enclaveLines("second", "b", 17), `    listen: ["unix:${path("second")}"]`];
  const both = good.replace("metrics:", `${second.join("\n")}\nmetrics:`);
  {
    using _taken = listen("second");
    await reload(both);
    await up.logged("reload_failed", 2);
  }
  await reload(both);
  await up.logged("serving", 2);
  assertEquals(up.events("serving").at(-1)?.["enclave"], "second");
});

test("a second up for the same file is refused, and the first one is not disturbed", async (rig) => {
  await using up = await serving(rig);
  await using second = rig.up();
  const { code } = await second.ended();
  assertEquals(code, 69);
  assertMatch(second.stderr, /^denclave: Another denclavectl up runs for \S+denclave\.yaml/);
  assertEquals([await ask(rig, "hello"), up.events("waiting")], ["hello", []]);
});

test("a port that is in use ends up at its start, with nothing left behind", async (rig) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await rig.image("a");
  for (const [line, message] of [["metrics", "for metrics"], ["listen", "Cannot listen on"]] as const) {
    await rig.configure("a", { proxy: true });
    const text = await Deno.readTextFile(`${rig.path}/denclave.yaml`);
    const address = `127.0.0.1:${taken.addr.port}`;
    const changed = line === "metrics"
      ? text.replace("metrics: 127.0.0.1:0", `metrics: ${address}`)
      : text.replace(/listen: .*/, `listen: ["tcp:${address}"]`);
    await Deno.writeTextFile(`${rig.path}/denclave.yaml`, changed);
    await using up = rig.up();
    const { code } = await up.ended();
    assertEquals(code, 69);
    assertStringIncludes(up.stderr, message);
  }
  assertEquals(await rig.calls("nitro-cli run-enclave"), []);
});

for (
  const file of ["denclave.yaml", "denclave-policy.yaml", "a.json", "a.eif", "tsk.wrapped", "nsm-root.pem"]
) {
  test(`where ${file} cannot be read, up says so and starts nothing`, async (rig) => {
    await rig.image("a");
    await rig.configure("a", { proxy: true });
    await Deno.remove(`${rig.path}/${file}`);
    await using up = rig.up();
    const { code } = await up.ended();
    assertEquals([code, await rig.calls()], [2, []]);
    assertStringIncludes(up.stderr, file);
  });
}

test("with its output on a full disk, up goes on: the enclave serves, and comes back", async (rig) => {
  await rig.image("a");
  await rig.configure("a");
  const { command, args, env } = ctlLaunch(["up"]);
  const words = [command, ...args].map((word) => `'${word}'`).join(" ");
  const child = new Deno.Command("bash", {
    args: ["-c", `exec ${words} >/dev/full`],
    cwd: rig.path,
    env: { ...env, ...rig.environment() },
    stdin: "null",
  }).spawn();
  try {
    const answers = (data: string) => () => ask(rig, data).then((answer) => answer === data, () => false);
    await until("an answer", answers("one"), START_MS);
    Deno.kill(rig.enclavePids()[0] ?? 0, "SIGKILL");
    await until("an answer after the kill", answers("two"), START_MS);
  } finally {
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
  }
});

test("an enclave that died leaves its last words: its events are in the log of up, each once, in order", async (rig) => {
  await using up = await serving(rig);
  const ofBoot = (boot: unknown) =>
    up.lines.filter(({ boot_id, seq }) => boot_id === boot && seq !== undefined).map(({ seq }) =>
      Number(seq)
    );
  const [configured] = await up.logged("configured");
  const boot = configured?.["boot_id"];
  assertEquals(ofBoot(boot).slice(0, 3), [1, 2, 3]);
  Deno.kill(rig.enclavePids()[0] ?? 0, "SIGKILL");
  await up.logged("configured", 2);
  const [restart] = up.events("restart");
  assertMatch(String(restart?.["why"]), /has ended: nitro-cli no longer lists it/);
  assertMatch(String(restart?.["last_event"]), /^configured at /);
  const seqs = ofBoot(boot);
  assertEquals(seqs, seqs.map((_, index) => index + 1));
});

test("two enclaves: each has its own keys, listeners and log; one that dies does not disturb the other", async (rig) => {
  await rig.image("a");
  await rig.image("b", {}, "other");
  rig.allow("a", "b");
  await rig.configure("a", {
    others: [...rig.enclaveLines("other", "b", 17), "    session_key: {wrapped: tsk.wrapped}"],
  });
  await using up = rig.up();
  await up.logged("serving", 2);
  const pids = rig.enclavePids();
  assertEquals(pids.length, 2);
  const other = (await stateOf(up)).enclaves[1]?.enclaveId;
  const [main] = (await stateOf(up)).enclaves;
  const pid = Number(
    /^pid=([0-9]+)$/m.exec(await Deno.readTextFile(`${rig.path}/stand-in/${main?.enclaveId}`))?.[1],
  );
  Deno.kill(pid, "SIGKILL");
  await up.logged("serving", 3);
  const { enclaves } = await stateOf(up);
  assertEquals([enclaves[0]?.restarts, enclaves[1]?.restarts], [{ health: 1 }, {}]);
  assertEquals(enclaves[1]?.enclaveId, other);
});

test("denclavectl status and /metrics show what up knows", async (rig) => {
  await using up = await serving(rig);
  const address = String((await up.logged("listening"))[0]?.["metrics"]);
  const { code, stdout } = await runCtl(["status", "--address", address]);
  assertEquals(code, 0);
  assertMatch(stdout, /^serving +\S+ +main +16 /m);
  const metrics = await (await fetch(`http://${address}/metrics`)).text();
  assertMatch(metrics, /main.*serving.* 1$/m);
  const missing = await fetch(`http://${address}/`);
  assertEquals([missing.status, (await missing.text()).includes("/metrics")], [404, true]);
  const posted = await fetch(`http://${address}/status`, { method: "POST", body: "{}" });
  await posted.body?.cancel();
  assertEquals(posted.status, 405);
});

test("up --init writes a file that up --check accepts once the files that it names are there", async (rig) => {
  await Deno.remove(`${rig.path}/denclave-policy.yaml`);
  const env = {};
  const first = await runCtl(["up", "--init"], { cwd: rig.path, env });
  assertEquals([first.code, first.stderr], [0, ""]);
  const again = await runCtl(["up", "--init"], { cwd: rig.path, env });
  assertEquals([again.code, /not overwritten/.test(again.stderr)], [2, true]);
  const check = await runCtl(["up", "--check"], { cwd: rig.path, env });
  assertEquals([check.code, /denclave-policy\.yaml/.test(check.stderr)], [2, true]);
});

test("an enclave that hangs is ended and started again, after 15 s", async (rig) => {
  await using up = await serving(rig);
  const [pid] = rig.enclavePids();
  assert(pid !== undefined);
  Deno.kill(pid, "SIGSTOP");
  const begun = performance.now();
  const [restart] = await up.logged("restart");
  const seconds = (performance.now() - begun) / 1_000;
  assert(seconds >= 14 && seconds < 30, `${seconds} s`);
  assertMatch(String(restart?.["why"]), /has not answered for 15 s/);
  await up.logged("serving", 2);
  assert(rig.enclavePids()[0] !== pid);
});

test("many restarts take no memory and no descriptors with them", async (rig) => {
  await using up = await serving(rig);
  const used = async () => {
    const text = async (path: string) =>
      new TextDecoder().decode((await new Deno.Command("sh", { args: ["-c", path] }).output()).stdout);
    const rss = Number(/^VmRSS:\s+([0-9]+)/m.exec(await text(`cat /proc/${up.pid}/status`))?.[1]) / 1024;
    return { rss, descriptors: Number(await text(`ls /proc/${up.pid}/fd | wc -l`)) };
  };
  const rounds = count(200, 10);
  let before = await used();
  for (let round = 1; round <= rounds; round++) {
    Deno.kill(rig.enclavePids()[0] ?? 0, "SIGKILL");
    await up.logged("serving", round + 1);
    if (round === rounds / 10) before = await used();
  }
  const after = await used();
  console.log(
    `after ${rounds / 10} restarts ${JSON.stringify(before)}, after ${rounds} ${JSON.stringify(after)}`,
  );
  assert(after.descriptors <= before.descriptors + 3);
  assert(after.rss <= before.rss + 40);
});

Deno.test("a file in the place of the locked one is locked by renewing", async () => {
  await using folder = await Folder.make({ "denclave.yaml": "a" });
  const path = `${folder.path}/denclave.yaml`;
  const isLocked = async () => {
    const { code } = await new Deno.Command("flock", { args: ["--nonblock", path, "true"] }).output();
    return code === 1;
  };
  assertEquals(await isLocked(), false);
  {
    using lock = await FileLock.take(path);
    await lock.renew();
    assertEquals(await isLocked(), true);
    await Deno.remove(path);
    await Deno.writeTextFile(path, "b");
    assertEquals(await isLocked(), false);
    await lock.renew();
    assertEquals(await isLocked(), true);
  }
  assertEquals(await isLocked(), false);
});
