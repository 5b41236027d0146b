/**
 * Options that say what an attestation document must be: shared by the tools that verify one.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { type Options, type OptionSpec, UsageError } from "../cli/options.ts";

/** What the enclave must measure. */
export const PCR_OPTION = {
  name: "pcr",
  value: "N=HEX",
  multiple: true,
  help: "expect this PCR; again or with commas for more",
} as const satisfies OptionSpec;

/** Options of those who verify a document that was kept. */
export const VERIFY_OPTIONS = [
  { name: "nonce", value: "BASE64", help: "expect this nonce: the document answers that request" },
  PCR_OPTION,
  {
    name: "at",
    value: "TIME",
    help: "verify as of this time (ISO 8601), or of when it was made (made); now, unless given",
  },
  { name: "allow-debug", help: "take an enclave in debug mode, whose PCRs 0 to 2 are zero" },
] as const satisfies readonly OptionSpec[];

/** The PCRs of `--pcr`, by index. @throws {UsageError} */
export function expectedPcrs(options: Options): Record<number, string> {
  return Object.fromEntries(
    options.list("pcr").map((pair) => {
      const [, index, hex] = /^([0-9]{1,2})=([0-9a-fA-F]{96})$/.exec(pair) ?? [];
      if (index === undefined || hex === undefined || Number(index) > 31) {
        throw new UsageError(
          `Cannot use ${JSON.stringify(pair)} for --pcr`,
          "Write <index>=<96 hex digits>.",
        );
      }
      return [Number(index), hex.toLowerCase()];
    }),
  );
}

/** The nonce of `--nonce`. @throws {UsageError} */
export function nonceOf(options: Options): Uint8Array<ArrayBuffer> | undefined {
  const text = options.text("nonce");
  if (text === undefined) return undefined;
  try {
    const nonce = decodeBase64(text);
    if (nonce.length > 0) return nonce;
  } catch {
    // Said below.
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
