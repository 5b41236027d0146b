/**
 * What an enclave's image measures to: from hex, or from the JSON that `nitro-cli describe-eif`, `build-enclave` and `describe-enclaves` and
 * our own `denclavectl eif describe --json` print. And the two registers that are no part of an image: PCR3 and PCR4.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import { PCR_HEX, ZERO_PCR } from "./conditions.ts";
import { PolicyError } from "./errors.ts";

/** SHA-384 values in lower-case hex. */
export interface Measurements {
  /** The whole image. */
  readonly pcr0: string;
  /** Kernel, command line and first ramdisk. */
  readonly pcr1: string;
  /** The application. */
  readonly pcr2: string;
  /** The parent's role. */
  readonly pcr3?: string;
  /** The parent instance. */
  readonly pcr4?: string;
  /** The certificate that signed the image. */
  readonly pcr8?: string;
}

const REGISTERS = [0, 1, 2, 3, 4, 8] as const;

/** The registers that have a value, with it in lower case. */
export function registersOf(measurements: Measurements): readonly (readonly [number, string])[] {
  return REGISTERS.flatMap((index) => {
    const value = measurements[`pcr${index}`];
    return value === undefined ? [] : [[index, value.toLowerCase()] as const];
  });
}

const MAX_TEXT = 1_048_576;
const MAX_BUILDS = 100;
const ROLE_ARN = /^arn:aws[a-z-]*:iam::[0-9]{12}:role\/[\x21-\x7e]{1,576}$/;
const INSTANCE_ID = /^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/;
const DIGEST_LENGTH = 48;

function invalid(message: string, hint: string | undefined, cause?: unknown): PolicyError {
  return new PolicyError(message, { code: "measurements_invalid", hint, cause });
}

/**
 * Reads a measurement in hex.
 *
 * @throws {PolicyError} `measurements_invalid`; zeros, which an enclave in debug mode has, are refused too.
 */
function parsePcr(name: string, input: unknown): string {
  if (typeof input !== "string" || !PCR_HEX.test(input)) {
    throw invalid(`Cannot use ${name}: it is not 96 hex digits`, "PCRs are SHA-384: 48 bytes in hex.");
  }
  if (input === ZERO_PCR) {
    throw invalid(
      `Cannot use ${name}: it is all zeros`,
      "An enclave in debug mode has these PCRs. Use the EIF's measurements.",
    );
  }
  return input.toLowerCase();
}

/**
 * Measurements by register number, as an option gives them.
 *
 * @throws {PolicyError} `measurements_invalid` when PCR0, PCR1 or PCR2 is missing, or any is wrong.
 */
export function measurementsOf(pcrs: ReadonlyMap<number, string>): Measurements {
  const read = (index: number) => parsePcr(`PCR${index}`, pcrs.get(index));
  const other = [...pcrs.keys()].find((index) => !REGISTERS.some((known) => known === index));
  if (other !== undefined) {
    throw invalid(`Cannot use PCR${other}`, "PCR0, 1, 2, 3, 4 and 8 have a meaning.");
  }
  return {
    pcr0: read(0),
    pcr1: read(1),
    pcr2: read(2),
    ...(pcrs.has(3) ? { pcr3: read(3) } : {}),
    ...(pcrs.has(4) ? { pcr4: read(4) } : {}),
    ...(pcrs.has(8) ? { pcr8: read(8) } : {}),
  };
}

/**
 * Reads an object with `Measurements: {PCR0, PCR1, PCR2, PCR8?}`, or what is in `Measurements` alone (`jq .Measurements`). Other fields are ignored.
 *
 * @throws {PolicyError} `measurements_invalid`
 */
export function parseMeasurements(input: unknown): Measurements {
  const given = field(input, "Measurements") ?? (field(input, "PCR0") === undefined ? undefined : input);
  if (given === undefined) {
    throw invalid(
      "Cannot find Measurements in the JSON",
      "Give what nitro-cli describe-eif (or build-enclave, or denclavectl eif describe --json) prints.",
    );
  }
  // Of an image without a signature some tools print zeros.
  const signed = field(given, "PCR8");
  return {
    pcr0: parsePcr("PCR0", field(given, "PCR0")),
    pcr1: parsePcr("PCR1", field(given, "PCR1")),
    pcr2: parsePcr("PCR2", field(given, "PCR2")),
    ...(signed === undefined || signed === null || signed === ZERO_PCR
      ? {}
      : { pcr8: parsePcr("PCR8", signed) }),
  };
}

/**
 * Reads measurements from a tool's output: of one image, or of several (a list).
 *
 * @param what names the text in errors
 * @throws {PolicyError} `measurements_invalid`
 */
export function readMeasurements(json: string, what = "the measurements"): readonly Measurements[] {
  if (json.length > MAX_TEXT) {
    throw invalid(`Cannot read ${what}: too long`, `At most ${MAX_TEXT} characters.`);
  }
  let input: unknown;
  try {
    input = JSON.parse(json);
  } catch (thrown) {
    throw invalid(
      `Cannot read ${what}: ${messageOf(thrown)}`,
      "It must be the JSON that denclavectl eif describe --json or nitro-cli describe-eif prints.",
      thrown,
    );
  }
  const items: readonly unknown[] = Array.isArray(input) ? input : [input];
  if (items.length === 0 || items.length > MAX_BUILDS) {
    throw invalid(
      `Cannot use measurements of ${items.length} images`,
      `There must be 1 to ${MAX_BUILDS} of them.`,
    );
  }
  try {
    return items.map(parseMeasurements);
  } catch (thrown) {
    if (!(thrown instanceof PolicyError)) throw thrown;
    throw invalid(`${what}: ${thrown.message}`, thrown.hint, thrown);
  }
}

/** The register after it was extended once: no hash of the text itself comes before, unlike with PCR0, 1, 2 and 8. */
async function extended(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  const input = new Uint8Array(DIGEST_LENGTH + bytes.length);
  input.set(bytes, DIGEST_LENGTH);
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-384", input)));
}

/**
 * PCR3: the IAM role that the parent instance has.
 *
 * @throws {PolicyError} `measurements_invalid` when it is no role's ARN.
 */
export async function pcr3OfRole(roleArn: string): Promise<string> {
  if (!ROLE_ARN.test(roleArn)) {
    throw invalid(
      `Cannot use ${JSON.stringify(roleArn.slice(0, 128))} as a role`,
      "Give the ARN of the role, not of the instance profile: arn:aws:iam::<account>:role/<name>.",
    );
  }
  return await extended(roleArn);
}

/**
 * PCR4: the parent instance.
 *
 * @throws {PolicyError} `measurements_invalid` when it is no instance's id.
 */
export async function pcr4OfInstance(instanceId: string): Promise<string> {
  if (!INSTANCE_ID.test(instanceId)) {
    throw invalid(`Cannot use ${JSON.stringify(instanceId.slice(0, 64))} as an instance`, "Give i-<hex>.");
  }
  return await extended(instanceId);
}
