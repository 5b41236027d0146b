/**
 * `denclavectl eif reproduce`: makes an image again from its commit and its inputs, and says whether it is the same, or what differs.
 *
 * Runs git and Deno. It only reads the given clone: the commit is checked out into a separate folder.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { requiredString } from "../../shared/wire/messages.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { hashFile } from "../eif/mod.ts";
import {
  buildAgain,
  checkOut,
  compare,
  compareInputs,
  comparePcrs,
  compareProgram,
  type Comparison,
  compile,
  type Measurements,
  parseProvenance,
  type Provenance,
  requireDeno,
} from "../image/reproduction.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { connectEnclave, readInput } from "../terminal/io.ts";
import { ENCLAVE_OPTIONS, JSON_OPTION, PCR_OPTION, ROOT_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { documentVerifier, expectedPcrs } from "./attestation_options.ts";
import { settingOptions, settingsOf } from "./eif_build.ts";
import { describeWithProgress } from "./eif_inspect.ts";

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
