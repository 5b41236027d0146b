/** The port for random numbers: secrets depend on every source, and fail with any of them. */
import { assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { Random, type RandomSources, replaceGlobalGenerator } from "../../../../lib/shared/crypto/random.ts";
import { signDigest } from "../../../../lib/shared/crypto/secp256k1.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { newSecretKey } from "../../../helpers/new_secret_key.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Sources that give the same bytes each time, and every buffer that held them. */
function fixed(given: { readonly kernel?: number; readonly runtime?: number; readonly nsm?: number } = {}) {
  const buffers: Bytes[] = [];
  const filler = (value: number) => (bytes: Bytes) => {
    buffers.push(bytes);
    bytes.fill(value);
  };
  const sources = {
    kernel: filler(given.kernel ?? 1),
    runtime: filler(given.runtime ?? 2),
    nsm: {
      random: () => {
        const bytes = new Uint8Array(256).fill(given.nsm ?? 3);
        buffers.push(bytes);
        return Promise.resolve(bytes);
      },
    },
  } as const satisfies RandomSources;
  return { sources, buffers };
}

async function secretOf(sources: RandomSources, purpose = "test", length = 32): Promise<string> {
  using secret = await new Random(sources).secret(purpose, length);
  return encodeHex(secret.expose());
}

Deno.test("a secret is HKDF-SHA-256 over NSM, kernel and runtime, with its purpose: as Web Crypto computes it", async () => {
  const input = new Uint8Array([
    ...new Uint8Array(256).fill(3),
    ...new Uint8Array(32).fill(1),
    ...new Uint8Array(32).fill(2),
  ]);
  const key = await crypto.subtle.importKey("raw", input, "HKDF", false, ["deriveBits"]);
  const info = new TextEncoder().encode("denclave/random/test");
  const salt = new Uint8Array(0);
  const expected = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 48 * 8);
  assertEquals(await secretOf(fixed().sources, "test", 48), encodeHex(new Uint8Array(expected)));
});

for (const source of ["kernel", "runtime", "nsm"] as const) {
  Deno.test(`with all sources but one fixed (${source}), two secrets differ`, async () => {
    assertNotEquals(
      await secretOf(fixed({ [source]: 8 }).sources),
      await secretOf(fixed({ [source]: 9 }).sources),
    );
  });
}

Deno.test("each secret draws from every source anew", async () => {
  const { sources, buffers } = fixed();
  const random = new Random(sources);
  for (let turn = 0; turn < 3; turn++) (await random.secret("test", 32))[Symbol.dispose]();
  assertEquals(buffers.length, 9);
});

Deno.test("what a secret was made of is wiped", async () => {
  const { sources, buffers } = fixed();
  using _secret = await new Random(sources).secret("test", 32);
  assertEquals(buffers.map((bytes) => bytes.some((byte) => byte !== 0)), [false, false, false]);
});

const FAILURE = new EnclaveError("in a test", { code: "test" });
const FAILING: readonly (readonly [string, Partial<RandomSources>, number])[] = [
  ["the NSM", { nsm: { random: () => Promise.reject(FAILURE) } }, 0],
  ["the kernel", {
    kernel: () => {
      throw FAILURE;
    },
  }, 1],
  ["the runtime's generator", {
    runtime: () => {
      throw FAILURE;
    },
  }, 2],
];
for (const [what, failing, drawn] of FAILING) {
  Deno.test(`when ${what} fails, there is no secret, and what was drawn is wiped`, async () => {
    const { sources, buffers } = fixed();
    const random = new Random({ ...sources, ...failing });
    assertEquals(await assertRejects(() => random.secret("test", 32), EnclaveError), FAILURE);
    assertEquals(buffers.length, drawn);
    assertEquals(buffers.some((bytes) => bytes.some((byte) => byte !== 0)), false);
  });
}

for (const length of [0, 1, 31]) {
  Deno.test(`an NSM that gives ${length} bytes makes no secret`, async () => {
    const nsm = { random: () => Promise.resolve(new Uint8Array(length)) };
    const random = new Random({ ...fixed().sources, nsm });
    await assertRejects(() => random.secret("test", 32), EnclaveError, `gave ${length} random bytes`);
  });
}

Deno.test("nonces and ids come from the kernel alone, and none is made when it fails", () => {
  assertEquals(new Random(fixed({ kernel: 5 }).sources).bytes(12), new Uint8Array(12).fill(5));
  const broken = new Random({
    ...fixed().sources,
    kernel: () => {
      throw FAILURE;
    },
  });
  assertThrows(() => broken.bytes(12), EnclaveError, "in a test");
});

Deno.test("libraries that draw for themselves get the port's numbers", () => {
  const drawn: number[] = [];
  const { getRandomValues, randomUUID } = crypto;
  using key = newSecretKey();
  try {
    replaceGlobalGenerator((bytes) => {
      drawn.push(bytes.length);
      bytes.fill(9);
    });
    signDigest(key, new Uint8Array(32));
    const words = new Uint32Array(3);
    assertEquals(crypto.getRandomValues(words.subarray(1, 2))[0], 0x09090909);
    assertEquals([...words], [0, 0x09090909, 0]);
    assertEquals(crypto.randomUUID(), "09090909-0909-4909-8909-090909090909");
    // What the runtime refuses is refused.
    for (const wrong of [new Uint8Array(65_537), new Float64Array(1)]) {
      assertThrows(() => crypto.getRandomValues(wrong as Uint8Array<ArrayBuffer>), Error);
    }
  } finally {
    Object.assign(crypto, { getRandomValues, randomUUID });
  }
  // The signature was blinded: noble drew at least once.
  assertEquals([drawn.length > 2, ...drawn.slice(-2)], [true, 4, 16]);
});
