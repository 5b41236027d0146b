/** What accounts sign: against published vectors, and against ethers as the second implementation. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { addressOf, parseAddress } from "../../../../lib/shared/crypto/ethereum_address.ts";
import { parsePayload, signPayload } from "../../../../lib/enclave/wallet/ethereum/payload.ts";
import { PayloadError } from "../../../../lib/shared/crypto/payload_error.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import {
  hashMessage,
  recoverAddress,
  Signature,
  Transaction,
  TypedDataEncoder,
  Wallet,
} from "../../../deps/ethers.ts";
import { CHECKSUMMED_ADDRESSES, EIP155, EIP191, EIP712_MAIL } from "../../../fixtures/ethereum.ts";
import { newSecretKey } from "../../../helpers/new_secret_key.ts";

const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

function secretKey(hex: string): SecretBytes {
  return new SecretBytes(decodeHex(hex));
}

type Signed = ReturnType<typeof signPayload> & { signedTransaction?: string; transactionHash?: string };

function sign(key: SecretBytes, request: Record<string, unknown>): Signed {
  return signPayload(parsePayload(request, addressOf(key).text), key);
}

for (const address of CHECKSUMMED_ADDRESSES) {
  Deno.test(`EIP-55: ${address} is read in its own case and in one case, and written with its checksum`, () => {
    for (const text of [address, address.toLowerCase(), `0x${address.slice(2).toUpperCase()}`]) {
      assertEquals(parseAddress(text, "to").text, address);
    }
    assertEquals(encodeHex(parseAddress(address, "to").bytes), address.slice(2).toLowerCase());
  });
}

Deno.test("EIP-155: its own example is signed to its own bytes", () => {
  using key = secretKey(EIP155.secretKey);
  const signed = sign(key, { transaction: EIP155.transaction });
  assertEquals([signed.signedTransaction, signed.v], [EIP155.signed, EIP155.v]);
});

Deno.test("EIP-712: its own mail is signed to its own signature", () => {
  using key = secretKey(EIP712_MAIL.secretKey);
  const { r, s, v } = sign(key, { typedData: EIP712_MAIL.typedData });
  assertEquals({ r, s, v }, { r: EIP712_MAIL.r, s: EIP712_MAIL.s, v: EIP712_MAIL.v });
  assertEquals(addressOf(key).text, EIP712_MAIL.address);
});

Deno.test("EIP-191: a published message is signed to its published signature", () => {
  using key = secretKey(EIP191.secretKey);
  assertEquals(sign(key, { message: EIP191.message }).signature, EIP191.signature);
  assertEquals(addressOf(key).text, EIP191.address);
});

Deno.test("a message as bytes is the message as text", () => {
  using key = secretKey(EIP191.secretKey);
  const raw = `0x${encodeHex(new TextEncoder().encode(EIP191.message))}`;
  assertEquals(sign(key, { message: { raw } }), sign(key, { message: EIP191.message }));
});

const TO = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const GAS = { nonce: 7, gasLimit: "100000", chainId: 137 };
const FEES = { maxFeePerGas: "0x77359400", maxPriorityFeePerGas: "1000000000" };
const ACCESS_LIST = [{ address: TO, storageKeys: [`0x${"01".repeat(32)}`, `0x${"ff".repeat(32)}`] }];

/** Signed by nobody in particular. */
const AUTHORIZATION = {
  chainId: 137,
  address: TO,
  nonce: 7,
  yParity: 0,
  r: "0x1234",
  s: `0x${"07".repeat(32)}`,
};

const TRANSACTIONS: readonly (readonly [string, Record<string, unknown>])[] = [
  ["legacy, a transfer", { ...GAS, gasPrice: 1, to: TO, value: "0xde0b6b3a7640000" }],
  ["legacy, the largest chain id", { ...GAS, chainId: "4503599627370477", gasPrice: 1, to: TO }],
  ["legacy, a contract's creation", { ...GAS, gasPrice: 1, data: "0x6001600155" }],
  ["EIP-2930, by its type's number", {
    ...GAS,
    type: 1,
    gasPrice: "5",
    to: TO,
    value: 0,
    accessList: ACCESS_LIST,
  }],
  ["EIP-2930, without an access list", { ...GAS, type: "0x1", gasPrice: "5", to: TO }],
  ["EIP-1559, a transfer", { ...GAS, ...FEES, to: TO, value: "123456789012345678901234567890" }],
  ["EIP-1559, a call with an access list", {
    ...GAS,
    ...FEES,
    to: TO,
    data: `0xa9059cbb${"00".repeat(64)}`,
    accessList: ACCESS_LIST,
  }],
  ["EIP-1559, a contract's creation", { ...GAS, ...FEES, type: "eip1559", data: "0x60" }],
  ["EIP-4844, six blobs", {
    ...GAS,
    ...FEES,
    to: TO,
    value: 1,
    maxFeePerBlobGas: "0x3b9aca00",
    blobVersionedHashes: Array.from({ length: 6 }, (_, index) => `0x01${"0".repeat(61)}${index}`),
  }],
  ["EIP-7702, two authorizations", {
    ...GAS,
    ...FEES,
    to: TO,
    data: "0x01",
    accessList: ACCESS_LIST,
    authorizationList: [AUTHORIZATION, { ...AUTHORIZATION, chainId: 0, nonce: "0xffff", yParity: "0x1" }],
  }],
  ["EIP-1559, nonce and value 0", { ...GAS, ...FEES, nonce: 0, value: 0, to: TO.toLowerCase() }],
];

for (const [name, transaction] of TRANSACTIONS) {
  Deno.test(`a transaction is signed to the bytes that ethers gives: ${name}`, async () => {
    using key = newSecretKey();
    const wallet = new Wallet(`0x${encodeHex(key.expose())}`);
    const type = { legacy: 0, eip1559: 2, "0x1": 1, "1": 1 }[String(transaction["type"])] ??
      ("authorizationList" in transaction
        ? 4
        : "blobVersionedHashes" in transaction
        ? 3
        : "maxFeePerGas" in transaction
        ? 2
        : 0);
    const signed = sign(key, { transaction });
    const { type: _, ...fields } = transaction;
    const authorizationList = (fields["authorizationList"] as typeof AUTHORIZATION[] | undefined)?.map(
      ({ yParity, r, s, ...rest }) => {
        const padded = (hex: string) => `0x${hex.slice(2).padStart(64, "0")}`;
        const signature = Signature.from({ r: padded(r), s: padded(s), yParity: Number(yParity) as 0 | 1 });
        return { ...rest, chainId: BigInt(rest.chainId), nonce: BigInt(rest.nonce), signature };
      },
    );
    const lists = authorizationList === undefined ? {} : { authorizationList };
    const expected = await wallet.signTransaction({ ...fields, type, ...lists });
    assertEquals(signed.signedTransaction, expected);
    const read = Transaction.from(expected);
    assertEquals(signed.transactionHash, read.hash);
    assertEquals(read.from, addressOf(key).text);
    assertEquals([signed.r, signed.s, signed.yParity], [
      read.signature?.r,
      read.signature?.s,
      read.signature?.yParity,
    ]);
    assertEquals(signed.v, type === 0 ? Number(read.signature?.networkV) : signed.yParity);
  });
}

Deno.test("an authorization is signed as ethers signs it, and is an item of a transaction's list", async () => {
  using key = newSecretKey();
  const wallet = new Wallet(`0x${encodeHex(key.expose())}`);
  for (const [chainId, nonce] of [[0, 0], [1, 7], ["0x89", "18446744073709551614"]] as const) {
    const signed = sign(key, { authorization: { chainId, address: TO, nonce } });
    const theirs = await wallet.authorize({ chainId: BigInt(chainId), address: TO, nonce: BigInt(nonce) });
    assertEquals(signed.signature, theirs.signature.serialized);
    const { authorization } = signed as unknown as { authorization: typeof AUTHORIZATION };
    const transaction = { ...GAS, ...FEES, to: TO, authorizationList: [authorization] };
    const { signedTransaction } = sign(key, { transaction });
    const [read] = Transaction.from(String(signedTransaction)).authorizationList ?? [];
    assertEquals([read?.signature.serialized, read?.nonce], [signed.signature, BigInt(nonce)]);
  }
});

Deno.test("messages, typed data and digests of fresh keys are signed as ethers signs them, low s, and recover to the address", async () => {
  const { domain, types: { EIP712Domain: _, ...types }, message } = EIP712_MAIL.typedData;
  for (let round = 0; round < 20; round++) {
    using key = newSecretKey();
    const wallet = new Wallet(`0x${encodeHex(key.expose())}`);
    const text = `round ${round} ✓`;
    const digest = `0x${encodeHex(crypto.getRandomValues(new Uint8Array(32)))}`;
    const mail = { ...message, contents: text };
    const cases = [
      [sign(key, { message: text }), await wallet.signMessage(text), hashMessage(text)],
      [
        sign(key, { typedData: { ...EIP712_MAIL.typedData, message: mail } }),
        await wallet.signTypedData(domain, structuredClone(types) as never, mail),
        TypedDataEncoder.hash(domain, structuredClone(types) as never, mail),
      ],
      [sign(key, { digest }), wallet.signingKey.sign(digest).serialized, digest],
    ] as const;
    for (const [ours, theirs, hash] of cases) {
      assertEquals(ours.signature, theirs);
      assertEquals(recoverAddress(hash, Signature.from(ours.signature)), addressOf(key).text);
      assert(BigInt(ours.s) <= HALF_ORDER);
    }
  }
});

Deno.test("typed data without its domain's type is signed as with it", () => {
  using key = newSecretKey();
  const { types: { EIP712Domain: _, ...types }, ...rest } = EIP712_MAIL.typedData;
  assertEquals(sign(key, { typedData: { ...rest, types } }), sign(key, { typedData: EIP712_MAIL.typedData }));
});

const ADDRESS = "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826";
const LEGACY = { ...GAS, gasPrice: 1, to: TO };
const MAIL = EIP712_MAIL.typedData;
const BLOB = `0x01${"ab".repeat(31)}`;
const blobs = (blobVersionedHashes: readonly string[], more: object = {}) => ({
  transaction: { ...GAS, ...FEES, to: TO, maxFeePerBlobGas: 1, blobVersionedHashes, ...more },
});
const delegation = (authorizationList: readonly unknown[], more: object = {}) => ({
  transaction: { ...GAS, ...FEES, to: TO, authorizationList, ...more },
});
const delegate = (more: object) => delegation([{ ...AUTHORIZATION, ...more }]);
const legacy = (more: object) => ({ transaction: { ...LEGACY, ...more } });
/** The mail with another type of its domain. */
function domainType(
  keep: (field: { name: string }) => boolean,
  types: Readonly<Record<string, string>> = {},
) {
  const EIP712Domain = MAIL.types.EIP712Domain.filter(keep)
    .map(({ name, type }) => ({ name, type: types[name] ?? type }));
  return mail({ types: { ...MAIL.types, EIP712Domain } });
}
const mail = (more: object) => ({ typedData: { ...MAIL, ...more } });

const REFUSED: readonly (readonly [string, Record<string, unknown>, string])[] = [
  ["a message of bytes that are no hex", { message: { raw: "0xzz" } }, "Field message"],
  ["a digest of 31 bytes", { digest: "00".repeat(31) }, "Field digest"],
  ["a digest that is no hex", { digest: "zz".repeat(32) }, "Field digest"],
  ["no chain id (before EIP-155)", legacy({ chainId: undefined }), "transaction.chainId is missing"],
  ["chain id 0", legacy({ chainId: 0 }), "transaction.chainId"],
  ["a chain id beyond exact numbers", legacy({ chainId: "4503599627370478" }), "transaction.chainId"],
  ["no nonce", legacy({ nonce: null }), "transaction.nonce is missing"],
  ["a nonce of 65 bits", legacy({ nonce: "0x10000000000000000" }), "transaction.nonce"],
  ["a value that JSON has rounded", legacy({ value: 1e18 }), "lost digits"],
  ["a negative value", legacy({ value: -1 }), "transaction.value"],
  ["a fractional value", legacy({ value: "1.5" }), "transaction.value"],
  ["a value of 257 bits", legacy({ value: `0x1${"00".repeat(32)}` }), "transaction.value"],
  ["a recipient of 19 bytes", legacy({ to: TO.slice(0, 40) }), "transaction.to"],
  ["no recipient and no data", legacy({ to: undefined }), "transaction.to is missing"],
  ["data of half a byte", legacy({ data: "0x1" }), "transaction.data"],
  ["data and input that differ", legacy({ data: "0x01", input: "0x02" }), "different things"],
  ["gas and gasLimit that differ", legacy({ gas: 5 }), "different things"],
  ["another sender", legacy({ from: TO }), "transaction.from"],
  ["an unknown type", legacy({ type: 5 }), "transaction.type"],
  ["a field of another type", legacy({ maxFeePerGas: 1, type: 0 }), "transaction.maxFeePerGas"],
  ["no blob", blobs([]), "transaction.blobVersionedHashes must be an array of 1 to 6"],
  ["seven blobs", blobs(Array(7).fill(BLOB)), "transaction.blobVersionedHashes must be an array of 1 to 6"],
  ["a blob's hash of another version", blobs([BLOB.replace("0x01", "0x02")]), "must begin with 0x01"],
  ["a blob's hash of 31 bytes", blobs([BLOB.slice(0, -2)]), "transaction.blobVersionedHashes[0]"],
  ["blobs without their fee", blobs([BLOB], { maxFeePerBlobGas: null }), "maxFeePerBlobGas is missing"],
  [
    "a blob fee of 257 bits",
    blobs([BLOB], { maxFeePerBlobGas: `0x1${"00".repeat(32)}` }),
    "maxFeePerBlobGas",
  ],
  ["blobs themselves", blobs([BLOB], { blobs: ["0x"] }), "transaction.blobs does not belong"],
  ["blobs and no recipient", blobs([BLOB], { to: null, data: "0x60" }), "transaction.to is missing"],
  ["blobs at the price of EIP-2930", blobs([BLOB], { gasPrice: 1 }), "transaction.gasPrice"],
  ["blobs and authorizations", blobs([BLOB], { authorizationList: [AUTHORIZATION] }), "does not belong"],
  ["blobs in EIP-1559", blobs([BLOB], { type: 2 }), "does not belong"],
  ["no authorization", delegation([]), "transaction.authorizationList must be an array of 1 to 64"],
  ["65 authorizations", delegation(Array(65).fill(AUTHORIZATION)), "1 to 64"],
  [
    "authorizations and no recipient",
    delegation([AUTHORIZATION], { to: null, data: "0x60" }),
    "transaction.to",
  ],
  ["an authorization that is none", delegation([null]), "authorizationList[0] must be"],
  ["an authorization with a field more", delegate({ v: 27 }), "authorizationList[0].v does not belong"],
  ["an authorization without a chain", delegate({ chainId: undefined }), "authorizationList[0].chainId"],
  ["an authorization of a chain beyond exact numbers", delegate({ chainId: "4503599627370478" }), "chainId"],
  [
    "an authorization for a wrong checksum",
    delegate({ address: `0x5${TO.slice(3)}`.replace("a", "A") }),
    "address",
  ],
  ["an authorization with the last nonce", delegate({ nonce: "18446744073709551615" }), "[0].nonce"],
  ["an authorization with a parity of 2", delegate({ yParity: 2 }), "[0].yParity"],
  [
    "an authorization with s in the upper half",
    delegate({ s: `0x${(HALF_ORDER + 1n).toString(16)}` }),
    "r or s",
  ],
  ["an authorization with s 0", delegate({ s: 0 }), "r or s"],
  ["an authorization with r 0", delegate({ r: 0 }), "r or s"],
  [
    "an authorization with r of the group's order",
    delegate({ r: `0x${(HALF_ORDER * 2n + 1n).toString(16)}` }),
    "r or s",
  ],
  ["an authorization to sign that is signed", { authorization: AUTHORIZATION }, "authorization.yParity"],
  [
    "an authorization to sign without a nonce",
    { authorization: { chainId: 1, address: TO } },
    "authorization.nonce",
  ],
  ["an authorization and a digest", { authorization: {}, digest: "00".repeat(32) }, "exactly one of"],
  ["a signature already", legacy({ r: "0x1" }), "transaction.r"],
  [
    "a tip above the fee",
    { transaction: { ...GAS, to: TO, maxFeePerGas: 1, maxPriorityFeePerGas: 2 } },
    "maxPriorityFeePerGas",
  ],
  [
    "an access list with a short key",
    legacy({ type: 1, accessList: [{ address: TO, storageKeys: ["0x01"] }] }),
    "accessList[0].storageKeys",
  ],
  ["an unknown primary type", mail({ primaryType: "Post" }), "typedData.primaryType"],
  ["a primary type of the prototype", mail({ primaryType: "toString" }), "typedData.primaryType"],
  ["the domain as the message", mail({ primaryType: "EIP712Domain" }), "typedData.primaryType"],
  ["a domain field of no standard", mail({ domain: { ...MAIL.domain, x: 1 } }), "typedData.domain.x"],
  [
    "a domain whose type leaves the chain out",
    domainType((field) => field.name !== "chainId"),
    "EIP712Domain",
  ],
  [
    "a domain whose type calls the chain text",
    domainType(() => true, { chainId: "string" }),
    "EIP712Domain",
  ],
  ["a chain that JSON has rounded", mail({ domain: { ...MAIL.domain, chainId: 2 ** 53 } }), "lost digits"],
];

for (const [what, request, words] of REFUSED) {
  Deno.test(`not signed, and the field named: ${what}`, () => {
    const error = assertThrows(() => parsePayload(request, ADDRESS), PayloadError);
    assert(error.message.includes(words), error.message);
  });
}

/** A type for one value, and the value. */
function typed(type: string, value: unknown): Record<string, unknown> {
  return {
    typedData: { types: { T: [{ name: "x", type }] }, primaryType: "T", domain: {}, message: { x: value } },
  };
}

const TO_LOWER = TO.toLowerCase();
const VALUES: readonly (readonly [string, unknown])[] = [
  ["string", ""],
  ["string", "Zoë ☃ 🔑"],
  ["bool", true],
  ["address", TO],
  ["address", TO_LOWER],
  ["uint8", 255],
  ["uint8", "0xff"],
  ["uint256", "115792089237316195423570985008687907853269984665640564039457584007913129639935"],
  ["int8", -128],
  ["int8", "127"],
  ["int256", "-57896044618658097711785492504343953926634992332820282019728792003956564819968"],
  ["bytes", "0x"],
  ["bytes", "0xABcd"],
  ["bytes1", "0xff"],
  ["bytes32", `0x${"01".repeat(32)}`],
  ["uint256[]", []],
  ["uint256[]", [1, "2", "0x3"]],
  ["uint8[2]", [1, 2]],
  ["string[2][]", [["a", "b"], ["c", "d"]]],
  ["bytes[][1]", [["0x00", "0x"]]],
  [`uint256${"[]".repeat(24)}`, Array(24).fill(undefined).reduce((inner: unknown) => [inner], 1)],
];

for (const [type, value] of VALUES) {
  Deno.test(`typed data is signed as ethers signs it: ${type} ${JSON.stringify(value)}`, async () => {
    using key = newSecretKey();
    const wallet = new Wallet(`0x${encodeHex(key.expose())}`);
    const theirs = await wallet.signTypedData({}, { T: [{ name: "x", type }] }, { x: value });
    assertEquals(sign(key, typed(type, value)).signature, theirs);
  });
}

const BAD_VALUES: readonly (readonly [string, unknown])[] = [
  ["string", 1],
  ["string", "\ud800"],
  ["bool", 1],
  ["bool", "true"],
  ["address", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"],
  ["address", "0x1"],
  ["uint8", 256],
  ["uint8", -1],
  ["uint8", ""],
  ["uint8", "0b1"],
  ["uint8", "1.0"],
  ["uint8", 2 ** 60],
  ["int8", 128],
  ["int8", "-129"],
  ["int8", "-0x1"],
  ["bytes", ""],
  ["bytes", "abcd"],
  ["bytes", "0xabc"],
  ["bytes4", "01020304"],
  ["bytes4", "0x010203"],
  ["bytes1", "0x1"],
  ["uint256[]", {}],
  ["uint256[2]", [1]],
  ["uint", 1],
  ["int", 1],
  ["uint08", 1],
  ["uint7", 1],
  ["uint264", 1],
  ["bytes0", "0x"],
  ["bytes04", "0x01020304"],
  ["bytes33", `0x${"00".repeat(33)}`],
  ["uint256[0]", []],
  [`uint256${"[]".repeat(25)}`, []],
  [`uint256${"[]".repeat(100_000)}`, []],
  ["Unknown", {}],
  ["T", null],
  ["string ", "a"],
];

for (const [type, value] of BAD_VALUES) {
  Deno.test(`typed data is not signed: ${type.slice(0, 30)} ${JSON.stringify(value)}`, () => {
    assertThrows(() => parsePayload(typed(type, value), ADDRESS), PayloadError, "Field typedData");
  });
}

for (
  const [what, message, words] of [
    ["a field missing", { from: MAIL.message.from, to: MAIL.message.to }, "contents is missing"],
    ["a field too many", { ...MAIL.message, extra: "x" }, "extra is not a field of Mail"],
    ["a struct that is null", { ...MAIL.message, to: null }, "message.to must be an object"],
  ] as const
) {
  Deno.test(`typed data that does not fit its types is not signed, and the field named: ${what}`, () => {
    assertThrows(() => parsePayload(mail({ message }), ADDRESS), PayloadError, words);
  });
}

/** Types for a value of the primary type A, which has one field x. */
function named(types: Readonly<Record<string, readonly { name: string; type: string }[]>>, x: unknown) {
  const [primaryType = ""] = Object.keys(types);
  const [field = ""] = types[primaryType]?.map(({ name }) => name) ?? [];
  return { typedData: { types, primaryType, domain: {}, message: { [field]: x } } };
}
const INNER = [{ name: "y", type: "bool" }];

for (
  const [what, request, words] of [
    [
      "a struct in a type with a colon",
      named({ "A:B": [{ name: "x", type: "C[]" }], C: INNER }, []),
      "colon",
    ],
    [
      "a struct with a colon in a type",
      named({ A: [{ name: "x", type: "B:C" }], "B:C": INNER }, {}),
      "colon",
    ],
    ["a type's name of 257 characters", named({ ["A".repeat(257)]: INNER }, true), "not a struct name"],
    [
      "a field's name of 257 characters",
      named({ A: [{ name: "x".repeat(257), type: "bool" }] }, true),
      ".name",
    ],
    ["a field without a name", named({ A: [{ name: "", type: "bool" }] }, true), ".name must be"],
    [
      "a field's name with a comma",
      named({ A: [{ name: "x,bool y", type: "bool" }] }, true),
      ".name must be",
    ],
    ["a field's name with a space", named({ A: [{ name: "x y", type: "bool" }] }, true), ".name must be"],
    ["a field's name with a bracket", named({ A: [{ name: "x)B(", type: "bool" }] }, true), ".name must be"],
    [
      "a field's name that turns text",
      named({ A: [{ name: "a\u202eb", type: "bool" }] }, true),
      ".name must be",
    ],
    [
      "a field's name that is no text",
      named({ A: [{ name: "\ud800", type: "bool" }] }, true),
      ".name must be",
    ],
    [
      "names that are long together",
      named(
        Object.fromEntries(Array.from({ length: 32 }, (_, index) => [
          `${"T".repeat(250)}${index}`,
          Array.from({ length: 4 }, (_, at) => ({ name: `${"x".repeat(250)}${at}`, type: "bool" })),
        ])),
        true,
      ),
      "longer than 32768 characters",
    ],
    [
      "a switch that is text",
      { ...named({ A: INNER }, true), ignoreUndeclared: "true" },
      "ignoreUndeclared must",
    ],
    [
      "a missing field, though undeclared ones are ignored",
      { typedData: { ...MAIL, message: { ...MAIL.message, to: {} } }, ignoreUndeclared: true },
      "message.to.name is missing",
    ],
    [
      "an undeclared member of the domain",
      mail({ domain: { ...MAIL.domain, salt: `0x${"00".repeat(32)}` } }),
      "domain.salt is not a field",
    ],
  ] as const
) {
  Deno.test(`typed data is not signed, and the reason is given: ${what}`, () => {
    const error = assertThrows(() => parsePayload(request, ADDRESS), PayloadError);
    assert(error.message.includes(words), error.message);
  });
}

Deno.test("with ignoreUndeclared, undeclared members of any shape and depth change nothing of what is signed", () => {
  using key = newSecretKey();
  const { from: sender, to: receiver, contents } = MAIL.message;
  const message = { from: { ...sender, extra: [{ a: 1 }] }, to: receiver, contents, extra: { deep: null } };
  const domain = { ...MAIL.domain, salt: 5, extra: "x" };
  const request = { typedData: { ...MAIL, domain, message }, ignoreUndeclared: true };
  assertEquals(sign(key, request), sign(key, { typedData: MAIL }));
  assertThrows(() => sign(key, { ...request, ignoreUndeclared: false }), PayloadError, "is not a field of");
});

Deno.test("the slowest typed data within the limits is read in less than half a second", () => {
  const names = Array.from({ length: 32 }, (_, index) => `T${"x".repeat(100)}${index}`);
  const types = Object.fromEntries(names.map((name, at) => [
    name,
    Array.from(
      { length: 8 },
      (_, index) => ({ name: `f${index}`, type: `${names[(at + index + 1) % 32]}[]` }),
    ),
  ]));
  const empty = (depth: number): unknown =>
    Object.fromEntries(
      Array.from(
        { length: 8 },
        (_, index) => [`f${index}`, depth > 0 && index < 3 ? [empty(depth - 1)] : []],
      ),
    );
  const typedData = { types, primaryType: names[0], domain: {}, message: empty(5) };
  const begun = performance.now();
  parsePayload({ typedData }, ADDRESS);
  const ms = performance.now() - begun;
  assert(ms < 500, `${ms} ms`);
});

Deno.test("a struct that takes the name of a type of the standard is refused", () => {
  const types = { T: [{ name: "x", type: "uint256" }], uint256: [{ name: "y", type: "string" }] };
  const typedData = { types, primaryType: "T", domain: {}, message: { x: { y: "a" } } };
  assertThrows(() => parsePayload({ typedData }, ADDRESS), PayloadError, "not a struct name");
});

Deno.test("types that refer to themselves are bounded by depth, and types by number, fields by number, values by number", () => {
  let nested: unknown = [];
  for (let depth = 0; depth < 40; depth++) nested = [{ next: nested }];
  const recursive = {
    types: { Node: [{ name: "next", type: "Node[]" }] },
    primaryType: "Node",
    domain: {},
    message: { next: nested },
  };
  assertThrows(() => parsePayload({ typedData: recursive }, ADDRESS), PayloadError, "nested deeper");
  const many = Array.from({ length: 33 }, (_, index) => [`T${index}`, [{ name: "x", type: "bool" }]]);
  const tooMany = { types: Object.fromEntries(many), primaryType: "T0", domain: {}, message: { x: true } };
  assertThrows(() => parsePayload({ typedData: tooMany }, ADDRESS), PayloadError, "more than 32 types");
  const wide = Array.from({ length: 257 }, (_, index) => ({ name: `x${index}`, type: "bool" }));
  const tooWide = { types: { T: wide }, primaryType: "T", domain: {}, message: {} };
  assertThrows(() => parsePayload({ typedData: tooWide }, ADDRESS), PayloadError, "more than 256 fields");
  assertThrows(
    () => parsePayload(typed("bool[]", Array(4_001).fill(true)), ADDRESS),
    PayloadError,
    "beyond 4000 values",
  );
  assertThrows(
    () => parsePayload(typed("string", "x".repeat(300_000)), ADDRESS),
    PayloadError,
    "bytes of text",
  );
});

Deno.test("typed data that refers to itself within bounds is signed as ethers signs it", async () => {
  using key = newSecretKey();
  const types = { Node: [{ name: "value", type: "uint8" }, { name: "children", type: "Node[]" }] };
  const message = {
    value: 1,
    children: [{ value: 2, children: [] }, { value: 3, children: [{ value: 4, children: [] }] }],
  };
  // Ethers refuses types that refer to themselves: so against what micro-eth-signer's own recovery says.
  const { recoverAddressTyped } = await import("micro-eth-signer");
  const { signature } = sign(key, { typedData: { types, primaryType: "Node", domain: {}, message } });
  const typedData = { types, primaryType: "Node", domain: {}, message } as never;
  assertEquals(recoverAddressTyped(signature, typedData), addressOf(key).text);
});

for (
  const [field, request] of [
    ["transaction.data", legacy({ data: `0x${"00".repeat(5_000_000)}` })],
    ["message.raw", { message: { raw: `0x${"00".repeat(5_000_000)}` } }],
  ] as const
) {
  Deno.test(`ten megabytes of hex are refused by their field: ${field}`, () => {
    assertThrows(
      () => parsePayload(request, ADDRESS),
      PayloadError,
      `Field ${field} must be 0x and hex of at most`,
    );
  });
}

Deno.test("an access list is bounded as a whole", () => {
  const entries = (addresses: number, keys: number) =>
    Array.from(
      { length: addresses },
      () => ({ address: TO, storageKeys: Array(keys).fill(`0x${"01".repeat(32)}`) }),
    );
  for (const accessList of [entries(257, 0), entries(2, 513)]) {
    assertThrows(
      () => parsePayload(legacy({ type: 1, accessList }), ADDRESS),
      PayloadError,
      "accessList",
    );
  }
});
