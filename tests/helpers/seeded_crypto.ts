/**
 * WebCrypto with the same results each time: P-384 keys and random bytes derived from a seed, ECDSA with the
 * deterministic nonce of RFC 6979. For corpora that must be reproducible; its keys are not secret.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { p384 } from "@noble/curves/nist.js";

type Bytes = Uint8Array<ArrayBuffer>;

const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;

/** SHA-256 of label, seed and a count: a new block each time. */
function source(seed: number): (length: number) => Bytes {
  let count = 0;
  return (length) => {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 32) {
      const block = createHash("sha256").update(`denclave seeded crypto ${seed} ${count++}`).digest();
      bytes.set(block.subarray(0, Math.min(32, length - at)), at);
    }
    return bytes;
  };
}

/**
 * Runs with `crypto` replaced, and puts it back. One at a time: whatever else runs meanwhile gets the same
 * numbers.
 *
 * @throws {TypeError} at any key but one of P-384.
 */
export async function withSeededCrypto<T>(seed: number, run: () => Promise<T>): Promise<T> {
  const bytes = source(seed);
  const secrets = new WeakMap<CryptoKey, Uint8Array>();
  const real = {
    generateKey: crypto.subtle.generateKey,
    sign: crypto.subtle.sign,
    getRandomValues: crypto.getRandomValues,
  };
  const generateKey = async (algorithm: EcKeyGenParams): Promise<CryptoKeyPair> => {
    if (algorithm.name !== P384.name || algorithm.namedCurve !== P384.namedCurve) {
      throw new TypeError("Cannot make a seeded key that is not of P-384");
    }
    const secret = p384.utils.randomSecretKey(bytes(72));
    const point = p384.getPublicKey(secret, false);
    const publicKey = await crypto.subtle.importKey("raw", new Uint8Array(point), P384, true, ["verify"]);
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", publicKey);
    const d = secret.toBase64({ alphabet: "base64url", omitPadding: true });
    const jwk = { kty, crv, x, y, d } as JsonWebKey;
    const privateKey = await crypto.subtle.importKey("jwk", jwk, P384, true, ["sign"]);
    secrets.set(privateKey, secret);
    return { publicKey, privateKey };
  };
  // deno-lint-ignore require-await
  const sign = async (_algorithm: unknown, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer> => {
    const secret = secrets.get(key);
    if (secret === undefined) throw new TypeError("Cannot sign with a key that was not made here");
    const view = ArrayBuffer.isView(data) ? data : new Uint8Array(data);
    const message = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    return new Uint8Array(p384.sign(message, secret, { lowS: false })).buffer;
  };
  const getRandomValues = <A extends ArrayBufferView>(array: A): A => {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes(array.byteLength));
    return array;
  };
  try {
    Object.assign(crypto.subtle, { generateKey, sign });
    Object.assign(crypto, { getRandomValues });
    return await run();
  } finally {
    Object.assign(crypto.subtle, { generateKey: real.generateKey, sign: real.sign });
    Object.assign(crypto, { getRandomValues: real.getRandomValues });
  }
}
