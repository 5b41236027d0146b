/**
 * `denclavectl eif describe`, `denclavectl eif verify` and `denclavectl eif build`.
 *
 * @module
 */
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { Progress } from "../terminal/progress.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { checkEif, describeEif, type EifDescription, type Measurements, nitroCliShape } from "../eif/mod.ts";
import type { CtlIo } from "../terminal/io.ts";
import { oneLine } from "../terminal/printing.ts";
import { trustStore } from "./trust_store.ts";

/** Commands of the group. */
export const EIF_COMMANDS = ["describe", "verify", "build", "reproduce", "trust-store"] as const;

const DESCRIBE_SPECS = [
  { name: "json", help: "print what nitro-cli describe-eif prints" },
  ...COMMON_OPTIONS,
] as const;

const DESCRIBE_HELP = `usage: denclavectl eif describe <file> [--json]

What an image is made of, and the PCRs of an enclave that runs it.

${helpLines(DESCRIBE_SPECS)}
`;

const VERIFY_SPECS = [
  {
    name: "pcr",
    value: "N=HEX",
    multiple: true,
    help: "a PCR that the image must have: 0, 1, 2 or 8; repeat for more",
  },
  { name: "json", help: "print the checks as JSON" },
  ...COMMON_OPTIONS,
] as const;

const VERIFY_HELP = `usage: denclavectl eif verify <file> [--pcr 0=<96 hex digits>]...

Whether an image is whole, its signature holds, and its PCRs are the expected ones. Exit code 1 when not.

${helpLines(VERIFY_SPECS)}
`;

const PCRS = { "0": "PCR0", "1": "PCR1", "2": "PCR2", "8": "PCR8" } as const;

/** The one file that a command line names. @throws {UsageError} */
export function oneFile(options: Options): string {
  const [file] = options.positionals;
  if (file === undefined) throw new UsageError("Which image?", "Give the path of an .eif file.");
  return file;
}

/** A progress line in megabytes, for long operations. */
export function megabytes(label: string, bytes: number, io: CtlIo): Disposable & { at(done: number): void } {
  const total = Math.round(bytes / 1e6);
  const progress = new Progress(`${label}, MB`, total, io);
  let shown = -1;
  return {
    at: (done) => {
      const now = Math.min(total, Math.round(done / 1e6));
      if (now === shown) return;
      progress.at(shown = now);
    },
    [Symbol.dispose]: () => progress[Symbol.dispose](),
  };
}

/** Reads an image with a progress line. */
export async function describeWithProgress(file: string, io: CtlIo): Promise<EifDescription> {
  const { size } = await Deno.stat(file).catch(() => ({ size: 0 }));
  using progress = megabytes("reading", size, io);
  return await describeEif(file, (done) => progress.at(done));
}

function showDescription(file: string, description: EifDescription): string {
  const { measurements, metadata, signature } = description;
  const build = metadata?.BuildMetadata;
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
    signer: signature === undefined
      ? undefined
      : `${
        Object.values(signature.certificate.info.IssuerName).join(", ")
      }, until ${signature.certificate.info.NotAfter}`,
    ...measurements,
  });
  const sections = formatTable(
    ["SECTION", "OFFSET", "BYTES"],
    description.sections.map(({ type, offset, size }) => [type, String(offset), String(size)]),
  );
  return `${fields}\n\n${sections}\n`;
}

async function describe(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(DESCRIBE_SPECS, argv, io.env, { positionals: 1 });
  if (options.on("help")) return io.stdout(DESCRIBE_HELP), EXIT.ok;
  const file = oneFile(options);
  const description = await describeWithProgress(file, io);
  io.stdout(
    options.on("json")
      ? `${JSON.stringify(nitroCliShape(description), null, 2)}\n`
      : showDescription(file, description),
  );
  return EXIT.ok;
}

function expectedMeasurements(options: Options): Partial<Measurements> {
  return Object.fromEntries(
    options.list("pcr").map((pair) => {
      const [, index, hex] = /^([0128])=([0-9a-fA-F]{96})$/.exec(pair) ?? [];
      if (index === undefined || hex === undefined) {
        throw new UsageError(
          `Cannot use ${JSON.stringify(pair)} for --pcr`,
          "Write <index>=<96 hex digits>; an image determines PCR 0, 1, 2 and 8.",
        );
      }
      return [PCRS[index as keyof typeof PCRS], hex.toLowerCase()];
    }),
  );
}

async function verify(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(VERIFY_SPECS, argv, io.env, { positionals: 1 });
  if (options.on("help")) return io.stdout(VERIFY_HELP), EXIT.ok;
  const file = oneFile(options);
  const expected = expectedMeasurements(options);
  const checks = checkEif(await describeWithProgress(file, io), { expected });
  const ok = checks.every(({ problem }) => problem === undefined);
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ ok, checks }, null, 2)}\n`
      : `${
        checks.map(({ name, problem }) =>
          problem === undefined ? `ok    ${name}` : `FAIL  ${name}: ${oneLine(problem)}`
        ).join("\n")
      }\n`,
  );
  return ok ? EXIT.ok : EXIT.failed;
}

/** Runs a command of the group. */
export async function runEif(command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  switch (command) {
    case "describe":
      return await describe(argv, io);
    case "verify":
      return await verify(argv, io);
    case "trust-store":
      return await trustStore(argv, io);
    case "reproduce": {
      const { reproduce } = await import("./eif_reproduce.ts");
      return await reproduce(argv, io);
    }
    default: {
      const { build } = await import("./eif_build.ts");
      return await build(argv, io);
    }
  }
}
