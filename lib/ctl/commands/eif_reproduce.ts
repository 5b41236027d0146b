/**
 * `denclavectl eif reproduce`: makes an image again from its commit and its inputs, and says whether it is the same, or what differs.
 *
 * Runs git and Deno. It only reads the given clone: the commit is checked out into a separate folder.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import {
  ARCHITECTURES,
  buildEif,
  type BuildInput,
  CA_BUNDLE_PATH,
  COMPRESSIONS,
  EifError,
  hashFile,
  parseProgramRecord,
  type ProgramRecord,
} from "../eif/mod.ts";
import type { BuildSettings } from "../eif/settings.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { requiredString } from "../../shared/wire/messages.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { connectEnclave, readInput } from "../terminal/io.ts";
import { ENCLAVE_OPTIONS, JSON_OPTION, PCR_OPTION, ROOT_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { documentVerifier, expectedPcrs } from "./attestation_options.ts";
import { addedFiles, blobsOf, settingOptions, settingsOf } from "./eif_build.ts";
import { describeWithProgress } from "./eif_inspect.ts";
import { selectCertificates } from "./trust_store.ts";

const GIT_MS = 300_000;
const COMPILE_MS = 900_000;
const NONCE_LENGTH = 32;

/** `eif reproduce` */
export const EIF_REPRODUCE: Command = {
  path: "eif reproduce",
  summary: "build an image again from its commit and inputs, and compare",
  usage: "<provenance.json> --source CLONE --lib-dir DIR [options]",
  about:
    `Makes an image again: checks out the commit that the provenance names, compiles it, builds the image from the recorded
settings and the inputs that are given, and says whether it is the same. If not, it says which input differs and how.
Needs git, and Deno of the version that the provenance names, on PATH. Compiling runs scripts of that commit.`,
  options: [
    { name: "source", value: "DIR", default: ".", help: "a clone of the repository that has the commit" },
    ...settingOptions([
      "output",
      "lib_dir",
      "ca_bundle",
      "sysroot",
      "files",
      "blobs",
      "kernel",
      "init",
      "nsm",
    ]),
    { name: "eif", value: "FILE", help: "also compare with this image, such as a published release" },
    { name: "attest", help: "also compare with the running enclave, by its attestation document" },
    ...ENCLAVE_OPTIONS,
    ROOT_OPTION,
    PCR_OPTION,
    JSON_OPTION,
  ],
  positionals: 1,
  run: reproduce,
};

/** What is compared. */
export interface Comparison {
  /** An input's role, `program`, `bundle`, `image`, or where a measurement comes from. */
  readonly name: string;
  /** Undefined where both are the same. */
  readonly difference: string | undefined;
}

type Measurements = Readonly<Record<string, string>>;
/** The parts of a provenance that are read. */
export type Provenance = ReturnType<typeof parseProvenance>;

/** The value at a path of names, such as `metadata.ImageName`; undefined where there is none. */
function at(value: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>(
    (from, name) =>
      typeof from === "object" && from !== null && Object.hasOwn(from, name)
        ? (from as Record<string, unknown>)[name]
        : undefined,
    value,
  );
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
function compare(
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
    `${what} failed: ${oneLine(decoder.decode(output.stderr).trim().split("\n").slice(-5).join(" "))}`,
    { code: "reproduce_failed", hint: `The command was: ${program} ${args.join(" ")}` },
  );
}

/** Checks out the commit's files into a separate folder. */
async function checkOut(source: string, commit: string, folder: string): Promise<void> {
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
async function compile(program: ProgramRecord, clone: string, binary: string): Promise<ProgramRecord> {
  const options = Object.entries(program.options).flatMap(([name, value]) =>
    (typeof value === "string" ? [value] : value).map((text) => `--${name}=${text}`)
  );
  const permissions = ["--allow-run", "--allow-read", "--allow-write", "--allow-env"];
  await runProgram("deno", [
    ...["run", "--quiet", "--no-prompt", ...permissions, "scripts/compile.ts", "--output", binary],
    ...options,
  ], { what: "Compiling", timeoutMs: COMPILE_MS, cwd: clone });
  const made = parseProgramRecord(JSON.parse(await readInput(`${binary}.build.json`)));
  if (made !== undefined) return made;
  throw new EnclaveError("The commit's compile task wrote no record of what it made", {
    code: "reproduce_failed",
  });
}

async function requireDeno(version: string): Promise<void> {
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

function compareProgram(recorded: ProgramRecord, here: ProgramRecord): readonly Comparison[] {
  const bundles = [{ sha256: recorded.bundle_sha256 }, { sha256: here.bundle_sha256 }] as const;
  const bundle = compare("bundle", ...bundles, ": the source, a package or the bundler differs");
  const why = bundle.difference === undefined
    ? ": the JavaScript is the same, so Deno's base binary (denort) or a compile option differs"
    : "";
  return [bundle, compare("program", recorded, here, why)];
}

async function readBundle(path: string, recorded: Provenance): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  const text = await readInput(path);
  const whole = encoder.encode(text);
  const wanted = recorded.inputs.find(({ role }) => role === CA_BUNDLE_PATH)?.sha256;
  // The image has either all of the bundle or those of KMS: the hash says which.
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", whole)).toHex();
  return digest === wanted ? whole : encoder.encode(selectCertificates(text));
}

async function buildAgain(recorded: Provenance, settings: BuildSettings, binary: string, output: string) {
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

/** PCRs of a running enclave, from an attestation document with a new nonce. */
async function attestedPcrs(options: Options, verify: DocumentVerifier): Promise<Measurements> {
  using client = await connectEnclave(options);
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  const reply = await client.request({ type: "attest", nonce: encodeBase64(nonce) });
  const document = decodeBase64(requiredString(reply, "attestation_document", "the reply"));
  // Accept any image here: its PCRs are compared after the image is built.
  const { pcrs } = await verify(document, { nonce, insecureSkipPcrs: true });
  return Object.fromEntries([...pcrs].map(([index, value]) => [`PCR${index}`, value]));
}

/** Compares with a published image, a running enclave and the PCRs on the command line. */
async function compareWithOthers(
  options: Options,
  { recorded, here, attested, output }: {
    readonly recorded: Provenance;
    readonly here: Measurements;
    readonly attested: Measurements | undefined;
    readonly output: string;
  },
  io: CtlIo,
): Promise<readonly Comparison[]> {
  const compared = [...comparePcrs("the provenance", recorded.measurements, here)];
  const image = { sha256: await hashFile(output) };
  // An image without a signature has the same bytes as well. One that is signed has other bytes each time.
  if (recorded.measurements["PCR8"] === undefined) compared.push(compare("image", recorded, image));
  const eif = options.text("eif");
  if (eif !== undefined) {
    const { measurements, signature } = await describeWithProgress(eif, io);
    const name = oneLine(eif);
    compared.push(...comparePcrs(name, { ...measurements }, here));
    if (signature === undefined) compared.push(compare(name, { sha256: await hashFile(eif) }, image));
  }
  if (attested !== undefined) compared.push(...comparePcrs("the enclave", attested, here));
  const pcrs = Object.entries(expectedPcrs(options)).map(([index, value]) => [`PCR${index}`, value]);
  return [...compared, ...comparePcrs("--pcr", Object.fromEntries(pcrs), here)];
}

/**
 * A new folder of its own. Not Deno.makeTempDir: Deno takes the programs that may be run out of the write
 * permission, and some versions of it then refuse makeTempDir in every folder above one.
 */
async function makeFolder(io: CtlIo): Promise<string> {
  const above = await Deno.realPath(io.env("TMPDIR") || "/tmp");
  const folder = `${above}/denclave-reproduce-${crypto.randomUUID()}`;
  await Deno.mkdir(folder, { mode: 0o700 });
  return folder;
}

/** Makes an image again, and compares. */
async function reproduce(options: Options, io: CtlIo): Promise<number> {
  const file = onePositional(options, "Which provenance?", "Give the image's .provenance.json.");
  const recorded = parseProvenance(await readInput(file));
  // Check for missing inputs before the slow steps.
  if (!options.on("attest") && options.text("root") !== undefined) {
    throw new UsageError("--root goes with --attest");
  }
  const attested = options.on("attest")
    ? await attestedPcrs(options, await documentVerifier(options, io))
    : undefined;
  await requireDeno(recorded.program.deno);
  const folder = await makeFolder(io);
  try {
    const note = (text: string) => io.stderr(`${text}\n`);
    note(`checking out ${recorded.program.git_commit}`);
    await checkOut(options.text("source") ?? ".", recorded.program.git_commit, `${folder}/source`);
    note(`compiling with Deno ${recorded.program.deno}`);
    const binary = `${folder}/${recorded.program.file.replace(/^.*\//, "")}`;
    const program = await compile(recorded.program, `${folder}/source`, binary);
    note("building the image");
    const settings = settingsOf(options);
    const output = settings.output ?? `${folder}/again.eif`;
    const built = await buildAgain(recorded, settings, binary, output);
    const measurements: Measurements = { ...built.measurements };
    const compared = [
      ...compareProgram(recorded.program, program),
      ...compareInputs(recorded.inputs, built.inputs),
      ...await compareWithOthers(options, { recorded, here: measurements, attested, output }, io),
    ];
    const same = compared.every(({ difference }) => difference === undefined);
    const lines = compared.map(({ name, difference }) =>
      difference === undefined
        ? `same    ${oneLine(name)}`
        : `DIFFERS ${oneLine(name)}: ${oneLine(difference)}`
    );
    return printResult(options, io, {
      json: { same, measurements, comparisons: compared },
      text: [...lines, formatFields(measurements), same ? "The same image." : "Not the same image."].join(
        "\n",
      ),
      ok: same,
    });
  } finally {
    await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}
