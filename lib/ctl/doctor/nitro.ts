/**
 * Checks of the parent instance: what is set aside for enclaves, nitro-cli, and the enclave that runs.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { parse as parseYaml } from "../config/deps/yaml.ts";
import { readEnclaves, type RunningEnclave } from "../nitro/cli.ts";
import { MIN_MEMORY_MIB, MIN_MEMORY_REASONS } from "../nitro/memory.ts";
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

const ALLOCATOR_CONFIG = "/etc/nitro_enclaves/allocator.yaml";
const ALLOCATOR_SERVICE = "nitro-enclaves-allocator.service";
const INSTALL = "Install it: sudo dnf install aws-nitro-enclaves-cli aws-nitro-enclaves-cli-devel.";
const RUN_ENCLAVE = "Start it: denclavectl up; nitro-cli describe-enclaves shows those that run.";

function number(input: unknown): number | undefined {
  return typeof input === "number" && Number.isFinite(input) ? input : undefined;
}

async function allocatorService(context: DoctorContext): Promise<Verdict> {
  const { stdout, stderr } = await context.world.run("systemctl", ["is-active", ALLOCATOR_SERVICE]);
  const state = firstLine(stdout);
  if (state === "") return skipped(`systemctl does not say: ${firstLine(stderr)}`);
  if (state === "active") return ok(`${ALLOCATOR_SERVICE} is active`);
  return fail(
    `${ALLOCATOR_SERVICE} is ${state}`,
    `sudo systemctl enable --now ${ALLOCATOR_SERVICE}; journalctl -u ${ALLOCATOR_SERVICE} says why it fails.`,
  );
}

interface Allocation {
  readonly memoryMib: number;
  readonly cpus: number;
}

/** Reads `2,3,6-9`. */
function poolSize(pool: string): number {
  return pool.split(",").reduce((sum, part) => {
    const [, from = "", to = from] = /^\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*$/.exec(part) ?? [];
    return from === "" ? Number.NaN : sum + Number(to) - Number(from) + 1;
  }, 0);
}

/** What allocator.yaml sets aside: one enclave's, or a list of several. @throws {Error} naming what is wrong. */
function readAllocation(text: string): Allocation {
  const input: unknown = parseYaml(text, { maxAliasCount: 0 });
  const items: readonly unknown[] = Array.isArray(input) ? input : [input];
  return items.map((item) => {
    const memoryMib = number(field(item, "memory_mib"));
    const [count, pool] = [field(item, "cpu_count"), field(item, "cpu_pool")];
    if (memoryMib === undefined) throw new Error("memory_mib is missing");
    if (count !== undefined && pool !== undefined) {
      throw new Error("cpu_count and cpu_pool exclude each other");
    }
    const cpus = pool === undefined ? number(count) : poolSize(String(pool));
    if (cpus === undefined || Number.isNaN(cpus)) throw new Error("cpu_count or cpu_pool is missing");
    return { memoryMib, cpus };
  }).reduce((sum, { memoryMib, cpus }) => ({
    memoryMib: sum.memoryMib + memoryMib,
    cpus: sum.cpus + cpus,
  }), { memoryMib: 0, cpus: 0 });
}

function allocation(context: DoctorContext): Promise<Allocation> {
  return context.once(
    "allocation",
    async () => readAllocation(await context.world.readText(ALLOCATOR_CONFIG)),
  );
}

async function allocatorConfig(context: DoctorContext): Promise<Verdict> {
  const { memoryMib: wantedMib, cpus: wantedCpus } = context.target;
  try {
    const { memoryMib, cpus } = await allocation(context);
    const seen = `${memoryMib} MiB and ${cpus} CPUs are set aside`;
    const remedy =
      `Set memory_mib: ${wantedMib} and cpu_count: ${wantedCpus} in ${ALLOCATOR_CONFIG}, then sudo systemctl restart ${ALLOCATOR_SERVICE}.`;
    if (memoryMib < MIN_MEMORY_MIB) {
      return fail(`${seen}; ${MIN_MEMORY_MIB} MiB are the least: ${MIN_MEMORY_REASONS.join("; ")}`, remedy);
    }
    if (memoryMib < wantedMib || cpus < wantedCpus) {
      return warn(`${seen}; ${wantedMib} MiB and ${wantedCpus} CPUs are wanted`, remedy);
    }
    return ok(seen);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) throw thrown;
    return fail(`${ALLOCATOR_CONFIG}: ${firstLine(messageOf(thrown))}`, "Correct the file; it is YAML.");
  }
}

async function hugepages(context: DoctorContext): Promise<Verdict> {
  const { stdout } = await context.world.run("grep", ["-s", "^Hugetlb:", "/proc/meminfo"]);
  const [, kib] = /^Hugetlb:\s*([0-9]{1,15}) kB$/m.exec(stdout) ?? [];
  if (kib === undefined) return skipped("the kernel does not say how many huge pages there are");
  const reserved = Math.floor(Number(kib) / 1024);
  const wanted = await allocation(context).then(({ memoryMib }) => memoryMib, () => undefined);
  const seen = `${reserved} MiB of huge pages`;
  if (reserved === 0 || (wanted !== undefined && reserved < wanted)) {
    return fail(
      wanted === undefined ? seen : `${seen}, of ${wanted} MiB that allocator.yaml asks for`,
      `sudo systemctl restart ${ALLOCATOR_SERVICE}; where memory is fragmented, after a reboot. The instance needs enough memory.`,
    );
  }
  return ok(seen);
}

async function nitroCli(context: DoctorContext): Promise<Verdict> {
  const { code, stdout, stderr } = await context.world.run("nitro-cli", ["--version"]);
  return code === 0
    ? ok(firstLine(stdout))
    : fail(`nitro-cli ended with ${code}: ${firstLine(stderr)}`, INSTALL);
}

function enclaves(context: DoctorContext): Promise<readonly RunningEnclave[]> {
  return context.once("enclaves", async () => {
    const { code, stdout, stderr } = await context.world.run("nitro-cli", ["describe-enclaves"]);
    if (code !== 0) throw new Error(`nitro-cli describe-enclaves ended with ${code}: ${firstLine(stderr)}`);
    return readEnclaves(stdout);
  });
}

/** How many enclaves run; undefined if unknown. */
export function enclaveCount(context: DoctorContext): Promise<number | undefined> {
  return enclaves(context).then(({ length }) => length, () => undefined);
}

function cidOf({ target: { address } }: DoctorContext): number | undefined {
  return address.transport === "vsock" ? address.cid : undefined;
}

/** The target enclave; undefined when it does not run or cannot be determined. */
export async function targetEnclave(context: DoctorContext): Promise<RunningEnclave | undefined> {
  const all = await enclaves(context).catch(() => []);
  return all.find(({ cid }) => cid === cidOf(context));
}

async function enclave(context: DoctorContext): Promise<Verdict> {
  let all: readonly RunningEnclave[];
  try {
    all = await enclaves(context);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) throw thrown;
    return failedBy(
      thrown,
      "Run nitro-cli describe-enclaves: the user must be in the group ne, and the instance launched with enclave support.",
    );
  }
  if (all.length === 0) return fail("no enclave runs", RUN_ENCLAVE);
  const found = await targetEnclave(context);
  if (found === undefined) {
    const others = all.map(({ name, cid }) => `${name} has ${cid}`).join(", ");
    return fail(
      `no enclave has CID ${cidOf(context)}: ${others}`,
      "Give the enclave's CID (--cid), or start it with this one.",
    );
  }
  const seen = `${found.name}, CID ${found.cid}, ${found.memoryMib ?? "?"} MiB, ${found.cpus ?? "?"} CPUs`;
  return found.state === "RUNNING" ? ok(seen) : fail(
    `${seen}: its state is ${found.state}`,
    "nitro-cli console says why, for an enclave in debug mode; then terminate it and start it again.",
  );
}

async function debugMode(context: DoctorContext): Promise<Verdict> {
  const found = await targetEnclave(context);
  if (found === undefined) return skipped("no such enclave runs");
  if (found.isDebug === undefined) return skipped("nitro-cli does not say");
  if (!found.isDebug) return ok("off");
  return fail(
    "the enclave is in debug mode: its PCRs are zeros, which no key policy may allow, and the parent can read its console",
    "Terminate it and start it without --debug-mode.",
  );
}

/** In the order in which a person would look. */
export const NITRO_CHECKS: readonly Check[] = Object.entries({
  "allocator-service": ifThere(allocatorService, skipped("there is no systemctl here")),
  "allocator-config": ifThere(allocatorConfig, fail(`there is no ${ALLOCATOR_CONFIG}`, INSTALL)),
  hugepages,
  "nitro-cli": ifThere(nitroCli, fail("there is no nitro-cli here", INSTALL)),
  enclave: ifThere(enclave, skipped("there is no nitro-cli here")),
  "debug-mode": debugMode,
}).map(([id, look]) => ({ id, look: ofEnclave(look, "its address is not vsock") }));
