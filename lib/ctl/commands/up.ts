/**
 * `denclavectl up`: keeps enclaves running and configured.
 *
 * @module
 */
import { resolve } from "node:path";
import { EXIT, type Options } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { JsonObject } from "../../shared/json.ts";
import type { Command } from "../terminal/command.ts";
import { awsCredentials } from "../terminal/io.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { FIRST_CONFIG } from "../up/config.ts";
import { followLogs } from "../up/follow_logs.ts";
import { openLink, openLogSource } from "../up/link.ts";
import { FileLock } from "../up/lock.ts";
import { prometheusText } from "../up/metrics.ts";
import { NITRO_CLI } from "../nitro/cli.ts";
import { systemdNotifier } from "../up/notify.ts";
import { readPlan, type UpPlan } from "../up/plan.ts";
import { isProxyThere, ProxyKeeper, spawnProxy } from "../up/proxy.ts";
import { jsonLog, Up, type UpPorts } from "../up/up.ts";

/** `up` */
export const UP: Command = {
  path: "up",
  summary: "run the enclaves of denclave.yaml, and keep them running and configured",
  usage: ["[FILE] [--keep]", "--init | --check [FILE]"],
  about:
    `Starts the vsock-proxy and the enclaves that denclave.yaml or FILE names, verifies each enclave's attestation document,
sends it its keys with the credentials of AWS's provider chain, and starts and configures it again when it
has ended. Runs until SIGTERM or SIGINT, then ends the enclaves; SIGHUP has it read the file again. Writes
JSON lines on stdout: what it does, and the events of the enclaves.
http://127.0.0.1:9464 has /metrics, /healthz, /livez and /status (denclavectl status).`,
  options: [
    { name: "init", help: "write the file with every field explained, unless it exists, and end" },
    { name: "check", help: "check the file and all files that it names, and end" },
    { name: "keep", help: "leave the enclaves running at the end; the next up takes them over" },
  ],
  positionals: 1,
  run,
};

const DEFAULT_FILE = "denclave.yaml";

/** Writes the first file. @throws {EnclaveError} `usage` */
async function init(file: string, io: CtlIo): Promise<number> {
  try {
    await Deno.writeTextFile(file, FIRST_CONFIG, { createNew: true });
  } catch (thrown) {
    throw new EnclaveError(`Cannot write ${file}: ${messageOf(thrown)}`, {
      code: "usage",
      hint: thrown instanceof Deno.errors.AlreadyExists
        ? "An existing file is not overwritten: name another."
        : "Name a file in an existing folder that you may write to.",
      cause: thrown,
    });
  }
  io.stdout(`${file} is written: adapt it, then denclavectl up --check, then denclavectl up\n`);
  return EXIT.ok;
}

/** Resolves after a time, or when the signal is aborted. */
function after(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve: end } = Promise.withResolvers<void>();
  if (signal.aborted) return Promise.resolve();
  const timer = setTimeout(end, ms);
  const aborted = () => end();
  signal.addEventListener("abort", aborted, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", aborted);
  });
}

/** What `up` touches. */
function openPorts(plan: UpPlan, io: CtlIo): UpPorts {
  const { log, put } = jsonLog((line) => io.stdout(line), () => new Date());
  const credentials = awsCredentials(plan.region, io);
  const now = () => performance.now();
  return {
    nitro: NITRO_CLI,
    open: ({ verify, keyArn, config: { limits: { requestMs } } }) => (address, enclave) =>
      openLink(address, enclave, { verify, credentials, keyArn, requestMs }),
    follow: ({ verify }) => (address, enclave, onLost) => {
      const { name } = enclave.enclave;
      return followLogs({
        connect: () => openLogSource(address, enclave, { verify }),
        write: (event: JsonObject, bootId) => put({ ...event, enclave: name, boot_id: bootId }),
        log: (level, event, fields) => log(level, event, { enclave: name, ...fields }),
        onLost,
        after,
      });
    },
    keepProxy: (proxy, changed) =>
      new ProxyKeeper(proxy, { isThere: isProxyThere, spawn: spawnProxy, log, after, now, changed }),
    prometheusText,
    credentialsSince: () => credentials.since,
    notify: systemdNotifier({ socket: io.env("NOTIFY_SOCKET"), log }),
    log,
    after,
    now,
    wallClock: () => Date.now(),
  };
}

async function run(options: Options, io: CtlIo): Promise<number> {
  const file = resolve(options.positionals[0] ?? DEFAULT_FILE);
  if (options.on("init")) return await init(file, io);
  const plan = await readPlan(file);
  if (options.on("check")) {
    io.stdout(`${file} can be used: ${plan.enclaves.map(({ enclave }) => enclave.name).join(", ")}\n`);
    for (const warning of plan.warnings) io.stderr(`Warning: ${warning}\n`);
    return EXIT.ok;
  }
  using lock = await FileLock.take(file);
  const ended = io.untilSignal();
  const ports = openPorts(plan, io);
  const up = new Up(plan, ports);
  try {
    await up.start();
  } catch (thrown) {
    await up.stop({ keep: true });
    throw thrown;
  }
  let reloading = Promise.resolve();
  io.onReload?.(() => {
    reloading = reloading.then(async () => {
      const next = await readPlan(file);
      await lock.renew();
      await up.reload(next);
    }).catch((thrown) => ports.log("error", "reload_failed", { message: messageOf(thrown) }));
  });
  ports.log("info", "ending", { signal: await ended });
  await reloading;
  await up.stop({ keep: options.on("keep") });
  return EXIT.ok;
}
