/**
 * Options for what an attestation document must contain. All tools that verify documents share them, so that none of them trusts an unidentified
 * enclave.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { verifyDocument, verifyDocumentOf } from "../../shared/attestation/document.ts";
import {
  expectationProblem,
  type ExpectedPcrs,
  isSignerAlone,
} from "../../shared/attestation/expectation.ts";
import { type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { parseCertificate } from "../../shared/attestation/pem.ts";
import { messageOf } from "../../shared/errors.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { type Measurements, readMeasurements } from "../policy/measurements.ts";
import { type CtlIo, readInput } from "../terminal/io.ts";

/** One PCR that the enclave must have. */
export const PCR_OPTION = {
  name: "pcr",
  value: "N=HEX",
  multiple: true,
  help: "expect this PCR; repeat it or separate with commas for more. PCR0 or PCR8 is required",
} as const satisfies OptionSpec;

/** The root certificate for verifying documents. */
export const ROOT_OPTION = {
  name: "root",
  value: "FILE",
  help: "for development: verify under this root certificate instead of AWS's (deno task dev --nsm-root)",
} as const satisfies OptionSpec;

/** Options that say which enclave is trusted. */
export const EXPECT_OPTIONS = [
  {
    name: "measurements",
    short: "m",
    value: "FILE",
    multiple: true,
    help: "expect one of the builds in this file: JSON from denclavectl eif build or nitro-cli describe-eif",
  },
  PCR_OPTION,
  ROOT_OPTION,
  { name: "insecure-skip-pcrs", help: "for development: accept any enclave, including an attacker's" },
  {
    name: "insecure-skip-debug-check",
    help: "for development: accept an enclave in debug mode, whose console the parent can read",
  },
] as const satisfies readonly OptionSpec[];

/** Options for verifying a stored document. */
export const VERIFY_OPTIONS = [
  { name: "nonce", value: "BASE64", help: "the nonce of the request that the document answers" },
  ...EXPECT_OPTIONS,
  {
    name: "at",
    value: "TIME",
    help: "for a stored document: verify as of this time (ISO 8601), or as of its own timestamp (made)",
  },
  { name: "insecure-skip-nonce", help: "for development: accept a document that may be a replay" },
] as const satisfies readonly OptionSpec[];

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
 * Reads {@link EXPECT_OPTIONS}, and warns on stderr about the checks that they disable.
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

/** What verifies documents: under AWS's root, or under that of {@link ROOT_OPTION}, with a warning. @throws {UsageError} */
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

/** Reads the certificate of `--root`, PEM or DER. @throws {UsageError} */
export async function readRoot(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return parseCertificate(await Deno.readFile(file));
  } catch (thrown) {
    throw new UsageError(
      `Cannot use ${file} for --root: ${messageOf(thrown)}`,
      "Give a certificate, PEM or DER.",
    );
  }
}

/** Whether any of {@link EXPECT_OPTIONS} that identifies an enclave or a root was given. */
export function namesEnclave(options: Options): boolean {
  return ["pcr", "measurements", "root"].some((name) => options.text(name) !== undefined);
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

/** The nonce of `--nonce`. @throws {UsageError} */
export function nonceOf(options: Options): Uint8Array<ArrayBuffer> | undefined {
  const text = options.text("nonce");
  if (text === undefined) return undefined;
  try {
    const nonce = decodeBase64(text);
    if (nonce.length > 0) return nonce;
  } catch {
    // The error below reports it.
  }
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --nonce`,
    "Give the request's nonce, in base64.",
  );
}

/** The time of `--at`. @throws {UsageError} */
export function verificationTime(options: Options): Date | "made" | undefined {
  const text = options.text("at");
  if (text === undefined || text === "made") return text;
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --at`,
    "Give a time such as 2026-01-02T03:04:05Z, or made.",
  );
}
