/**
 * AWS's `nitro-cli`: starts, lists and ends enclaves, and explains its error codes.
 *
 * Permission: to run `nitro-cli`.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { runToEnd } from "../terminal/run_program.ts";

/** An enclave as `nitro-cli describe-enclaves` prints it. */
export interface RunningEnclave {
  readonly name: string;
  /** Empty when nitro-cli does not say. */
  readonly id: string;
  readonly cid: number;
  readonly state: string;
  /** Undefined when nitro-cli does not say. */
  readonly isDebug: boolean | undefined;
  readonly memoryMib: number | undefined;
  readonly cpus: number | undefined;
  /** The JSON's `Measurements`, as it came; nitro-cli prints them since 1.2. */
  readonly measurements: unknown;
  /** Lower case; undefined when nitro-cli does not say. */
  readonly pcr0: string | undefined;
}

/** What an enclave is started with. */
export interface EnclaveStart {
  readonly name: string;
  /** Path of the EIF. */
  readonly image: string;
  readonly cpus: number;
  readonly memoryMib: number;
  /** Undefined: nitro-cli chooses one. */
  readonly cid: number | undefined;
}

/** What `up` asks of nitro-cli. */
export interface NitroCli {
  /** @throws {NitroCliError} */
  readonly run: (start: EnclaveStart) => Promise<Pick<RunningEnclave, "id" | "cid">>;
  /** @throws {NitroCliError} */
  readonly list: () => Promise<readonly RunningEnclave[]>;
  /** @throws {NitroCliError} */
  readonly terminate: (id: string) => Promise<void>;
}

/** nitro-cli failed; the code is its own, such as `E26`, or `nitro_cli_failed`. */
export class NitroCliError extends EnclaveError {
  override name = "NitroCliError";
}

const MAX_ENCLAVES = 64;
/** Loading a large image into memory takes long. */
const RUN_MS = 120_000;
const LIST_MS = 10_000;
const TERMINATE_MS = 30_000;

/** The codes that starting an enclave meets in practice, and what to do. The others: `nitro-cli explain`. */
const CODES: Readonly<Record<string, string>> = {
  E15: "Another nitro-cli holds its lock: end the one that hangs.",
  E18: "The user must be in the group ne, and must be able to read the image.",
  E19:
    "Check that the image exists, and that the instance was launched with enclave support (/dev/nitro_enclaves).",
  E20: "Give an even number of CPUs, at least 2, where cores have two threads.",
  E21: "allocator.yaml sets aside other CPUs than the ones that are asked for.",
  E22:
    "Fewer CPUs are set aside than the enclave needs: raise cpu_count in allocator.yaml, or end another enclave.",
  E26: "The enclave needs at least four times the image's size: raise memory.",
  E27:
    "Less memory is set aside than the enclave needs: raise memory_mib in allocator.yaml, or end another enclave.",
  E29:
    "The kernel refused: the instance must be launched with enclave support; another enclave may have the CID.",
  E33: "The kernel did not start the enclave: another enclave may have the CID.",
  E35: "The image is damaged: build or copy it again.",
  E36:
    "The image did not boot. Start it by hand with --debug-mode, without keys, and read nitro-cli console.",
  E37:
    "The image did not boot in time. Give it more memory, or start it by hand with --debug-mode, without keys.",
  E39: "nitro-cli could not reach the enclave's process, which may have ended; check that the image starts.",
};

/** The error of a nitro-cli that failed, with its code explained. */
function failure(command: string, code: number, stderr: string): NitroCliError {
  const [, named] = /\b(E[0-9]{2})\b/.exec(stderr) ?? [];
  const words = stderr.trim().split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const shown = words.find((line) => named !== undefined && line.includes(named)) ?? words.at(-1) ?? "";
  return new NitroCliError(`nitro-cli ${command} ended with ${code}: ${shown.slice(0, 300)}`, {
    code: named ?? "nitro_cli_failed",
    hint: named === undefined
      ? "Run the command by hand to see all that it prints."
      : CODES[named] ?? `nitro-cli explain --error-code ${named} says what it means.`,
  });
}

/** The JSON in what nitro-cli printed: some versions print lines before it. */
function jsonIn(text: string, opening: "{" | "["): unknown {
  const start = text.indexOf(opening);
  return JSON.parse(start < 0 ? text : text.slice(start));
}

function number(input: unknown): number | undefined {
  return typeof input === "number" && Number.isFinite(input) ? input : undefined;
}

/** By its flags, or by PCRs that are zeros. */
function debugOf(item: unknown, pcr0: string | undefined): boolean | undefined {
  if (pcr0 !== undefined && /^0+$/.test(pcr0)) return true;
  const flags = field(item, "Flags");
  return typeof flags === "string" ? flags.includes("DEBUG_MODE") : undefined;
}

/** Reads what `nitro-cli describe-enclaves` prints. @throws {Error} when it is not that. */
export function readEnclaves(json: string): readonly RunningEnclave[] {
  const input = jsonIn(json, "[");
  if (!Array.isArray(input)) throw new Error("nitro-cli describe-enclaves printed no list");
  const items: readonly unknown[] = input.slice(0, MAX_ENCLAVES);
  return items.map((item) => {
    const cid = number(field(item, "EnclaveCID"));
    if (cid === undefined) {
      throw new Error("nitro-cli describe-enclaves printed an enclave without EnclaveCID");
    }
    const id = field(item, "EnclaveID");
    const measured = field(field(item, "Measurements"), "PCR0");
    const pcr0 = typeof measured === "string" ? measured.toLowerCase() : undefined;
    return {
      name: String(field(item, "EnclaveName") ?? id ?? "unnamed").slice(0, 128),
      id: typeof id === "string" ? id : "",
      cid,
      state: String(field(item, "State")).slice(0, 32),
      isDebug: debugOf(item, pcr0),
      memoryMib: number(field(item, "MemoryMiB")),
      cpus: number(field(item, "NumberOfCPUs")),
      measurements: field(item, "Measurements") === undefined ? undefined : item,
      pcr0,
    };
  });
}

async function nitroCli(command: string, args: readonly string[], timeoutMs: number): Promise<string> {
  let result;
  try {
    result = await runToEnd("nitro-cli", [command, ...args], timeoutMs);
  } catch (thrown) {
    throw new NitroCliError(`Cannot run nitro-cli ${command}: ${messageOf(thrown)}`, {
      code: "nitro_cli_failed",
      hint: thrown instanceof Deno.errors.NotFound
        ? "Install it: sudo dnf install aws-nitro-enclaves-cli."
        : "Run the command by hand to see all that it prints.",
      cause: thrown,
    });
  }
  if (result.code !== 0) throw failure(command, result.code, result.stderr || result.stdout);
  return result.stdout;
}

/** The nitro-cli of PATH. There is no debug mode: such an enclave has zeros for PCRs, and gets no key. */
export const NITRO_CLI: NitroCli = {
  run: async ({ name, image, cpus, memoryMib, cid }) => {
    const printed = await nitroCli("run-enclave", [
      ...["--eif-path", image, "--cpu-count", String(cpus), "--memory", String(memoryMib)],
      ...["--enclave-name", name],
      ...(cid === undefined ? [] : ["--enclave-cid", String(cid)]),
    ], RUN_MS);
    const started = jsonIn(printed, "{");
    const [id, used] = [field(started, "EnclaveID"), number(field(started, "EnclaveCID"))];
    if (typeof id === "string" && used !== undefined) return { id, cid: used };
    throw new NitroCliError("nitro-cli run-enclave printed no EnclaveID and EnclaveCID", {
      code: "nitro_cli_failed",
    });
  },
  list: async () => readEnclaves(await nitroCli("describe-enclaves", [], LIST_MS)),
  terminate: async (id) => void await nitroCli("terminate-enclave", ["--enclave-id", id], TERMINATE_MS),
};
