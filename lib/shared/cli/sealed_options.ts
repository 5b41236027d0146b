/**
 * The options of sealed requests.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";
import { PUBLIC_KEY_LENGTH } from "../sealed/hpke.ts";
import { refuseValue } from "./options.ts";
import { distinct, toggle, type Values } from "./settings.ts";

/** Maximum age of a sealed request. Milliseconds. */
export const MAX_SEALED_AGE_MS = 60_000;

function clientKey(text: string, option: string): Uint8Array {
  try {
    const key = decodeBase64(text);
    if (key.length === PUBLIC_KEY_LENGTH) return key;
  } catch {
    // Reported below.
  }
  return refuseValue(
    option,
    text,
    `Give ${PUBLIC_KEY_LENGTH} bytes in base64: the end of what openssl pkey -pubout -outform DER writes.`,
  );
}

/** The options. */
export const SEALED_OPTIONS = {
  required: toggle("require-sealed", "refuse requests that are not sealed, except ping, health and attest"),
  /** 32 bytes each. With any, sealed requests of other clients are refused. */
  clientKeys: distinct(
    { name: "client-key", env: "CLIENT_KEYS", value: "BASE64", parse: clientKey },
    "accept sealed requests of this client only (X25519 public key); again or with commas for more",
  ),
};

/** The parsed options. */
export type SealedConfig = Values<typeof SEALED_OPTIONS> & { readonly maxAgeMs: number };
