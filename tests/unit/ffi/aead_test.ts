/** The binding of AWS-LC's AEAD, through a mocked library: what it does when the library is not as it should be. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { createCipheriv, createDecipheriv, createHash, hkdfSync } from "node:crypto";
import { type AwsLcAead, openAead, openAeadLibrary } from "../../../ffi/aead.ts";
import { AEAD_SYMBOLS, PRIMITIVE_SYMBOLS } from "../../../ffi/symbols.ts";
import { NODE_PRIMITIVES } from "../../../lib/enclave/receipts/receipts.ts";
import { SdkError } from "../../../ffi/errors.ts";
import { writeWord } from "../../../ffi/layout.ts";
import type { Dlopen } from "../../../ffi/library.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Symbols = Deno.DynamicLibrary<typeof AEAD_SYMBOLS & typeof PRIMITIVE_SYMBOLS>["symbols"];

const [AEAD, DIGEST] = [0x10n, 0x20n];

type Fault =
  | "wrong"
  | "no_context"
  | "refuses"
  | "short"
  | "opens_all"
  | "wrong_hash"
  | "no_hkdf"
  | "wrong_signature"
  | "no_signature";

/** A library with AES-256-GCM by `node:crypto`, whose faults are set. */
class MockAwsLc {
  keys = new Map<bigint, Bytes>();
  freed: bigint[] = [];
  opened: string[] = [];
  missing: keyof Symbols | undefined;
  fault: Fault | undefined;
  privateKey: Bytes | undefined;
  #next = 0x1000n;

  readonly dlopen: Dlopen = ((path: string, table: object) => {
    this.opened.push(path);
    const symbols = "EVP_AEAD_CTX_new" in table ? this.#symbols() : {};
    if (this.missing !== undefined) Object.assign(symbols, { [this.missing]: null });
    return { symbols, close: () => {} };
  }) as never;

  #symbols(): Symbols {
    return {
      SHA384: (bytes, _length, out) => {
        (out as Bytes).set(createHash("sha384").update(bytes as Bytes).digest());
        if (this.fault === "wrong_hash") (out as Bytes)[3] = 0;
        return 0n;
      },
      EVP_sha384: () => DIGEST,
      HKDF: (out, length, digest, secret, _secretLength, salt, _saltLength, info) => {
        assertEquals(digest, DIGEST);
        const [ikm, own] = [secret as Bytes, salt as Bytes];
        (out as Bytes).set(new Uint8Array(hkdfSync("sha384", ikm, own, info as Bytes, Number(length))));
        return this.fault === "no_hkdf" ? 0 : 1;
      },
      ED25519_keypair_from_seed: (publicKey, privateKey, seed) => {
        using key = NODE_PRIMITIVES.ed25519(seed as Bytes);
        (publicKey as Bytes).set(key.publicKey);
        this.privateKey = privateKey as Bytes;
        this.privateKey.set(seed as Bytes);
      },
      ED25519_sign: (out, message, length, privateKey) => {
        const [text, secret] = [message as Bytes, privateKey as Bytes];
        assertEquals([length, secret.length], [BigInt(text.length), 64]);
        using key = NODE_PRIMITIVES.ed25519(secret.slice(0, 32));
        (out as Bytes).set(key.sign(text));
        if (this.fault === "wrong_signature") (out as Bytes)[4] = 0;
        return this.fault === "no_signature" ? 0 : 1;
      },
      EVP_aead_aes_256_gcm: () => AEAD,
      EVP_AEAD_CTX_new: (aead, key, keyLength, tagLength) => {
        assertEquals([aead, keyLength, tagLength], [AEAD, 32n, 16n]);
        if (this.fault === "no_context") return 0n;
        this.#next += 16n;
        this.keys.set(this.#next, (key as Bytes).slice());
        return this.#next;
      },
      EVP_AEAD_CTX_free: (context) => {
        this.freed.push(BigInt(context));
        this.keys.delete(BigInt(context));
      },
      EVP_AEAD_CTX_seal: (context, out, written, _room, nonce, _nonceLength, text, _length, data) => {
        if (this.fault === "refuses") return 0;
        const cipher = createCipheriv("aes-256-gcm", this.#key(context), nonce as Bytes);
        cipher.setAAD(data as Bytes);
        const sealed = [...cipher.update(text as Bytes), ...cipher.final(), ...cipher.getAuthTag()];
        (out as Bytes).set(sealed);
        if (this.fault === "wrong") (out as Bytes)[3] = 0;
        writeWord(written as Bytes, 0, BigInt(sealed.length - (this.fault === "short" ? 1 : 0)));
        return 1;
      },
      EVP_AEAD_CTX_open: (context, out, written, _room, nonce, _nonceLength, text, _length, data) => {
        const sealed = text as Bytes;
        const decipher = createDecipheriv("aes-256-gcm", this.#key(context), nonce as Bytes);
        decipher.setAAD(data as Bytes);
        decipher.setAuthTag(sealed.subarray(sealed.length - 16));
        const plaintext = decipher.update(sealed.subarray(0, sealed.length - 16));
        (out as Bytes).set(plaintext);
        writeWord(written as Bytes, 0, BigInt(plaintext.length));
        try {
          decipher.final();
          return 1;
        } catch {
          return this.fault === "opens_all" ? 1 : 0;
        }
      },
    };
  }

  #key(context: bigint | number): Bytes {
    const key = this.keys.get(BigInt(context));
    if (key === undefined) throw new Error("a context that is not there was used");
    return key;
  }

  open(): AwsLcAead | undefined {
    return openAeadLibrary("/mock/lib.so", this.dlopen);
  }
}

Deno.test("the functions are looked for in the SDK's own library, opened after what it needs", () => {
  const mock = new MockAwsLc();
  const aead = openAead({ libraryDir: "/mock", dlopen: mock.dlopen });
  assertEquals(aead?.name, "AWS-LC");
  assertEquals(mock.opened.map((path) => path.replace("/mock/", "")), [
    "libnsm.so",
    "libaws-c-common.so",
    "libaws-nitro-enclaves-sdk-c.so",
    "libaws-nitro-enclaves-sdk-c.so",
  ]);
  // The key of the check at the start is gone again.
  assertEquals([mock.keys.size, mock.freed.length], [0, 1]);
});

for (const name of Object.keys(AEAD_SYMBOLS) as (keyof typeof AEAD_SYMBOLS)[]) {
  Deno.test(`a library without ${name} has no AES-256-GCM to offer`, () => {
    const mock = new MockAwsLc();
    mock.missing = name;
    assertEquals([mock.open(), mock.keys.size], [undefined, 0]);
  });
}

for (const fault of ["wrong", "opens_all", "wrong_hash", "wrong_signature"] as const) {
  Deno.test(`a library that gets a known answer wrong (${fault}) is refused, and keeps no key`, () => {
    const mock = new MockAwsLc();
    mock.fault = fault;
    assertThrows(() => mock.open(), SdkError, "wrong result");
    assertEquals(mock.keys.size, 0);
  });
}

for (const name of Object.keys(PRIMITIVE_SYMBOLS) as (keyof typeof PRIMITIVE_SYMBOLS)[]) {
  Deno.test(`a library without ${name} has keys, and other primitives by node:crypto`, () => {
    const mock = new MockAwsLc();
    mock.missing = name;
    assertEquals([mock.open()?.name, mock.open()?.primitives], ["AWS-LC", undefined]);
  });
}

Deno.test("hashes are those of node:crypto, and a derivation that fails is an error", () => {
  const mock = new MockAwsLc();
  const primitives = mock.open()?.primitives;
  assert(primitives !== undefined);
  const [secret, info] = [new Uint8Array(48).fill(1), new Uint8Array(60).fill(2)];
  assertEquals(primitives.sha384(info), NODE_PRIMITIVES.sha384(info));
  assertEquals(primitives.hkdf(secret, info, 96), NODE_PRIMITIVES.hkdf(secret, info, 96));
  mock.fault = "no_hkdf";
  assertThrows(() => primitives.hkdf(secret, info, 96), SdkError, "96 bytes");
});

Deno.test("a private Ed25519 key signs as node:crypto does until it is disposed, and is then zeros", () => {
  const mock = new MockAwsLc();
  const ed25519 = mock.open()?.primitives?.ed25519;
  assert(ed25519 !== undefined);
  assertEquals(mock.privateKey, new Uint8Array(64));
  assertThrows(() => ed25519(new Uint8Array(31)), RangeError, "31 bytes");
  const [seed, message] = [new Uint8Array(32).fill(5), new Uint8Array(70).fill(6)];
  using node = NODE_PRIMITIVES.ed25519(seed);
  const key = ed25519(seed);
  assertEquals([key.publicKey, key.sign(message)], [node.publicKey, node.sign(message)]);
  mock.fault = "no_signature";
  assertThrows(() => key.sign(message), SdkError, "did not sign");
  assertEquals(mock.privateKey?.subarray(0, 32), seed);
  key[Symbol.dispose]();
  assertEquals(mock.privateKey, new Uint8Array(64));
  assertThrows(() => key.sign(message), TypeError, "it was wiped");
});

Deno.test("a library that cannot be opened is named", () => {
  const dlopen: Dlopen = () => {
    throw new Error("no such file");
  };
  assertThrows(() => openAeadLibrary("/mock/lib.so", dlopen), SdkError, "/mock/lib.so");
});

Deno.test("a context that cannot be made, a seal that fails and a length that is not right are errors", () => {
  const mock = new MockAwsLc();
  const aead = mock.open();
  const key = aead?.newKey(new Uint8Array(32));
  const input = { nonce: new Uint8Array(12), text: new Uint8Array(5), data: new Uint8Array(0) };
  for (const fault of ["refuses", "short"] as const) {
    mock.fault = fault;
    const error = assertThrows(() => key?.seal(new Uint8Array(21), input), SdkError, "5 bytes");
    assertEquals(error.symbol, "EVP_AEAD_CTX_seal");
  }
  mock.fault = "no_context";
  assertThrows(() => aead?.newKey(new Uint8Array(32)), SdkError, "no AES-256-GCM context");
});

Deno.test("AWS-LC is not asked to seal or open in place, which its contract forbids", () => {
  using key = new MockAwsLc().open()?.newKey(new Uint8Array(32));
  const memory = new Uint8Array(64);
  const rest = { nonce: new Uint8Array(12), data: new Uint8Array(0) };
  for (const at of [0, 1, 20]) {
    const [plaintext, blob] = [memory.subarray(at, at + 16), memory.subarray(8, 40)];
    assertThrows(() => key?.seal(blob, { ...rest, text: plaintext }), RangeError, "in place");
    assertThrows(() => key?.open(plaintext, { ...rest, text: blob }), RangeError, "in place");
  }
  key?.seal(memory.subarray(16, 48), { ...rest, text: memory.subarray(0, 16) });
});

Deno.test("a key is freed once, and its context never used after", () => {
  const mock = new MockAwsLc();
  const key = mock.open()?.newKey(new Uint8Array(32));
  const before = mock.freed.length;
  for (let time = 0; time < 3; time++) key?.[Symbol.dispose]();
  assertEquals([mock.freed.length - before, mock.keys.size], [1, 0]);
  const input = { nonce: new Uint8Array(12), text: new Uint8Array(16), data: new Uint8Array(0) };
  assertThrows(() => key?.seal(new Uint8Array(32), input), TypeError, "wiped");
  assertThrows(() => key?.open(new Uint8Array(0), input), TypeError, "wiped");
});
