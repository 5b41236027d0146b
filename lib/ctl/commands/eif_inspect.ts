/**
 * `denclavectl eif describe` and `eif verify`.
 *
 * @module
 */
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { checkEif, describeEif, type EifDescription, nitroCliShape } from "../eif/mod.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { JSON_OPTION, PCR_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { megabytes } from "../terminal/progress.ts";
import { expectedPcrs } from "./attestation_options.ts";

/** Reads an image with a progress line. */
export async function describeWithProgress(file: string, io: CtlIo): Promise<EifDescription> {
  const { size } = await Deno.stat(file).catch(() => ({ size: 0 }));
  using progress = megabytes("reading", size, io);
  return await describeEif(file, (done) => progress.at(done));
}

function imageOf(options: Options): string {
  return onePositional(options, "Which image?", "Give the path of an .eif file.");
}

function showDescription(file: string, description: EifDescription): string {
  const { measurements, metadata, signature } = description;
  const build = metadata?.BuildMetadata;
  const signer = signature?.certificate.info;
  const fields = formatFields({
    image: file,
    version: description.version,
    architecture: description.architecture,
    name: metadata === undefined ? undefined : `${metadata.ImageName} ${metadata.ImageVersion}`,
    built: build === undefined
      ? undefined
      : `${build.BuildTime} by ${build.BuildTool} ${build.BuildToolVersion}`,
    kernel: build === undefined ? undefined : `${build.OperatingSystem} ${build.KernelVersion}`,
    cmdline: description.commandLine,
    crc: description.crc.ok ? "right" : "WRONG",
    signature: signature === undefined
      ? "none"
      : signature.problem === undefined
      ? "holds"
      : `DOES NOT HOLD: ${signature.problem}`,
    signer: signer === undefined
      ? undefined
      : `${Object.values(signer.IssuerName).join(", ")}, until ${signer.NotAfter}`,
    ...measurements,
  });
  const sections = formatTable(
    ["SECTION", "OFFSET", "BYTES"],
    description.sections.map(({ type, offset, size }) => [type, String(offset), String(size)]),
  );
  return `${fields}\n\n${sections}`;
}

/** PCRs that an image determines. */
const PCRS: readonly string[] = ["0", "1", "2", "8"];

async function verify(options: Options, io: CtlIo): Promise<number> {
  const file = imageOf(options);
  const pcrs = Object.entries(expectedPcrs(options));
  const other = pcrs.find(([index]) => !PCRS.includes(index));
  if (other !== undefined) {
    throw new UsageError(`Cannot use PCR${other[0]} for --pcr`, "An image determines PCR 0, 1, 2 and 8.");
  }
  const expected = Object.fromEntries(pcrs.map(([index, hex]) => [`PCR${index}`, hex]));
  const checks = checkEif(await describeWithProgress(file, io), { expected });
  const ok = checks.every(({ problem }) => problem === undefined);
  const lines = checks.map(({ name, problem }) =>
    problem === undefined ? `ok    ${name}` : `FAIL  ${name}: ${oneLine(problem)}`
  );
  return printResult(options, io, { json: { ok, checks }, text: lines.join("\n"), ok });
}

/** The commands. */
export const EIF_INSPECT_COMMANDS: readonly Command[] = [
  {
    path: "eif describe",
    summary: "show the parts of an image and its PCRs",
    usage: "<file> [options]",
    about:
      "Shows what an image is made of, and the PCRs of an enclave that runs it; with --json as nitro-cli describe-eif does.",
    options: [JSON_OPTION],
    positionals: 1,
    run: async (options, io) => {
      const file = imageOf(options);
      const description = await describeWithProgress(file, io);
      return printResult(options, io, {
        json: nitroCliShape(description),
        text: showDescription(file, description),
      });
    },
  },
  {
    path: "eif verify",
    summary: "check an image: checksum, signature, expected PCRs",
    usage: "<file> [--pcr 0=<96 hex digits>]... [options]",
    about:
      "Whether an image is whole, its signature holds, and its PCRs are the expected ones. Exit code 1 when not.",
    options: [PCR_OPTION, JSON_OPTION],
    positionals: 1,
    run: verify,
  },
];
