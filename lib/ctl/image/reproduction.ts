/**
 * Makes an image again from its commit and its inputs, and compares. Runs git and Deno, and only reads the given clone: the commit is
 * checked out into a separate folder.
 *
 * @module
 */
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import {
  ARCHITECTURES,
  buildEif,
  type BuildInput,
  CA_BUNDLE_PATH,
  COMPRESSIONS,
  EifError,
  parseProgramRecord,
  type ProgramRecord,
} from "../eif/mod.ts";
import type { BuildSettings } from "../eif/settings.ts";
import { addedFiles, blobsOf, readSmall } from "./plan.ts";
import { selectCertificates } from "./trust_store.ts";

const GIT_MS = 300_000;
const COMPILE_MS = 900_000;

/** What is compared. */
export interface Comparison {
  /** An input's role, `program`, `bundle`, `image`, or where a measurement comes from. */
  readonly name: string;
  /** Undefined where both are the same. */
  readonly difference: string | undefined;
}

/** PCRs by name. */
export type Measurements = Readonly<Record<string, string>>;
/** The parts of a provenance that are read. */
export type Provenance = ReturnType<typeof parseProvenance>;

/** The value at a path of names, such as `metadata.ImageName`; undefined where there is none. */
function at(value: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>(field, value);
}

function textAt(value: unknown, path: string): string {
  const text = at(value, path);
  if (typeof text === "string") return text;
  throw new EifError("eif_input", `The provenance has no ${path}`, {
    hint: "Give the .provenance.json that denclavectl eif build wrote beside the image.",
  });
}

function textsAt(value: unknown, path: string): Record<string, string> {
  return Object.fromEntries(
    Object.keys(at(value, path) ?? {}).map((name) => [name, textAt(at(value, path), name)]),
  );
}

function sourceOf(value: unknown): ProgramRecord & { readonly git_commit: string } {
  const program = parseProgramRecord(value);
  if (program === undefined) {
    throw new EifError("eif_input", "The provenance does not say what the program was made from", {
      hint:
        "deno task compile writes <binary>.build.json beside the binary: keep it there when the image is built.",
    });
  }
  const { git_commit } = program;
  if (git_commit !== null && program.dirty === false) return { ...program, git_commit };
  throw new EifError(
    "eif_input",
    git_commit === null
      ? "The program was compiled outside a git repository, so its source is not known"
      : `The program was compiled from uncommitted changes to ${git_commit}: they cannot be reproduced`,
    { hint: "Commit everything, compile and build again." },
  );
}

/**
 * Reads a provenance.
 *
 * @throws {EifError} `eif_input` that names what is missing, or why the image cannot be reproduced.
 */
export function parseProvenance(text: string) {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw new EifError("eif_input", `The provenance is not JSON: ${messageOf(thrown)}`, { cause: thrown });
  }
  const architecture = ARCHITECTURES.find((name) => name === at(value, "image.architecture"));
  const [time, inputs, cmd] = ["source_date_epoch", "inputs", "cmd"].map((name) => at(value, name));
  if (architecture === undefined || typeof time !== "number" || !Array.isArray(inputs)) {
    throw new EifError("eif_input", "The provenance lacks an architecture, a time or inputs");
  }
  if (!Array.isArray(cmd)) {
    throw new EifError("eif_input", "The image was made from ramdisks: there is no program to compile");
  }
  return {
    sha256: textAt(value, "image.sha256"),
    architecture,
    measurements: textsAt(value, "measurements"),
    program: sourceOf(at(value, "program")),
    time,
    compression: COMPRESSIONS.find((name) => name === at(value, "compression")),
    commandLine: textAt(value, "cmdline"),
    command: cmd.map(String),
    environment: textsAt(value, "env"),
    name: textAt(value, "metadata.ImageName"),
    version: textAt(value, "metadata.ImageVersion"),
    kernel: {
      operatingSystem: textAt(value, "metadata.BuildMetadata.OperatingSystem"),
      kernelVersion: textAt(value, "metadata.BuildMetadata.KernelVersion"),
    },
    inputs: inputs.map((input: unknown) => ({
      role: textAt(input, "role"),
      sha256: textAt(input, "sha256"),
      bytes: Number(at(input, "bytes")),
    })),
  };
}

/** Compares the inputs of two builds, by their roles. */
export function compareInputs(
  recorded: Provenance["inputs"],
  here: readonly BuildInput[],
): readonly Comparison[] {
  const compared = recorded.map(({ role, bytes, sha256 }): Comparison => {
    const input = here.find((other) => other.role === role);
    if (input === undefined) return { name: role, difference: "recorded, but not among the inputs here" };
    const file = input.file === undefined ? "" : ` (${input.file})`;
    return compare(
      role,
      { sha256, bytes: ` ${bytes} bytes,` },
      { sha256: input.sha256, bytes: ` ${input.bytes} bytes,` },
      file,
    );
  });
  const more = here.filter(({ role }) => !recorded.some((other) => other.role === role));
  return [
    ...compared,
    ...more.map(({ role }) => ({ name: role, difference: "among the inputs here, but not recorded" })),
  ];
}

/** Compares two hashes. */
export function compare(
  name: string,
  recorded: { readonly sha256: string; readonly bytes?: string },
  here: { readonly sha256: string; readonly bytes?: string },
  why = "",
): Comparison {
  const words = ({ sha256, bytes = "" }: typeof here) => `${bytes} SHA-256 ${sha256}`;
  const isSame = recorded.sha256 === here.sha256;
  return { name, difference: isSame ? undefined : `recorded${words(recorded)}; here${words(here)}${why}` };
}

/** Compares PCR 0 to 2. PCR 8 depends on the signer. */
export function comparePcrs(name: string, theirs: Measurements, here: Measurements): readonly Comparison[] {
  return ["PCR0", "PCR1", "PCR2"].flatMap((pcr) => {
    const wanted = theirs[pcr]?.toLowerCase();
    if (wanted === undefined) return [];
    return [{
      name: `${pcr} of ${name}`,
      difference: wanted === here[pcr] ? undefined : `${wanted}; here ${here[pcr] ?? "none"}`,
    }];
  });
}

/** A program on PATH, run to its end. @throws {EnclaveError} `program_missing`, `reproduce_failed`. */
async function runProgram(
  program: "git" | "deno",
  args: readonly string[],
  { what, timeoutMs, cwd }: { readonly what: string; readonly timeoutMs: number; readonly cwd?: string },
): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, {
      args: [...args],
      ...(cwd === undefined ? {} : { cwd }),
      stdin: "null",
      signal: AbortSignal.timeout(timeoutMs),
    }).output();
  } catch (thrown) {
    throw new EnclaveError(`Cannot run ${program}: ${messageOf(thrown)}`, {
      code: "program_missing",
      hint: program === "deno"
        ? "Reproducing compiles the program, which needs Deno on PATH: install it (deno.com), or npm install -g deno."
        : "Install git, and put it on PATH.",
      cause: thrown,
    });
  }
  const decoder = new TextDecoder();
  if (output.success) return decoder.decode(output.stdout);
  throw new EnclaveError(
    `${what} failed: ${decoder.decode(output.stderr).trim().split("\n").slice(-5).join(" ")}`,
    { code: "reproduce_failed", hint: `The command was: ${program} ${args.join(" ")}` },
  );
}

/** Checks out the commit's files into a separate folder. */
export async function checkOut(source: string, commit: string, folder: string): Promise<void> {
  // The user's git settings must not change the files, and no hook or filter of the clone may run.
  const settings = ["core.autocrlf=false", "core.hooksPath=/dev/null", "advice.detachedHead=false"]
    .flatMap((setting) => ["-c", setting]);
  await runProgram("git", [
    ...settings,
    ...["clone", "--quiet", "--no-checkout", "--no-hardlinks", "--", source, folder],
  ], { what: `Cloning ${source}`, timeoutMs: GIT_MS });
  await runProgram("git", ["-C", folder, ...settings, "checkout", "--quiet", "--detach", commit], {
    what: `Checking out commit ${commit} (is it in ${source}? git fetch there)`,
    timeoutMs: GIT_MS,
  });
}

/** Compiles the commit as the record says. @returns what was made, by its own record */
export async function compile(program: ProgramRecord, clone: string, binary: string): Promise<ProgramRecord> {
  const options = Object.entries(program.options).flatMap(([name, value]) =>
    (typeof value === "string" ? [value] : value).map((text) => `--${name}=${text}`)
  );
  const permissions = ["--allow-run", "--allow-read", "--allow-write", "--allow-env"];
  await runProgram("deno", [
    ...["run", "--quiet", "--no-prompt", ...permissions, "scripts/compile.ts", "--output", binary],
    ...options,
  ], { what: "Compiling", timeoutMs: COMPILE_MS, cwd: clone });
  const made = parseProgramRecord(JSON.parse(await Deno.readTextFile(`${binary}.build.json`)));
  if (made !== undefined) return made;
  throw new EnclaveError("The commit's compile task wrote no record of what it made", {
    code: "reproduce_failed",
  });
}

/** Checks the version of Deno on PATH. @throws {EnclaveError} `program_missing` */
export async function requireDeno(version: string): Promise<void> {
  const printed = await runProgram("deno", ["--version"], {
    what: "Asking Deno for its version",
    timeoutMs: GIT_MS,
  });
  const [, here = "?"] = /^deno (\S+)/.exec(printed) ?? [];
  if (here === version) return;
  throw new EnclaveError(`The program was compiled by Deno ${version}, and Deno on PATH is ${here}`, {
    code: "program_missing",
    hint:
      `Put Deno ${version} on PATH: another version makes another binary. npm install deno@${version} has it.`,
  });
}

/** Compares two programs, and the JavaScript within them. */
export function compareProgram(recorded: ProgramRecord, here: ProgramRecord): readonly Comparison[] {
  const bundles = [{ sha256: recorded.bundle_sha256 }, { sha256: here.bundle_sha256 }] as const;
  const bundle = compare("bundle", ...bundles, ": the source, a package or the bundler differs");
  const why = bundle.difference === undefined
    ? ": the JavaScript is the same, so Deno's base binary (denort) or a compile option differs"
    : "";
  return [bundle, compare("program", recorded, here, why)];
}

async function readBundle(path: string, recorded: Provenance): Promise<Uint8Array<ArrayBuffer>> {
  const whole = await readSmall(path);
  const wanted = recorded.inputs.find(({ role }) => role === CA_BUNDLE_PATH)?.sha256;
  // The image has either all of the bundle or those of KMS: the hash says which.
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", whole)).toHex();
  return digest === wanted
    ? whole
    : new TextEncoder().encode(selectCertificates(new TextDecoder().decode(whole)));
}

/** Builds the image of a program from what was recorded and the inputs that the settings name. */
export async function buildAgain(
  recorded: Provenance,
  settings: BuildSettings,
  binary: string,
  output: string,
) {
  const installDir = String(recorded.program.options["install-dir"] ?? "/app");
  const { lib_dir: libDir, ca_bundle: bundle } = settings;
  // In the order in which they are opened. Their own dependencies are found from them.
  const libraries = Object.values(LIBRARY_FILES)
    .filter((name) => recorded.inputs.some(({ role }) => role === `${installDir}/${name}`))
    .flatMap((name) => libDir === undefined ? [] : [`${libDir}/${name}`]);
  const blobs = blobsOf({
    ...settings,
    kernel_has_nsm: !recorded.inputs.some(({ role }) => role === "nsm.ko"),
  });
  return await buildEif({
    output,
    kernel: async (architecture) => ({ ...await blobs.kernel(architecture), ...recorded.kernel }),
    commandLine: recorded.commandLine,
    architecture: recorded.architecture,
    time: recorded.time,
    name: recorded.name,
    version: recorded.version,
    content: {
      program: {
        binary,
        libraries,
        installDir,
        caBundle: bundle === undefined ? undefined : await readBundle(bundle, recorded),
        sysroot: settings.sysroot,
        files: addedFiles(settings.files ?? {}),
        init: await blobs.init(),
        nsm: await blobs.nsm(),
        command: recorded.command,
        environment: recorded.environment,
        compression: recorded.compression,
      },
    },
  });
}
