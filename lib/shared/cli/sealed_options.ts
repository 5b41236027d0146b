/**
 * The options of sealed requests: part of the measured configuration of every entry.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { PUBLIC_KEY_LENGTH } from "../sealed/hpke.ts";
import { type MeasuredOptionSpec, type Options, UsageError } from "./options.ts";

/** Default maximum age of a sealed request. Milliseconds. */
export const DEFAULT_MAX_SEALED_AGE_MS = 60_000;

/** The measured configuration of sealed requests. */
export interface SealedConfig {
  /** Refuse requests that are not sealed, except `ping`, `health` and `attest`. */
  readonly required: boolean;
  /** Public keys of the clients, 32 bytes each: if any are set, sealed requests of other clients are refused. */
  readonly clientKeys: readonly Uint8Array[];
  /** Maximum age of a sealed request. Milliseconds. */
  readonly maxAgeMs: number;
}

/** The default: requests may be sealed or not, from any client. */
export const OPEN_TO_ALL: SealedConfig = {
  required: false,
  clientKeys: [],
  maxAgeMs: DEFAULT_MAX_SEALED_AGE_MS,
};

/** Options of `serve` that concern sealed requests. */
export const SEALED_OPTIONS = [
  {
    name: "require-sealed",
    env: "REQUIRE_SEALED",
    refuseEmpty: true,
    help: "refuse requests that are not sealed, except ping, health and attest",
  },
  {
    name: "client-key",
    env: "CLIENT_KEYS",
    refuseEmpty: true,
    value: "BASE64",
    multiple: true,
    help: "accept sealed requests of this client only (X25519 public key); again or with commas for more",
  },
  {
    name: "max-sealed-age-ms",
    env: "MAX_SEALED_AGE_MS",
    refuseEmpty: true,
    value: "MS",
    default: String(DEFAULT_MAX_SEALED_AGE_MS),
    help: "maximum age of a sealed request",
  },
] as const satisfies readonly MeasuredOptionSpec[];

const MAX_CLIENT_KEYS = 256;

function clientKey(text: string): Uint8Array {
  try {
    const key = decodeBase64(text);
    if (key.length === PUBLIC_KEY_LENGTH) return key;
  } catch {
    // Reported below.
  }
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --client-key`,
    `Give ${PUBLIC_KEY_LENGTH} bytes in base64: the end of what openssl pkey -pubout -outform DER writes.`,
  );
}

/** @throws {UsageError} that names the option. */
export function readSealedConfig(options: Options): SealedConfig {
  const clientKeys = options.distinct("client-key", clientKey, encodeBase64);
  if (clientKeys.length > MAX_CLIENT_KEYS) {
    throw new UsageError(
      `--client-key was given ${clientKeys.length} times`,
      `${MAX_CLIENT_KEYS} are the most.`,
    );
  }
  return {
    required: options.on("require-sealed"),
    clientKeys,
    maxAgeMs: options.number("max-sealed-age-ms", { min: 1_000, max: 3_600_000 }),
  };
}
