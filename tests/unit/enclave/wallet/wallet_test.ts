/** The wallet: accounts made and used, and everything that must not be signed with. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { sealPrivateKey } from "../../../../lib/shared/crypto/bound_key.ts";
import { addressOf, parseAddress } from "../../../../lib/shared/crypto/ethereum_address.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { MAX_BATCH } from "../../../../lib/enclave/wallet/wallet_requests.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { hashMessage, recoverAddress } from "../../../deps/ethers.ts";
import { CREDENTIAL, KmsRefusal, walletRig } from "../../../helpers/wallet_rig.ts";
import { newSecretKey } from "../../../helpers/new_secret_key.ts";

const CACHE = { entries: 4, maxAgeMs: 60_000 };

/** One bit of base64's bytes changed. */
function flipped(base64: unknown): string {
  const bytes = decodeBase64(String(base64));
  const at = bytes.length - 3;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return encodeBase64(bytes);
}

const OTHER_ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

type Rig = Awaited<ReturnType<typeof walletRig>>;
const TAMPERED: readonly (readonly [
  string,
  (row: WireObject, other: WireObject, rig: Rig) => WireObject,
  string,
  string,
])[] = [
  ["name", (row) => ({ ...row, name: "mallory" }), "row_rejected", "name"],
  ["address", (row) => ({ ...row, address: OTHER_ADDRESS }), "row_rejected", "address"],
  [
    "encryptedPrivateKey",
    (row) => ({ ...row, encryptedPrivateKey: flipped(row["encryptedPrivateKey"]) }),
    "row_rejected",
    "encryptedPrivateKey",
  ],
  [
    "encryptedDataKey",
    (row) => ({ ...row, encryptedDataKey: flipped(row["encryptedDataKey"]) }),
    "row_rejected",
    "encryptedDataKey",
  ],
  [
    "key_id, by another allowed key",
    (row, _, { secondArn }) => ({ ...row, key_id: secondArn }),
    "row_rejected",
    "key_id",
  ],
  [
    "key_id, by a key that is not allowed",
    (row, _, { firstArn }) => ({ ...row, key_id: firstArn.replace("000000000000", "111111111111") }),
    "key_not_allowed",
    "allowed",
  ],
  ["key_id, by an alias", (row) => ({ ...row, key_id: "alias/wallet" }), "key_not_allowed", "allowed"],
  [
    "both keys of another row",
    (row, other) => ({
      ...row,
      encryptedPrivateKey: other["encryptedPrivateKey"],
      encryptedDataKey: other["encryptedDataKey"],
    }),
    "row_rejected",
    "encryptedDataKey",
  ],
  [
    "all but the name of another row",
    (row, other) => ({ ...other, name: row["name"] }),
    "row_rejected",
    "name",
  ],
];

for (const [what, tamper, code, words] of TAMPERED) {
  Deno.test(`a row does not open, and the error says what cannot be trusted: ${what}`, async () => {
    using rig = await walletRig({ cache: CACHE });
    const [row, other] = [await rig.account("alice"), await rig.account("bob")];
    // In the cache, so that a hit cannot skip what a miss would check.
    assertEquals((await rig.ask({ ...row, message: "a" }))["apiResponse"], "signResponse");
    const reply = await rig.ask({ ...tamper(row, other, rig), message: "a" });
    assertEquals([reply["apiResponse"], reply["status"], reply.msg], ["errorResponse", "error", code]);
    assert(reply.details.includes(words), reply.details);
  });
}

/** A row that a parent forges with `kms:Encrypt`: it knows the data key and the private key. */
async function forgedAccount(
  rig: Awaited<ReturnType<typeof walletRig>>,
  { context, wrappedBy = rig.firstArn, ...row }: {
    readonly context: Record<string, string>;
    readonly wrappedBy?: string;
    /** Instead of the private key's own. */
    readonly address?: string;
  },
): Promise<WireObject> {
  using privateKey = newSecretKey();
  using dataKey = new SecretBytes(crypto.getRandomValues(new Uint8Array(32)));
  const address = parseAddress(row.address ?? addressOf(privateKey).text, "address");
  const binding = {
    purpose: "wallet",
    subject: "alice",
    key: parseKeyArn(rig.firstArn),
    publicPart: address.bytes,
  } as const;
  const wrapped = await rig.local.encrypt(wrappedBy, dataKey.expose().slice(), context);
  return {
    ...await rig.account("alice"),
    address: address.text,
    encryptedDataKey: encodeBase64(wrapped),
    encryptedPrivateKey: encodeBase64(
      sealPrivateKey(dataKey, privateKey, { random: HOST_RANDOM.fill, binding }),
    ),
    message: "a",
  };
}

const OWN_CONTEXT = { app: "denclave", purpose: "wallet", name: "alice" };

Deno.test("a data key of the session service, or of another app, opens no account", async () => {
  using rig = await walletRig();
  const others = [{ ...OWN_CONTEXT, purpose: "tsk" }, { ...OWN_CONTEXT, app: "x" }, {
    ...OWN_CONTEXT,
    name: "bob",
  }, {}];
  for (const context of others) {
    const reply = await rig.ask(await forgedAccount(rig, { context }));
    assertEquals(reply.msg, "row_rejected");
    assertMatch(String(reply.details), /encryptedDataKey, or the name/);
  }
  // The same row in the account's own context signs.
  const own = await rig.ask(await forgedAccount(rig, { context: OWN_CONTEXT }));
  assertEquals(own["apiResponse"], "signResponse");
});

Deno.test("a data key under a KMS key that is not allowed opens no account, although the credentials may use that key", async () => {
  using rig = await walletRig();
  const wrappedBy = await rig.local.createKey();
  const reply = await rig.ask(await forgedAccount(rig, { context: OWN_CONTEXT, wrappedBy }));
  assertEquals(reply.msg, "row_rejected");
  assertMatch(String(reply.details), /wrapped by another KMS key/);
});

Deno.test("a data key of 16 bytes opens no account", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const context = { app: "denclave", purpose: "wallet", name: "alice" };
  const wrapped = await rig.local.encrypt(rig.firstArn, new Uint8Array(16), context);
  const reply = await rig.ask({ ...row, encryptedDataKey: encodeBase64(wrapped), message: "a" });
  assertEquals([reply.msg, reply.details.includes("32 bytes")], ["row_rejected", true]);
});

Deno.test("what is refused by a field is refused before KMS is asked", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const before = { ...rig.kms.calls };
  const items = Array.from({ length: MAX_BATCH + 1 }, () => ({ message: "a" }));
  for (
    const change of [
      { name: undefined, message: "a" },
      { name: undefined, apiRequest: "generateAccount" },
      { region: "eu-west-1", message: "a" },
      { message: "a", encryptedDataKey: encodeBase64(new Uint8Array(6145)) },
      { items },
      { items: [{ message: "a" }, { digest: "0x00" }] },
    ]
  ) assertEquals((await rig.ask({ ...row, ...change }))["status"], "error");
  const { msg, details } = await rig.ask({ ...row, items });
  assertEquals([msg, details.includes(String(MAX_BATCH)), rig.kms.calls], ["invalid_payload", true, before]);
});

Deno.test("an unknown apiRequest is answered in the wallet's shape", async () => {
  const { ask } = await walletRig();
  const reply = await ask({ apiRequest: "exportKey" });
  assertEquals(reply as WireObject, {
    apiResponse: "errorResponse",
    status: "error",
    msg: "unknown_type",
    details: "Known values of apiRequest: generateAccount, rewrapAccount, sign",
  });
});

for (
  const [name, failure, sign, generate] of [
    [
      "expired credentials",
      new KmsRefusal("ExpiredTokenException"),
      "credentials_expired",
      "credentials_expired",
    ],
    ["a denial", new KmsRefusal("AccessDeniedException"), "kms_decrypt_failed", "kms_generate_failed"],
    [
      "what every object inherits",
      new KmsRefusal("constructor"),
      "kms_decrypt_failed",
      "kms_generate_failed",
    ],
    ["a time-out", new EnclaveError("late", { code: "kms_timeout" }), "timeout", "timeout"],
    ["a crowd", new EnclaveError("full", { code: "sdk_busy" }), "busy", "busy"],
    [
      "a failure without a reason",
      new EnclaveError("-1", { code: "sdk_kms_decrypt" }),
      "kms_decrypt_failed",
      "kms_generate_failed",
    ],
    ["a defect", new TypeError("NEVER-SEEN-SECRET"), "internal_error", "internal_error"],
  ] as const
) {
  Deno.test(`KMS fails by ${name}: the code says so, and nothing is told but KMS's name for it`, async () => {
    using rig = await walletRig();
    const row = await rig.account("alice");
    rig.kms.fail = failure;
    const [signed, generated] = [await rig.ask({ ...row, message: "a" }), await rig.generate("bob")];
    assertEquals([signed.msg, generated.msg], [sign, generate]);
    if (failure instanceof KmsRefusal) assert(signed.details.includes(failure.kms.name), signed.details);
    assert(!JSON.stringify([signed, generated]).includes("NEVER-SEEN"));
  });
}

Deno.test("a batch is signed under one KMS call, in its order", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const items = Array.from({ length: 100 }, (_, index) => ({ message: `item ${index}` }));
  const reply = await rig.ask({ ...row, items });
  const signatures = reply.content["signatures"] as unknown as { signature: string }[];
  assertEquals(signatures.length, 100);
  for (const [index, { signature }] of signatures.entries()) {
    assertEquals(recoverAddress(hashMessage(`item ${index}`), signature), String(row["address"]));
  }
  assertEquals(rig.kms.calls.decrypt, 1);
});

Deno.test("an item whose typed data does not fit its types fails the batch, and is named", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const typedData = {
    types: { A: [{ name: "x", type: "address" }] },
    primaryType: "A",
    domain: {},
    message: { x: "1" },
  };
  const reply = await rig.ask({ ...row, items: [{ message: "a" }, { typedData }] });
  assertEquals([reply.msg, reply.details.startsWith("items[1]: Field typedData")], ["invalid_payload", true]);
});

Deno.test("with a cache, the second signature asks KMS nothing, whatever it is of", async () => {
  using rig = await walletRig({ cache: CACHE });
  const row = await rig.account("alice");
  for (const payload of [{ message: "a" }, { message: "b" }, { digest: "11".repeat(32) }]) {
    assertEquals((await rig.ask({ ...row, ...payload }))["apiResponse"], "signResponse");
  }
  assertEquals([rig.kms.calls.decrypt, rig.wallet.state.wallet], [1, {
    guarded: false,
    cached_keys: 1,
    cache_hits: 2,
  }]);
});

for (const field of ["AccessKeyId", "SecretAccessKey", "Token"]) {
  Deno.test(`a cached key is not found by credentials with another ${field}`, async () => {
    using rig = await walletRig({ cache: CACHE });
    const row = await rig.account("alice");
    await rig.ask({ ...row, message: "a" });
    rig.kms.fail = new KmsRefusal("AccessDeniedException");
    const reply = await rig.ask({ ...row, credential: { ...CREDENTIAL, [field]: "other" }, message: "a" });
    assertEquals(reply.msg, "kms_decrypt_failed");
  });
}

for (const field of ["name", "address", "encryptedDataKey", "encryptedPrivateKey"] as const) {
  Deno.test(`a cached key is not found by a row with another ${field}`, async () => {
    using rig = await walletRig({ cache: CACHE });
    const row = await rig.account("alice");
    const other = await rig.account(field === "name" ? "bob" : "alice");
    await rig.ask({ ...row, message: "a" });
    const reply = await rig.ask({ ...row, [field]: other[field], message: "a" });
    assertEquals(reply.msg, "row_rejected");
  });
}

Deno.test("a denial of anything empties the cache, a time-out or throttling does not", async () => {
  using rig = await walletRig({ cache: CACHE });
  const [alice, bob] = [await rig.account("alice"), await rig.account("bob")];
  await rig.ask({ ...alice, message: "a" });
  const kept = [];
  for (
    const failure of [
      new EnclaveError("late", { code: "kms_timeout" }),
      new KmsRefusal("ThrottlingException"),
      new KmsRefusal("AccessDeniedException"),
    ]
  ) {
    rig.kms.fail = failure;
    await rig.ask({ ...bob, message: "a" });
    kept.push(rig.wallet.state.wallet.cached_keys);
  }
  assertEquals([kept, (await rig.ask({ ...alice, message: "a" })).msg], [[1, 1, 0], "kms_decrypt_failed"]);
});

Deno.test("no key is made where the kernel's random numbers are not the NSM's", async () => {
  const unseeded = await walletRig({ attested: true });
  const reply = await unseeded.generate("alice");
  assertEquals([reply.msg, unseeded.kms.calls.generateDataKey], ["entropy_not_trusted", 0]);
  const other = await walletRig({
    attested: true,
    entropy: { kernelGenerator: "virtio_rng.0", random: HOST_RANDOM },
  });
  assertEquals((await other.generate("alice")).msg, "entropy_not_trusted");
  const nsm = await walletRig({
    attested: true,
    entropy: { kernelGenerator: "nsm-hwrng", random: HOST_RANDOM },
  });
  assertEquals((await nsm.generate("alice"))["apiResponse"], "generateResponse");
});

Deno.test("no key, plaintext or credential is in a reply or in the log", async () => {
  using rig = await walletRig({ cache: CACHE });
  const row = await rig.account("alice");
  const replies = [
    await rig.ask({ ...row, message: "NEVER-SEEN-PLAINTEXT" }),
    await rig.ask({ ...row, message: "NEVER-SEEN-PLAINTEXT", name: "bob" }),
    await rig.ask({ ...row, typedData: { types: "NEVER-SEEN-PLAINTEXT" } }),
  ];
  const dataKey = await rig.local.decrypt({ region: "us-east-1", credentials: credentials() }, {
    ciphertext: decodeBase64(String(row["encryptedDataKey"])),
    context: { app: "denclave", purpose: "wallet", name: "alice" },
  });
  const told = JSON.stringify([replies, rig.events.recent(500)]);
  for (const secret of ["NEVER-SEEN", encodeHex(dataKey.expose()), encodeBase64(dataKey.expose())]) {
    assert(!told.includes(secret), secret.slice(0, 10));
  }
});

function credentials() {
  return Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "" });
}

Deno.test("a key that KMS released before a denial, and that arrives after it, is not kept", async () => {
  using rig = await walletRig({ cache: CACHE });
  const [alice, bob] = [await rig.account("alice"), await rig.account("bob")];
  const gate = Promise.withResolvers<void>();
  const { decrypt } = rig.kms;
  rig.kms.decrypt = async (access, request) => {
    const key = await decrypt(access, request);
    await gate.promise;
    return key;
  };
  const signing = rig.ask({ ...alice, message: "a" });
  await new Promise((resolve) => setTimeout(resolve, 10));
  rig.kms.decrypt = () => Promise.reject(new KmsRefusal("AccessDeniedException"));
  assertEquals((await rig.ask({ ...bob, message: "a" })).msg, "kms_decrypt_failed");
  gate.resolve();
  assertEquals((await signing)["apiResponse"], "signResponse");
  assertEquals(rig.wallet.state.wallet.cached_keys, 0);
});

Deno.test("others are answered while a batch is signed", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const items = Array.from({ length: 500 }, (_, index) => ({ message: String(index) }));
  let done = false;
  const batch = rig.ask({ ...row, items }).finally(() => done = true);
  let turns = 0;
  while (!done) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    turns++;
  }
  assertEquals((await batch)["apiResponse"], "signResponse");
  assert(turns > 3, `${turns} turns`);
});

Deno.test("a batch is stopped when its request is abandoned, and its key wiped", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const abandon = new AbortController();
  const items = Array.from({ length: MAX_BATCH }, (_, index) => ({ message: String(index) }));
  const call = { signal: abandon.signal };
  const signing = rig.wallet.apiRoutes["sign"]?.answer({ ...structuredClone(row), items }, call);
  abandon.abort();
  const error = await assertRejects(async () => await signing, EnclaveError);
  assertEquals(error.code, "abandoned");
});

Deno.test("of many batches at once a few are signed, the rest are answered busy, and single payloads are signed", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  const items = Array.from({ length: 50 }, () => ({ message: "a" }));
  const replies = await Promise.all([
    ...Array.from({ length: 6 }, () => rig.ask({ ...row, items })),
    rig.ask({ ...row, message: "a" }),
  ]);
  assertEquals(replies.map((reply) => reply.msg ?? "ok"), ["ok", "ok", "ok", "ok", "busy", "busy", "ok"]);
  assertEquals((await rig.ask({ ...row, items }))["apiResponse"], "signResponse");
});

Deno.test("a row that was sealed for the address of another key does not sign", async () => {
  using rig = await walletRig();
  const { address } = await rig.account("alice");
  const reply = await rig.ask(
    await forgedAccount(rig, { context: OWN_CONTEXT, address: String(address) }),
  );
  assertEquals([reply.msg, reply.details], [
    "row_rejected",
    "Cannot trust address: it is not the private key's",
  ]);
});
