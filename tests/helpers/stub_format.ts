/**
 * The ciphertext format of the stand-ins for the SDK (tests/native and the mock): it replaces what AWS KMS
 * does, and is simple enough to be implemented twice. Nothing here is secret.
 *
 * @module
 */

const MAGIC = new TextEncoder().encode("STUBKMS1");
const MASK = 0x5a;

/** The key that tests wrap with. */
export const STUB_KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/** FNV-1a, 32 bits. */
function fnv1a(bytes: Uint8Array): number {
  let hash = 2166136261;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
  return hash;
}

/** The hash of an EncryptionContext, entries sorted by name. */
export function contextHash(context: Readonly<Record<string, string>> = {}): number {
  const canonical = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) =>
    `${key}=${value}\n`
  ).join("");
  return fnv1a(new TextEncoder().encode(canonical));
}

/** A ciphertext that the stand-in opens. */
export function stubWrap(
  plaintext: Uint8Array,
  { keyId = STUB_KEY_ARN, context }: {
    readonly keyId?: string;
    readonly context?: Readonly<Record<string, string>>;
  } = {},
): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(keyId);
  const blob = new Uint8Array(MAGIC.length + 5 + name.length + plaintext.length);
  blob.set(MAGIC);
  new DataView(blob.buffer).setUint32(MAGIC.length, contextHash(context), true);
  blob[MAGIC.length + 4] = name.length;
  blob.set(name, MAGIC.length + 5);
  blob.set(plaintext.map((byte) => byte ^ MASK), MAGIC.length + 5 + name.length);
  return blob;
}

/** What a stand-in finds in a ciphertext; undefined when it is not one. */
export function stubParse(
  blob: Uint8Array,
):
  | { readonly contextHash: number; readonly keyId: string; readonly plaintext: Uint8Array<ArrayBuffer> }
  | undefined {
  if (blob.length < MAGIC.length + 5 || MAGIC.some((byte, index) => blob[index] !== byte)) return undefined;
  const nameLength = blob[MAGIC.length + 4] ?? 0;
  const nameEnd = MAGIC.length + 5 + nameLength;
  if (blob.length < nameEnd) return undefined;
  return {
    contextHash: new DataView(blob.buffer, blob.byteOffset).getUint32(MAGIC.length, true),
    keyId: new TextDecoder().decode(blob.subarray(MAGIC.length + 5, nameEnd)),
    plaintext: new Uint8Array(blob.subarray(nameEnd)).map((byte) => byte ^ MASK),
  };
}
