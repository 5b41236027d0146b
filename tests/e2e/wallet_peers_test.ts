/**
 * What accounts sign, compared with what viem, ethers, MetaMask's eth-sig-util and eth_account (Python) make
 * of the same random data. Each test prints its seed; `--seed=N` after `--` repeats a run.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { encodeHex } from "@std/encoding";
import fc from "fast-check";
import { addressOf } from "../../lib/shared/crypto/ethereum_address.ts";
import { PayloadError } from "../../lib/shared/crypto/payload_error.ts";
import { parsePayload, signPayload } from "../../lib/enclave/wallet/ethereum/payload.ts";
import { SignTypedDataVersion, TypedDataUtils } from "../deps/eth_sig_util.ts";
import { getAddress, Signature, TypedDataEncoder, Wallet } from "../deps/ethers.ts";
import { hashTypedData, privateKeyToAccount } from "../deps/viem.ts";
import { newSecretKey } from "../helpers/new_secret_key.ts";
import { hasMoto } from "../helpers/peers.ts";
import { type PythonPeer, startPythonPeer } from "../helpers/python_peer.ts";
import { typedDataVectors } from "../helpers/vectors.ts";

const CASES = 1_000;
const seed = Number(Deno.args.find((arg) => arg.startsWith("--seed="))?.slice(7) ?? Date.now() % 2 ** 31);

let eth_account: PythonPeer | undefined;
Deno.test.afterAll(async () => await eth_account?.end());

async function askPython(question: Readonly<Record<string, unknown>>): Promise<unknown> {
  eth_account ??= startPythonPeer("eth_account_peer.py");
  const { answer, error } = await eth_account.ask(question) as { answer?: unknown; error?: string };
  if (error !== undefined) throw new Error(`eth_account: ${error}: ${JSON.stringify(question)}`);
  return answer;
}

const key = newSecretKey();
Deno.test.afterAll(() => key[Symbol.dispose]());
const privateKey = `0x${encodeHex(key.expose())}` as const;
const ethers = new Wallet(privateKey);
const viem = privateKeyToAccount(privateKey);
const from = addressOf(key).text;

function sign(request: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return signPayload(parsePayload(request, from), key);
}

type Hex = `0x${string}`;
const hex = (number: bigint): Hex => `0x${number.toString(16)}`;
/** Small numbers more often than others, since their encoding is the special case. */
const number = (bits: number, less = 0n) => {
  const max = 2n ** BigInt(bits) - 1n - less;
  return fc.oneof(fc.bigInt(0n, max < 300n ? max : 300n), fc.bigInt(0n, max));
};
const bytes = (min: number, max = min) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((value): Hex => `0x${encodeHex(value)}`);
const address = bytes(20);
/** From 1, as JSON of the libraries has it exactly. */
const chainId = fc.oneof(fc.constantFrom(1, 137, 8453), fc.integer({ min: 1, max: 2 ** 51 }));
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const TRANSACTION = {
  chainId,
  // ethers takes it as a JavaScript number.
  nonce: number(53),
  gasLimit: number(64),
  fees: fc.tuple(number(128), number(128)),
  to: address,
  value: number(256),
  data: fc.oneof(fc.constant<Hex>("0x"), bytes(0, 100)),
  accessList: fc.array(fc.record({ address, storageKeys: fc.array(bytes(32), { maxLength: 3 }) }), {
    maxLength: 3,
  }),
};

const AUTHORIZATION = fc.record({
  chainId: fc.oneof(fc.constant(0), chainId),
  address,
  nonce: number(64, 1n),
  yParity: fc.constantFrom(0, 1),
  r: fc.bigInt(1n, ORDER - 1n),
  s: fc.bigInt(1n, ORDER / 2n),
});

type Shared = Readonly<Record<string, unknown>> & {
  readonly nonce: bigint;
  readonly gasLimit: bigint;
  readonly fees: readonly [bigint, bigint];
  readonly value: bigint;
  readonly chainId: number;
};

/** The fields of JSON-RPC, with numbers in one notation or the other. */
function jsonOf(
  { nonce, gasLimit, fees: [a, b], value, ...rest }: Shared,
  notation: (number: bigint) => string,
) {
  const [maxPriorityFeePerGas, maxFeePerGas] = a < b ? [a, b] : [b, a];
  const numbers = { nonce, gasLimit, maxPriorityFeePerGas, maxFeePerGas, value };
  const entries = Object.entries(numbers).map(([name, number]) => [name, notation(number)] as const);
  return { json: { ...rest, ...Object.fromEntries(entries) }, big: { ...rest, ...numbers } };
}

const notation = fc.constantFrom(hex, String);

/** Runs a property on as many cases as docs/wallet.md says, in a step whose name has the seed. */
async function check<T>(
  context: Deno.TestContext,
  arbitrary: fc.Arbitrary<T>,
  property: (value: T) => Promise<void>,
): Promise<void> {
  const run = () => fc.assert(fc.asyncProperty(arbitrary, property), { seed, numRuns: CASES });
  await context.step(`${CASES} cases, seed ${seed}`, run);
}

if (hasMoto()) {
  Deno.test("1,000 random transactions (legacy, EIP-2930, EIP-1559) are signed as viem, ethers and eth_account sign them", async (context) => {
    const shape = fc.tuple(fc.record(TRANSACTION), fc.constantFrom(0, 1, 2), notation);
    await check(context, shape, async ([shared, type, notation]) => {
      const fieldsOf = ({ json, big }: ReturnType<typeof jsonOf>) =>
        [json, big].map((
          { accessList, maxFeePerGas, maxPriorityFeePerGas, ...rest }: Record<string, unknown>,
        ) => ({
          ...rest,
          ...(type === 0 ? {} : { accessList }),
          ...(type === 2 ? { maxFeePerGas, maxPriorityFeePerGas } : { gasPrice: maxFeePerGas }),
        })) as Record<string, unknown>[];
      const [json = {}, { gasLimit: gas, ...big } = {}] = fieldsOf(jsonOf(shared, notation));
      const { signedTransaction } = sign({ transaction: { ...json, type } });
      const ofViem = { ...big, gas, type: ["legacy", "eip2930", "eip1559"][type] };
      assertEquals(signedTransaction, await viem.signTransaction(ofViem as never));
      assertEquals(signedTransaction, await ethers.signTransaction({ ...big, gasLimit: gas, type } as never));
      const [{ gasLimit, ...given } = {}] = fieldsOf(jsonOf(shared, hex));
      const value = { ...given, to: getAddress(shared.to), gas: gasLimit, ...(type === 0 ? {} : { type }) };
      assertEquals(signedTransaction, await askPython({ kind: "transaction", key: privateKey, value }));
    });
  });

  Deno.test("1,000 random transactions with blobs are signed as viem, ethers and eth_account sign them", async (context) => {
    const blobs = {
      maxFeePerBlobGas: number(256),
      blobVersionedHashes: fc.array(bytes(31).map((hash): Hex => `0x01${hash.slice(2)}`), {
        minLength: 1,
        maxLength: 6,
      }),
    };
    await check(
      context,
      fc.tuple(fc.record({ ...TRANSACTION, ...blobs }), notation),
      async ([shared, notation]) => {
        const { json, big } = jsonOf(shared, notation);
        const maxFeePerBlobGas = notation(shared.maxFeePerBlobGas);
        const { signedTransaction } = sign({ transaction: { ...json, type: 3, maxFeePerBlobGas } });
        const { gasLimit: gas, ...fields } = big;
        assertEquals(
          signedTransaction,
          await viem.signTransaction({ ...fields, gas, type: "eip4844" } as never),
        );
        assertEquals(signedTransaction, await ethers.signTransaction({ ...big, type: 3 } as never));
        const { gasLimit, ...given } = jsonOf(shared, hex).json as Record<string, unknown>;
        const value = {
          ...given,
          to: getAddress(shared.to),
          gas: gasLimit,
          type: 3,
          maxFeePerBlobGas: hex(shared.maxFeePerBlobGas),
        };
        assertEquals(signedTransaction, await askPython({ kind: "transaction", key: privateKey, value }));
      },
    );
  });

  Deno.test("1,000 random transactions with authorizations, and their authorizations, are signed as viem, ethers and eth_account sign them", async (context) => {
    const lists = { authorizationList: fc.array(AUTHORIZATION, { minLength: 1, maxLength: 4 }) };
    await check(
      context,
      fc.tuple(fc.record({ ...TRANSACTION, ...lists }), notation),
      async ([shared, notation]) => {
        const { json, big } = jsonOf(shared, notation);
        const listOf = (notation: (number: bigint) => string) =>
          shared.authorizationList.map(({ nonce, r, s, ...rest }) => ({
            ...rest,
            nonce: notation(nonce),
            r: notation(r),
            s: notation(s),
          }));
        const { signedTransaction } = sign({ transaction: { ...json, authorizationList: listOf(notation) } });
        const { gasLimit: gas, ...fields } = big;
        const ofViem = shared.authorizationList.map((item) => ({ ...item, r: hex(item.r), s: hex(item.s) }));
        assertEquals(
          signedTransaction,
          await viem.signTransaction({ ...fields, gas, type: "eip7702", authorizationList: ofViem } as never),
        );
        const ofEthers = shared.authorizationList.map(({ chainId, r, s, yParity, ...rest }) => {
          const word = (value: bigint) => `0x${value.toString(16).padStart(64, "0")}`;
          const signature = Signature.from({ r: word(r), s: word(s), yParity: yParity as 0 | 1 });
          return { ...rest, chainId: BigInt(chainId), signature };
        });
        assertEquals(
          signedTransaction,
          await ethers.signTransaction({ ...big, type: 4, authorizationList: ofEthers } as never),
        );
        const { gasLimit, ...given } = jsonOf(shared, hex).json as Record<string, unknown>;
        const value = {
          ...given,
          to: getAddress(shared.to),
          gas: gasLimit,
          type: 4,
          authorizationList: listOf(hex),
        };
        assertEquals(signedTransaction, await askPython({ kind: "transaction", key: privateKey, value }));

        const { chainId, address, nonce } = shared.authorizationList[0] ??
          { chainId: 0, address: "", nonce: 0n };
        const { signature, authorization } = sign({
          authorization: { chainId, address, nonce: notation(nonce) },
        });
        const theirs = await ethers.authorize({ chainId, address, nonce });
        assertEquals(signature, theirs.signature.serialized);
        const { r, s, yParity } = await viem.signAuthorization({ chainId, address, nonce } as never);
        assertEquals(authorization, {
          address: theirs.address,
          chainId: hex(BigInt(chainId)),
          nonce: hex(nonce),
          yParity: hex(BigInt(yParity ?? -1)),
          r: hex(BigInt(r)),
          s: hex(BigInt(s)),
        });
        const python = await askPython({
          kind: "authorization",
          key: privateKey,
          value: { chainId, address, nonce: hex(nonce) },
        });
        assertEquals(python, [hex(BigInt(yParity ?? -1)), hex(BigInt(r)), hex(BigInt(s))]);
      },
    );
  });
}

interface TypedData {
  readonly types: Readonly<Record<string, readonly { readonly name: string; readonly type: string }[]>>;
  readonly primaryType: string;
  readonly domain: Readonly<Record<string, unknown>>;
  readonly message: Readonly<Record<string, unknown>>;
}

/** What this wallet signs of typed data. */
function ours(typedData: TypedData, ignoreUndeclared = false): string {
  const payload = parsePayload({ typedData, ignoreUndeclared }, from);
  if (payload.kind !== "typedData") throw new TypeError("It is typed data");
  return `0x${encodeHex(payload.data.digest)}`;
}

const theirs: Readonly<Record<string, (typedData: TypedData) => Promise<string> | string>> = {
  viem: (typedData) => hashTypedData(typedData as never),
  ethers: ({ domain, types: { EIP712Domain: _, ...types }, message }) =>
    TypedDataEncoder.hash(domain, structuredClone(types) as never, message),
  "eth-sig-util": (typedData) =>
    `0x${encodeHex(TypedDataUtils.eip712Hash(typedData as never, SignTypedDataVersion.V4))}`,
  ...(hasMoto()
    ? { eth_account: async (value) => String(await askPython({ kind: "typedData", value })) }
    : {}),
};

/** All of them give the same hash as this wallet. */
async function agree(typedData: TypedData, ignoreUndeclared = false): Promise<void> {
  const hash = ours(typedData, ignoreUndeclared);
  for (const [name, hashOf] of Object.entries(theirs)) {
    // A copy of the plain JSON, as it would arrive: a library may change what it is given.
    assertEquals([name, await hashOf(JSON.parse(JSON.stringify(typedData)))], [name, hash]);
  }
}

const DOMAIN = [
  ["name", "string", fc.string({ unit: "grapheme", minLength: 1 })],
  ["version", "string", fc.string({ minLength: 1 })],
  ["chainId", "uint256", fc.nat()],
  ["verifyingContract", "address", address],
  ["salt", "bytes32", bytes(32)],
] as const;

/** An elementary type, and values of it as JSON has them. */
const ELEMENT: fc.Arbitrary<readonly [string, fc.Arbitrary<unknown>]> = fc.oneof(
  fc.constant(["string", fc.string({ unit: "grapheme" })] as const),
  fc.constant(["bool", fc.boolean()] as const),
  fc.constant(["address", address] as const),
  fc.constant(["bytes", bytes(1, 70)] as const),
  fc.integer({ min: 1, max: 32 }).map((size) => [`bytes${size}`, bytes(size)] as const),
  fc.integer({ min: 1, max: 32 }).map((size) => [`uint${8 * size}`, number(8 * size).map(String)] as const),
  fc.integer({ min: 1, max: 32 }).map((size) => {
    const half = 2n ** BigInt(8 * size - 1);
    return [`int${8 * size}`, fc.bigInt(-half, half - 1n).map(String)] as const;
  }),
);

/**
 * Lengths of dimensions: 0 is `[]` in the type. Few of them are of more than one item, or there would be too
 * many values.
 */
const DIMENSIONS = fc.oneof(
  { weight: 4, arbitrary: fc.constant<number[]>([]) },
  { weight: 2, arbitrary: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 4 }) },
  { weight: 1, arbitrary: fc.array(fc.constantFrom(0, 1), { minLength: 1, maxLength: 24 }) },
);

/** Values of a type with these dimensions, the last one outermost. */
function arrayOf(dimensions: readonly number[], item: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const long = dimensions.length > 4;
  return dimensions.reduce(
    (inner, length) =>
      fc.array(inner, length > 0 ? { minLength: length, maxLength: length } : { maxLength: long ? 1 : 2 }),
    item,
  );
}

const typeOf = (base: string, dimensions: readonly number[]) =>
  base + dimensions.map((length) => `[${length || ""}]`).join("");

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_".split("");
const identifier = (maxLength: number) =>
  fc.tuple(fc.constantFrom(...LETTERS), fc.string({ unit: fc.constantFrom(...LETTERS, "0", "7"), maxLength }))
    .map(([first, rest]) => first + rest)
    .filter((name) => !/^(string|bool|address|bytes|u?int|EIP712Domain)/.test(name));
/** Names of fields: identifiers, and others that the libraries hash. */
const fieldName = fc.oneof(
  identifier(100),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
  fc.constantFrom("0", "1st", "from-chain", "a.b", "a:b", "__proto__", "constructor", "ünïcode", "🔑"),
).filter((name) => /^[^\s,()\p{C}]{1,256}$/u.test(name) && name.isWellFormed());

const SHAPE = fc.record({
  names: fc.uniqueArray(identifier(100), { minLength: 1, maxLength: 4 }),
  colon: fc.boolean(),
  fields: fc.array(
    fc.uniqueArray(fc.tuple(fieldName, ELEMENT, DIMENSIONS), { maxLength: 5, selector: ([name]) => name }),
    { minLength: 4, maxLength: 4 },
  ),
  parents: fc.array(fc.tuple(fc.nat(), DIMENSIONS), { minLength: 4, maxLength: 4 }),
  domain: fc.subarray([...DOMAIN]),
});

/** Typed data: the first type contains all others, each of which some type before it has as a field. */
const TYPED_DATA: fc.Arbitrary<TypedData> = SHAPE.chain(({ names, colon, fields, parents, domain }) => {
  // A colon is only signed in the name of a primary type without structs.
  const structs = names.map((name, index) => ({
    name: colon && names.length === 1 ? `Of:${name}:x` : name,
    fields: (fields[index] ?? []).map(([name, [base, values], dimensions]) => ({
      name,
      type: typeOf(base, dimensions),
      value: () => arrayOf(dimensions, values),
    })),
  }));
  const [first, ...others] = structs.map((struct) => ({ ...struct, values: fc.constant<unknown>({}) }));
  if (first === undefined) throw new TypeError("There is one name at least");
  const all = [first, ...others];
  const valuesOf = (index: number): fc.Arbitrary<Record<string, unknown>> => {
    const entries = (all[index]?.fields ?? []).map((field) =>
      field.value().map((value) => [field.name, value] as const)
    );
    return fc.tuple(...entries).map((entries) => Object.fromEntries(entries));
  };
  for (const index of others.keys()) {
    const child = index + 1;
    const [parent = 0, dimensions = []] = parents[index] ?? [];
    all[parent % child]?.fields.push({
      name: `child ${child}`.replace(" ", "-"),
      type: typeOf(all[child]?.name ?? "", dimensions),
      value: () => arrayOf(dimensions, valuesOf(child)),
    });
  }
  const types = {
    EIP712Domain: domain.map(([name, type]) => ({ name, type })),
    ...Object.fromEntries(
      all.map(({ name, fields }) => [name, fields.map(({ name, type }) => ({ name, type }))]),
    ),
  };
  return fc.record({
    types: fc.constant(types),
    primaryType: fc.constant(first.name),
    domain: fc.tuple(
      ...domain.map(([name, , values]) =>
        (values as fc.Arbitrary<unknown>).map((value) => [name, value] as const)
      ),
    )
      .map((entries) => Object.fromEntries(entries)),
    message: valuesOf(0),
  });
});

for (const [file, typedData] of Object.entries(typedDataVectors() ?? {})) {
  Deno.test(`typed data of ${file} is hashed as viem, ethers, eth-sig-util and eth_account hash it`, async () => {
    await agree(typedData as unknown as TypedData);
  });
}

Deno.test("1,000 random typed data are hashed as viem, ethers, eth-sig-util and eth_account hash them", async (context) => {
  await check(context, TYPED_DATA, (typedData) => agree(typedData));
});

Deno.test("1,000 random typed data with an undeclared member are refused, and with ignoreUndeclared hashed as the others hash them", async (context) => {
  await check(context, fc.tuple(TYPED_DATA, identifier(20)), async ([typedData, name]) => {
    const declared = typedData.types[typedData.primaryType]?.some((field) => field.name === name);
    fc.pre(!declared);
    const message = { ...typedData.message, [name]: { of: ["any", "shape"] } };
    const more = { ...typedData, message };
    assertThrows(() => ours(more), PayloadError, "is not a field of");
    assertEquals(ours(more, true), ours(typedData));
    await agree(more, true);
  });
});

Deno.test("1,000 random declared orders of the domain's fields are hashed as viem and eth-sig-util hash them", async (context) => {
  const shuffled = TYPED_DATA.chain((typedData) =>
    fc.shuffledSubarray([...typedData.types["EIP712Domain"] ?? []], {
      minLength: typedData.types["EIP712Domain"]?.length ?? 0,
    })
      .map((EIP712Domain) => ({ ...typedData, types: { ...typedData.types, EIP712Domain } }))
  );
  await check(context, shuffled, async (typedData) => {
    const hash = ours(typedData);
    for (const name of ["viem", "eth-sig-util"]) {
      assertEquals([name, await theirs[name]?.(structuredClone(typedData))], [name, hash]);
    }
  });
});
