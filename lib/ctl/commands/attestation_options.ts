/**
 * What the options say that an attestation document must contain. All commands that verify documents read them here, so that none trusts an
 * unidentified enclave.
 *
 * @module
 */
import { verifyDocument, verifyDocumentOf } from "../../shared/attestation/document.ts";
import {
  expectationProblem,
  type ExpectedPcrs,
  isSignerAlone,
} from "../../shared/attestation/expectation.ts";
import { type Options, UsageError } from "../../shared/cli/options.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { type Measurements, readMeasurements } from "../policy/measurements.ts";
import { readInput, readRoot } from "../terminal/io.ts";
import type { CtlIo } from "../terminal/printing.ts";

/** Which enclave is trusted. */
export interface ExpectedEnclave {
  /** The accepted builds. */
  readonly pcrs: readonly ExpectedPcrs[];
  readonly allowDebug: boolean;
  readonly insecureSkipPcrs: boolean;
  /** Verifies documents: under AWS's root, or that of `--root`. */
  readonly verify: DocumentVerifier;
}

/**
 * Reads `EXPECT_OPTIONS`, and warns on stderr about the checks that they disable.
 *
 * @throws {UsageError} when they identify no enclave: neither PCR0 nor PCR8, or a PCR of zeros.
 * @throws {EnclaveError} `measurements_invalid`
 */
export async function expectedEnclave(
  options: Options,
  { stderr }: Pick<CtlIo, "stderr">,
): Promise<ExpectedEnclave> {
  const pcrs = await expectedBuilds(options);
  const problem = expectationProblem(pcrs);
  const insecureSkipPcrs = options.on("insecure-skip-pcrs");
  if (problem !== undefined && !insecureSkipPcrs) {
    throw new UsageError(
      `Cannot trust an enclave: ${problem}`,
      "Give --pcr 0=<96 hex digits> or --measurements <file> of the build.",
    );
  }
  if (problem !== undefined) {
    stderr(`Warning: any enclave is accepted, including an attacker's: ${problem}\n`);
  } else if (isSignerAlone(pcrs)) {
    stderr("Warning: PCR8 alone accepts every image that was ever signed with that key. Add PCR0.\n");
  }
  const allowDebug = options.on("insecure-skip-debug-check");
  if (allowDebug) stderr("Warning: an enclave in debug mode is accepted; the parent can read its console.\n");
  return { pcrs, allowDebug, insecureSkipPcrs, verify: await documentVerifier(options, { stderr }) };
}

/** What verifies documents: under AWS's root, or under that of `--root`, with a warning. @throws {UsageError} */
export async function documentVerifier(
  options: Options,
  { stderr }: Pick<CtlIo, "stderr">,
): Promise<DocumentVerifier> {
  const file = options.text("root");
  if (file === undefined) return verifyDocument;
  const root = await readRoot(file);
  stderr(
    `Warning: documents are verified under ${file}, not under AWS's root: they do not prove a real enclave.\n`,
  );
  return (document, expected) => verifyDocumentOf(root, document, expected);
}

/** Whether any of `EXPECT_OPTIONS` that identifies an enclave or a root was given. */
export function namesEnclave(options: Options): boolean {
  return ["pcr", "measurements", "root"].some((name) => options.text(name) !== undefined);
}

/**
 * The enclave that a document is verified against; undefined where nothing is verified.
 *
 * @param wanted whether the command verifies a document
 * @param needed the options that would make it do so
 * @throws {UsageError} when the options name an enclave and nothing is verified.
 */
export async function enclaveToVerify(
  options: Options,
  io: Pick<CtlIo, "stderr">,
  { wanted, needed }: { readonly wanted: boolean; readonly needed: string },
): Promise<ExpectedEnclave | undefined> {
  if (wanted) return await expectedEnclave(options, io);
  if (namesEnclave(options)) throw new UsageError(`--pcr, --measurements and --root go with ${needed}`);
  return undefined;
}

async function expectedBuilds(options: Options): Promise<readonly ExpectedPcrs[]> {
  const named = expectedPcrs(options);
  const builds: ExpectedPcrs[] = [];
  for (const file of options.list("measurements")) {
    builds.push(...readMeasurements(await readInput(file), file).map(pcrsOf));
  }
  for (const build of builds) {
    for (const [index, value] of Object.entries(named)) {
      const measured = build[Number(index)];
      if (measured === undefined || measured === value) continue;
      throw new UsageError(
        `--pcr and --measurements disagree on PCR${index}`,
        "Give one of the two, or the same value.",
      );
    }
  }
  return builds.length === 0 ? [named] : builds.map((build) => ({ ...build, ...named }));
}

function pcrsOf({ pcr0, pcr1, pcr2, pcr8 }: Measurements): ExpectedPcrs {
  return { 0: pcr0, 1: pcr1, 2: pcr2, ...(pcr8 === undefined ? {} : { 8: pcr8 }) };
}

/** The PCRs of `--pcr`, by index. @throws {UsageError} */
export function expectedPcrs(options: Options): ExpectedPcrs {
  const pcrs: Record<number, string> = {};
  for (const pair of options.list("pcr")) {
    const [, digits, hex = ""] = /^([0-9]{1,2})=([0-9a-fA-F]{96})$/.exec(pair) ?? [];
    const index = Number(digits ?? NaN);
    if (!(index <= 31)) {
      throw new UsageError(
        `Cannot use ${JSON.stringify(pair)} for --pcr`,
        "Write <index>=<96 hex digits>.",
      );
    }
    const value = hex.toLowerCase();
    if ((pcrs[index] ?? value) !== value) {
      throw new UsageError(`--pcr gives two values of PCR${index}`, "Use --measurements for several builds.");
    }
    pcrs[index] = value;
  }
  return pcrs;
}
