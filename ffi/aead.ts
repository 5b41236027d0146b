/**
 * AES-256-GCM of the AWS-LC that the SDK is built with: in the SDK's own library where AWS-LC is linked into it, else in the `libcrypto.so` that it
 * depends on, which `dlsym` searches as well. Keys live in C memory, are wiped there when they are disposed, and never cross back.
 *
 * Thread: any; contexts are not changed by seal and open. Permission: FFI on the SDK's files, only while it is opened.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { LIBRARY_FILES } from "./constants.ts";
import { sdkError } from "./errors.ts";
import { stableBytes } from "./layout.ts";
import { AEAD_SYMBOLS, PRIMITIVE_SYMBOLS } from "./symbols.ts";
import { type Dlopen, openLibraries, type OpenLibrariesOptions } from "./library.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The functions of {@link AEAD_SYMBOLS}, where all of them are there. */
type AeadSymbols = {
  readonly [Name in keyof typeof AEAD_SYMBOLS]: NonNullable<
    Deno.DynamicLibrary<typeof AEAD_SYMBOLS>["symbols"][Name]
  >;
};

const KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const NONCE_SIZE = BigInt(NONCE_LENGTH);
const TAG_LENGTH = 16;
const KEY_SYMBOLS = Object.keys(AEAD_SYMBOLS) as readonly (keyof typeof AEAD_SYMBOLS)[];
const SIZE_LENGTH = 8;
const DIGEST_LENGTH = 48;
const [SEED_LENGTH, PUBLIC_KEY_LENGTH, PRIVATE_KEY_LENGTH, SIGNATURE_LENGTH] = [32, 32, 64, 64];
/** HMAC pads with zeros: the same as no salt, and not a NULL. */
const NO_SALT = new Uint8Array(DIGEST_LENGTH);
const OK = 1;

/** What a key is applied to. */
export interface AwsLcInput {
  /** 12 bytes; must not be reused with the same key. */
  readonly nonce: Bytes;
  /** Plaintext when sealing, ciphertext ‖ tag when opening. */
  readonly text: Bytes;
  /** Additional data. */
  readonly data: Bytes;
}

/** An `EVP_AEAD_CTX` with a key in it. Disposing frees it, once; every use after that throws TypeError. */
export class AwsLcKey implements Disposable {
  #symbols: AeadSymbols;
  #context: bigint;
  #written = new BigUint64Array(stableBytes(SIZE_LENGTH).buffer);

  /** Takes ownership of a context. */
  constructor(symbols: AeadSymbols, context: bigint) {
    this.#symbols = symbols;
    this.#context = context;
  }

  /**
   * Encrypts and authenticates.
   *
   * @param out ciphertext ‖ tag: 16 bytes longer than the plaintext
   * @throws {RangeError} when a length does not fit, or `out` shares memory with the text.
   * @throws {TypeError} after it was disposed.
   * @throws {SdkGenericError} when AWS-LC refuses.
   */
  seal(out: Bytes, input: AwsLcInput): void {
    if (out.length !== input.text.length + TAG_LENGTH) {
      throw new RangeError(`Cannot seal ${input.text.length} bytes into ${out.length}: it takes 16 more`);
    }
    if (this.#apply("EVP_AEAD_CTX_seal", out, input)) return;
    throw sdkError("sdk_generic", `AWS-LC did not seal ${input.text.length} bytes`, {
      symbol: "EVP_AEAD_CTX_seal",
    });
  }

  /**
   * Authenticates and decrypts.
   *
   * @param out the plaintext: 16 bytes shorter than the text
   * @returns whether the tag matched; if not, `out` is zeros
   * @throws {RangeError} when a length does not fit, or `out` shares memory with the text.
   * @throws {TypeError} after it was disposed.
   */
  open(out: Bytes, input: AwsLcInput): boolean {
    if (input.text.length < TAG_LENGTH || out.length !== input.text.length - TAG_LENGTH) {
      throw new RangeError(`Cannot open ${input.text.length} bytes into ${out.length}: it takes 16 fewer`);
    }
    return this.#apply("EVP_AEAD_CTX_open", out, input);
  }

  #apply(name: `EVP_AEAD_CTX_${"seal" | "open"}`, out: Bytes, { nonce, text, data }: AwsLcInput): boolean {
    if (this.#context === 0n) throw new TypeError("Cannot use the AES key: it was wiped");
    if (nonce.length !== NONCE_LENGTH) {
      throw new RangeError(`Cannot use a nonce of ${nonce.length} bytes: it has ${NONCE_LENGTH}`);
    }
    if (overlaps(out, text)) throw new RangeError("Cannot seal or open in place");
    const [room, size, extra] = [BigInt(out.length), BigInt(text.length), BigInt(data.length)];
    const apply = this.#symbols[name];
    const status = apply(this.#context, out, this.#written, room, nonce, NONCE_SIZE, text, size, data, extra);
    return status === OK && this.#written[0] === room;
  }

  /** Frees the context: AWS-LC wipes the key first. */
  [Symbol.dispose](): void {
    const context = this.#context;
    this.#context = 0n;
    if (context !== 0n) this.#symbols.EVP_AEAD_CTX_free(context);
  }
}

/** The arguments of bytes that a function borrows. */
const lent = (bytes: Bytes) => [bytes, BigInt(bytes.length)] as const;

function overlaps(a: Bytes, b: Bytes): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.length &&
    b.byteOffset < a.byteOffset + a.length;
}

/** AES-256-GCM by AWS-LC. The library stays open until the process ends: keys point into it. */
export interface AwsLcAead {
  /** As `health` names it. */
  readonly name: "AWS-LC";
  /**
   * A key in C memory.
   *
   * @param raw 32 bytes, borrowed: the caller wipes them
   * @throws {RangeError} on another length.
   * @throws {SdkGenericError} when AWS-LC makes no context.
   */
  newKey(raw: Bytes): AwsLcKey;
  /** Undefined when the library lacks one of these functions. */
  readonly primitives: ReturnType<typeof primitivesOf>;
}

/** SHA-384, HKDF with it without a salt, and Ed25519. They throw SdkGenericError when AWS-LC refuses. */
function primitivesOf(symbols: Deno.DynamicLibrary<typeof PRIMITIVE_SYMBOLS>["symbols"]) {
  const { SHA384, EVP_sha384, HKDF, ED25519_keypair_from_seed, ED25519_sign } = symbols;
  if (!SHA384 || !EVP_sha384 || !HKDF || !ED25519_keypair_from_seed || !ED25519_sign) return undefined;
  const digest = EVP_sha384();
  return {
    sha384: (bytes: Bytes): Bytes => {
      const out = new Uint8Array(DIGEST_LENGTH);
      SHA384(...lent(bytes), out);
      return out;
    },
    hkdf: (secret: Bytes, info: Bytes, length: number): Bytes => {
      const out = new Uint8Array(length);
      if (HKDF(...lent(out), digest, ...lent(secret), ...lent(NO_SALT), ...lent(info)) === OK) return out;
      throw sdkError("sdk_generic", `AWS-LC did not derive ${length} bytes`, { symbol: "HKDF" });
    },
    ed25519: (seed: Bytes) => {
      if (seed.length !== SEED_LENGTH) throw new RangeError(`Cannot use a seed of ${seed.length} bytes`);
      const publicKey = new Uint8Array(PUBLIC_KEY_LENGTH);
      let privateKey: Bytes | undefined = stableBytes(PRIVATE_KEY_LENGTH);
      ED25519_keypair_from_seed(publicKey, privateKey, seed);
      return {
        publicKey,
        sign: (message: Bytes): Bytes => {
          if (privateKey === undefined) throw new TypeError("Cannot use the Ed25519 key: it was wiped");
          const signature = new Uint8Array(SIGNATURE_LENGTH);
          if (ED25519_sign(signature, ...lent(message), privateKey) === OK) return signature;
          throw sdkError("sdk_generic", "AWS-LC did not sign", { symbol: "ED25519_sign" });
        },
        [Symbol.dispose]: () => {
          privateKey?.fill(0);
          privateKey = undefined;
        },
      };
    },
  };
}

function newKey(symbols: AeadSymbols, raw: Bytes): AwsLcKey {
  if (raw.length !== KEY_LENGTH) {
    throw new RangeError(`Cannot use a key of ${raw.length} bytes: AES-256 has ${KEY_LENGTH}`);
  }
  const { EVP_AEAD_CTX_new, EVP_aead_aes_256_gcm } = symbols;
  const context = EVP_AEAD_CTX_new(EVP_aead_aes_256_gcm(), raw, BigInt(KEY_LENGTH), BigInt(TAG_LENGTH));
  if (context !== 0n) return new AwsLcKey(symbols, context);
  throw sdkError("sdk_generic", "AWS-LC made no AES-256-GCM context", { symbol: "EVP_AEAD_CTX_new" });
}

/**
 * One of NIST's vectors (CAVP, gcmEncryptExtIV256.rsp, PTlen 128, AADlen 128, Count 0): a library that gets it wrong must not be given a key.
 * SHA-384 is of "abc" (FIPS 180), HKDF of the key with the nonce as info, Ed25519 the first of RFC 8032, 7.1.
 * Hex.
 */
const KNOWN_ANSWER = {
  key: "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
  nonce: "ac93a1a6145299bde902f21a",
  plaintext: "2d71bcfa914e4ac045b2aa60955fad24",
  data: "1e0889016f67601c8ebea4943bc23ad6",
  sealed: "8995ae2e6df3dbf96fac7b7137bae67feca5aa77d51d4a0a14d9c51e1da474ab",
  sha384: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
  hkdf: "888b8fb6fdf5dfea74a524aabcea4899",
  seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
  signature:
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
} as const;

/** Whether it seals and opens a known test vector, and refuses a modified one. */
function isRight(aead: AwsLcAead): boolean {
  using key = aead.newKey(decodeHex(KNOWN_ANSWER.key));
  const [nonce, data] = [decodeHex(KNOWN_ANSWER.nonce), decodeHex(KNOWN_ANSWER.data)];
  const plaintext = decodeHex(KNOWN_ANSWER.plaintext);
  const sealed = new Uint8Array(plaintext.length + TAG_LENGTH);
  const opened = new Uint8Array(plaintext.length);
  key.seal(sealed, { nonce, text: plaintext, data });
  const isSame = encodeHex(sealed) === KNOWN_ANSWER.sealed &&
    key.open(opened, { nonce, text: sealed, data }) &&
    encodeHex(opened) === KNOWN_ANSWER.plaintext;
  sealed[0] = (sealed[0] ?? 0) ^ 1;
  const { primitives } = aead;
  using signer = primitives?.ed25519(decodeHex(KNOWN_ANSWER.seed));
  const areRight = primitives === undefined ||
    encodeHex(primitives.sha384(new TextEncoder().encode("abc"))) === KNOWN_ANSWER.sha384 &&
      encodeHex(primitives.hkdf(decodeHex(KNOWN_ANSWER.key), nonce, TAG_LENGTH)) === KNOWN_ANSWER.hkdf &&
      signer !== undefined && encodeHex(signer.sign(new Uint8Array(0))) === KNOWN_ANSWER.signature;
  return isSame && areRight && !key.open(opened, { nonce, text: sealed, data });
}

/**
 * AES-256-GCM of a library that is named by its path.
 *
 * @param path absolute; its dependencies must already be open
 * @returns undefined when it lacks one of the functions
 * @throws {SdkError} `sdk_library` when it cannot be opened, or gives a wrong result for a known vector.
 */
export function openAeadLibrary(path: string, dlopen: Dlopen = Deno.dlopen): AwsLcAead | undefined {
  let symbols: Deno.DynamicLibrary<typeof AEAD_SYMBOLS & typeof PRIMITIVE_SYMBOLS>["symbols"];
  try {
    ({ symbols } = dlopen(path, { ...AEAD_SYMBOLS, ...PRIMITIVE_SYMBOLS }));
  } catch (thrown) {
    throw sdkError("sdk_library", `Cannot open ${path} for AES-256-GCM`, { symbol: "dlopen", cause: thrown });
  }
  if (KEY_SYMBOLS.some((name) => symbols[name] === null)) return undefined;
  const aead: AwsLcAead = {
    name: "AWS-LC",
    newKey: (raw) => newKey(symbols as AeadSymbols, raw),
    primitives: primitivesOf(symbols),
  };
  if (isRight(aead)) return aead;
  throw sdkError("sdk_library", `AWS-LC of ${path} gives a wrong result for a published test vector`, {
    symbol: "EVP_AEAD_CTX_seal",
    hint: "The library is damaged, or is not AWS-LC: build the SDK again for this machine.",
  });
}

/**
 * AES-256-GCM of the SDK's libraries. They stay open until the process ends.
 *
 * @returns undefined when the SDK was built without exporting it
 * @throws {SdkError} `sdk_library` when the libraries cannot be opened, or give a wrong result.
 */
export function openAead(options: OpenLibrariesOptions = {}): AwsLcAead | undefined {
  // Opened in their order, so that the loader finds what the SDK needs.
  const { directory } = openLibraries(options);
  return openAeadLibrary(`${directory === "/" ? "" : directory}/${LIBRARY_FILES.sdk}`, options.dlopen);
}
