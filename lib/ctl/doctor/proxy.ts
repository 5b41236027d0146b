/**
 * Checks of the way from the enclave to KMS: the service's own port, and the vsock-proxy that the enclave's connections go through.
 *
 * @module
 */
import { kmsHost, partitionOf } from "../../shared/aws/partitions.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { formatAddress } from "../../shared/wire/address.ts";
import { parse as parseYaml } from "../config/deps/yaml.ts";
import {
  type Check,
  type DoctorContext,
  fail,
  failedBy,
  firstLine,
  ifThere,
  ofEnclave,
  ok,
  skipped,
  type Verdict,
  warn,
} from "./check.ts";
import { enclaveCount } from "./nitro.ts";

/** A vsock-proxy that runs. */
interface RunningProxy {
  readonly port: number;
  readonly host: string;
  readonly remotePort: number;
  readonly workers: number;
  readonly config: string;
}

const DEFAULT_CONFIG = "/etc/nitro_enclaves/vsock-proxy.yaml";
/** Without `-w`. */
const DEFAULT_WORKERS = 4;
const MAX_ALLOWED = 10_000;

/** The region of the requests, as far as it is known. */
export function regionOfTarget({ target }: DoctorContext): string | undefined {
  return target.key?.region ?? target.region;
}

function startProxy({ target }: DoctorContext, region: string | undefined): string {
  const host = kmsHost(region ?? "<region>");
  return `Start it: denclavectl up does, with proxy in denclave.yaml; by hand vsock-proxy ${target.proxyPort} ${host} ` +
    "443, or sudo systemctl enable --now nitro-enclaves-vsock-proxy.service.";
}

/** Reads the arguments of a vsock-proxy; undefined when the process is none, or its arguments are not understood. */
export function readProxy(argv: readonly string[]): RunningProxy | undefined {
  const [program = "", ...rest] = argv;
  if (program.split("/").at(-1) !== "vsock-proxy") return undefined;
  const positionals: string[] = [];
  let workers = String(DEFAULT_WORKERS);
  let config = DEFAULT_CONFIG;
  for (let at = 0; at < rest.length; at++) {
    const argument = rest[at] ?? "";
    const [name = "", inline] = argument.startsWith("--") ? argument.split(/=(.*)/s) : [argument];
    const value = () => inline ?? rest[++at] ?? "";
    if (name === "--num_workers" || name === "-w") workers = value();
    else if (/^-w.+/.test(name)) workers = name.slice(2).replace(/^=/, "");
    else if (name === "--config") config = value();
    else if (!name.startsWith("-")) positionals.push(argument);
  }
  const [port, host, remotePort] = positionals;
  if (port === undefined || host === undefined || remotePort === undefined) return undefined;
  return {
    port: Number(port),
    host,
    remotePort: Number(remotePort),
    workers: Number(workers),
    config,
  };
}

function proxies(context: DoctorContext): Promise<readonly RunningProxy[]> {
  return context.once("proxies", async () => {
    const { stdout } = await context.world.run("ps", ["-ww", "-eo", "args="]);
    return stdout.split("\n").flatMap((line) => readProxy(line.trim().split(/\s+/)) ?? []);
  });
}

/** The vsock-proxy on the port that the enclave connects to. */
async function proxyOnPort(context: DoctorContext): Promise<RunningProxy | undefined> {
  return (await proxies(context)).find(({ port }) => port === context.target.proxyPort);
}

async function service(context: DoctorContext): Promise<Verdict> {
  const { world, target: { address } } = context;
  const where = formatAddress(address);
  try {
    const health = await world.askHealth(address);
    const version = typeof health["version"] === "string" ? ` ${health["version"].slice(0, 32)}` : "";
    const seen = `${where} answers: denclave${version}, ${
      health["configured"] === true ? "configured" : "not configured"
    }`;
    const given: unknown = health["warnings"];
    const warnings: readonly unknown[] = Array.isArray(given) ? given : [];
    if (warnings.length > 0) {
      return warn(
        `${seen}; it warns: ${warnings.map((text) => String(text).slice(0, 200)).slice(0, 5).join("; ")}`,
        "Review each warning: docs/security.md.",
      );
    }
    return ok(seen);
  } catch (thrown) {
    const code = thrown instanceof EnclaveError ? thrown.code : "";
    return failedBy(
      thrown,
      code === "connect_failed"
        ? "Check CID and port: nitro-cli describe-enclaves, and the port that the image listens on."
        : "Another program listens there, or the service hangs: check its logs.",
    );
  }
}

async function proxyRuns(context: DoctorContext): Promise<Verdict> {
  const { proxyPort } = context.target;
  const all = await proxies(context);
  const region = regionOfTarget(context);
  if (all.length === 0) {
    return fail("no vsock-proxy runs: the enclave cannot reach KMS", startProxy(context, region));
  }
  const found = all.find(({ port }) => port === proxyPort);
  if (found !== undefined) return ok(`port ${found.port} leads to ${found.host}:${found.remotePort}`);
  return fail(
    `vsock-proxy runs on ${
      all.map(({ port }) => `port ${port}`).join(", ")
    }; the enclave connects to ${proxyPort}`,
    startProxy(context, region),
  );
}

async function proxyListens(context: DoctorContext): Promise<Verdict> {
  const { proxyPort } = context.target;
  const { code, stdout, stderr } = await context.world.run("ss", ["--vsock", "--listening", "--numeric"]);
  if (code !== 0) return skipped(`ss cannot list vsock's listeners: ${firstLine(stderr)}`);
  const listens = stdout.split("\n").some((line) =>
    line.split(/\s+/).some((cell) => /^(?:\*|[0-9]+):([0-9]+)$/.exec(cell)?.[1] === String(proxyPort))
  );
  return listens ? ok(`something listens on vsock port ${proxyPort}`) : fail(
    `nothing listens on vsock port ${proxyPort}`,
    startProxy(context, regionOfTarget(context)),
  );
}

/**
 * Whether a host is a VPC endpoint of KMS: `vpce-<id>.kms.<region>.vpce.<suffix>`, where the zone's name may
 * follow the id.
 */
function isVpcEndpoint(host: string, region: string): boolean {
  const [endpoint = "", service, ...rest] = host.split(".");
  return /^vpce-[0-9a-z-]+$/.test(endpoint) && (service === "kms" || service === "kms-fips") &&
    rest.join(".") === `${region}.vpce.${partitionOf(region).suffix}`;
}

async function proxyRegion(context: DoctorContext): Promise<Verdict> {
  const region = regionOfTarget(context);
  const proxy = await proxyOnPort(context);
  if (proxy === undefined) return skipped("no such vsock-proxy runs");
  if (region === undefined) return skipped("no key and no region is given");
  const wanted = kmsHost(region);
  const fips = wanted.replace(/^kms\./, "kms-fips.");
  if ([wanted, fips].includes(proxy.host) && proxy.remotePort === 443) {
    return ok(`${proxy.host} is of the key's region`);
  }
  if (isVpcEndpoint(proxy.host, region) && proxy.remotePort === 443) {
    return warn(
      `vsock-proxy leads to ${proxy.host}, a VPC endpoint in the key's region`,
      "Check that it is an endpoint of this VPC and that its policy allows the key. " +
        `With private DNS, ${wanted} leads to it as well.`,
    );
  }
  return fail(
    `vsock-proxy leads to ${proxy.host}:${proxy.remotePort}, and the key is at ${wanted}:443`,
    `Stop it, and ${startProxy(context, region).replace("Start it", "start it again")}`,
  );
}

async function proxyAllowList(context: DoctorContext): Promise<Verdict> {
  const region = regionOfTarget(context);
  const proxy = await proxyOnPort(context);
  const file = proxy?.config ?? DEFAULT_CONFIG;
  const host = proxy?.host ??
    (region === undefined ? undefined : kmsHost(region));
  if (host === undefined) return skipped("no key and no region is given");
  let text: string;
  try {
    text = await context.world.readText(file);
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    return fail(
      `there is no ${file}: vsock-proxy refuses everything without it`,
      `Write it:\nallowlist:\n- {address: ${host}, port: 443}`,
    );
  }
  let given: unknown;
  try {
    given = field(parseYaml(text, { maxAliasCount: 0 }), "allowlist");
  } catch (thrown) {
    return fail(`${file}: ${firstLine(messageOf(thrown))}`, "Correct the file; it is YAML.");
  }
  if (!Array.isArray(given)) return fail(`${file} has no allowlist`, `Add - {address: ${host}, port: 443}.`);
  const entries: readonly unknown[] = given.slice(0, MAX_ALLOWED);
  const isListed = entries.some((entry) => field(entry, "address") === host && field(entry, "port") === 443);
  return isListed ? ok(`${file} allows ${host}:443`) : fail(
    `${file} does not allow ${host}:443`,
    `Add to its allowlist: - {address: ${host}, port: 443}; then restart vsock-proxy.`,
  );
}

async function proxyWorkers(context: DoctorContext): Promise<Verdict> {
  const proxy = await proxyOnPort(context);
  if (proxy === undefined) return skipped("no such vsock-proxy runs");
  const enclaves = await enclaveCount(context) ?? 1;
  const seen = `${proxy.workers} connections at once`;
  // A session keeps a warm connection, and opens another while it changes credentials.
  if (proxy.workers >= 2 * Math.max(1, enclaves)) return ok(seen);
  return warn(
    `${seen}, for ${enclaves} ${
      enclaves === 1 ? "enclave" : "enclaves"
    } that may want two each: further ones wait without an error`,
    `Start vsock-proxy with --num_workers ${Math.max(DEFAULT_WORKERS, 2 * enclaves)}.`,
  );
}

/** In the order in which a person would look. */
export const PROXY_CHECKS: readonly Check[] = [
  { id: "service", look: service },
  ...Object.entries({
    "vsock-proxy": proxyRuns,
    "vsock-proxy-port": ifThere(proxyListens, skipped("there is no ss here")),
    "vsock-proxy-region": proxyRegion,
    "vsock-proxy-allow-list": proxyAllowList,
    "vsock-proxy-workers": proxyWorkers,
  }).map(([id, look]) => ({ id, look: ofEnclave(look, "it needs no vsock-proxy") })),
];
