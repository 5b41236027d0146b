/** Accounts from the parent's side: stored before shown, credentials renewed, attestation documents kept and verified. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { keyUserData } from "../../../../lib/shared/attestation/statement.ts";
import { parseAddress } from "../../../../lib/shared/crypto/ethereum_address.ts";
import { encode } from "cborg";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { accountMaker, createAccount, findAccount, signAll } from "../../../../lib/ctl/client/accounts.ts";
import { type Requester, ServiceError } from "../../../../lib/ctl/client/client.ts";
import { type AccountRow, StoreError } from "../../../../lib/ctl/stores/account_store.ts";
import { verifyAccount } from "../../../../lib/ctl/client/verify_account.ts";
import { hashMessage, recoverAddress } from "../../../deps/ethers.ts";
import { accountRig } from "../../../helpers/account_rig.ts";
import { MemoryStore } from "../../../helpers/memory_store.ts";
import { KmsRefusal } from "../../../helpers/wallet_rig.ts";

Deno.test("an account that was made is stored, found, and signs", async () => {
  await using rig = await accountRig();
  const store = new MemoryStore();
  const made = await createAccount({ store, wallet: rig.wallet }, "alice");
  assertEquals(store.rows.get("alice"), made);
  assert(Math.abs(Date.parse(made.created) - Date.now()) < 60_000, made.created);
  const { signature } = await rig.wallet.sign(await findAccount(store, "alice"), { message: "hi" });
  assertEquals(recoverAddress(hashMessage("hi"), signature), made.address);
});

Deno.test("a name that is taken is refused before the enclave is asked", async () => {
  await using rig = await accountRig();
  const store = new MemoryStore();
  const first = await createAccount({ store, wallet: rig.wallet }, "alice");
  const error = await assertRejects(() => createAccount({ store, wallet: rig.wallet }, "alice"), StoreError);
  assertEquals([error.code, rig.kms.calls.generateDataKey, store.rows.get("alice")], [
    "account_exists",
    1,
    first,
  ]);
});

for (const call of ["get", "insert"] as const) {
  Deno.test(`with the store away at ${call}, no account is there, and no address was shown`, async () => {
    await using rig = await accountRig();
    const store = new MemoryStore();
    store.away = call;
    const error = await assertRejects(
      () => createAccount({ store, wallet: rig.wallet }, "alice"),
      StoreError,
    );
    assertEquals([error.code, store.rows.size, /0x/.test(error.message)], ["store_unavailable", 0, false]);
    store.away = undefined;
    assert((await createAccount({ store, wallet: rig.wallet }, "alice")).address.startsWith("0x"));
  });
}

Deno.test("a missing account is reported, with its name and the store's", async () => {
  const error = await assertRejects(() => findAccount(new MemoryStore(), "nobody"), StoreError, "nobody");
  assertEquals([error.code, error.message.includes("a store in memory")], ["account_not_found", true]);
});

Deno.test("expired credentials are renewed once, and the request repeated", async () => {
  let asked = 0;
  await using rig = await accountRig({
    provide: () => Promise.resolve({ accessKeyId: `key${++asked}`, secretAccessKey: "made-for-tests" }),
  });
  const { generateDataKey } = rig.kms;
  rig.kms.generateDataKey = (access, request) =>
    new TextDecoder().decode(access.credentials.expose().accessKeyId) === "key1"
      ? Promise.reject(new KmsRefusal("ExpiredTokenException"))
      : generateDataKey(access, request);
  const made = await rig.wallet.generateAccount("alice", {});
  assertEquals([made.name, asked], ["alice", 2]);
});

Deno.test("credentials that are still expired after one more try are an error", async () => {
  let asked = 0;
  await using rig = await accountRig({
    provide: () => Promise.resolve({ accessKeyId: `key${++asked}`, secretAccessKey: "made-for-tests" }),
  });
  rig.kms.fail = new KmsRefusal("ExpiredTokenException");
  const error = await assertRejects(() => rig.wallet.generateAccount("alice", {}), ServiceError);
  assertEquals([error.code, asked, rig.kms.calls.generateDataKey], ["credentials_expired", 2, 2]);
});

Deno.test("a list of payloads longer than a batch is signed completely, in order, with progress", async () => {
  await using rig = await accountRig();
  const store = new MemoryStore();
  const account = await createAccount({ store, wallet: rig.wallet }, "alice");
  const seen: number[] = [];
  const payloads = Array.from({ length: 1_001 }, (_, index) => ({ message: String(index) }));
  const signatures = await signAll(
    { store, wallet: rig.wallet },
    account,
    payloads,
    (done) => seen.push(done),
  );
  assertEquals([seen, signatures.length, rig.kms.calls.decrypt], [[1_000, 1_001], 1_001, 2]);
  for (const at of [0, 999, 1_000]) {
    assertEquals(recoverAddress(hashMessage(String(at)), String(signatures[at]?.signature)), account.address);
  }
});

for (
  const [what, reply] of [
    ["another apiResponse", { apiResponse: "other", content: {} }],
    ["no content", { apiResponse: "generateResponse" }],
    ["a field missing", { apiResponse: "generateResponse", content: { address: "0x" } }],
    ["the session service's shape", { status: "ok", msg: "pong" }],
  ] as const
) {
  Deno.test(`a reply that is not as it should be is refused: ${what}`, async () => {
    await using rig = await accountRig();
    (rig.client as Requester).exchange = () => Promise.resolve({ ...reply });
    const error = await assertRejects(() => rig.wallet.generateAccount("alice", {}), EnclaveError);
    assertEquals(error.code, "unexpected_reply");
  });
}

const NONCE = encodeBase64(crypto.getRandomValues(new Uint8Array(32)));
const CONFIGURATION = new Uint8Array(32).fill(7);

async function attested() {
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  const rig = await accountRig({ attester: nsm, configurationHash: CONFIGURATION });
  const store = new MemoryStore();
  const row = await createAccount({ store, wallet: rig.wallet }, "alice", { nonce: NONCE });
  const verify = nsm.verify.bind(nsm);
  const pcrs = { 0: encodeHex(await nsm.pcr(0)) };
  return { nsm, rig, store, row, verify, pcrs, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
}

Deno.test("an attested account's document says where it was made, and verifies as of then", async () => {
  await using setup = await attested();
  const verified = await verifyAccount(setup.row, setup);
  assertEquals([verified.moduleId, verified.configuration], [setup.nsm.moduleId, encodeHex(CONFIGURATION)]);
  assertEquals(verified.pcrs["PCR0"], setup.pcrs[0]);
  await verifyAccount(setup.row, { ...setup, at: new Date() });
  assert(Math.abs(Date.parse(verified.generatedAt) - Date.parse(verified.at)) < 60_000);
});

/** The last byte of a document belongs to its signature. */
function flipLastBit(base64 = ""): string {
  const bytes = decodeBase64(base64);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return encodeBase64(bytes);
}

const OTHERS: readonly (readonly [string, (row: AccountRow) => AccountRow, string])[] = [
  [
    "address",
    (row) => ({ ...row, address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" }),
    "attestation_user_data",
  ],
  ["name", (row) => ({ ...row, name: "bob" }), "attestation_user_data"],
  ["KMS key", (row) => ({ ...row, keyId: `${row.keyId}0` }), "attestation_user_data"],
  ["nonce", (row) => ({ ...row, nonce: encodeBase64(new Uint8Array(32)) }), "attestation_nonce"],
  [
    "document",
    (row) => ({ ...row, attestation: flipLastBit(row.attestation) }),
    "attestation_signature",
  ],
];

for (const [what, change, code] of OTHERS) {
  Deno.test(`an attested account with another ${what} does not verify`, async () => {
    await using setup = await attested();
    const error = await assertRejects(
      () => verifyAccount(change(setup.row), setup),
      AttestationError,
    );
    assertEquals(error.code, code);
  });
}

Deno.test("another build's PCR does not verify", async () => {
  await using setup = await attested();
  const error = await assertRejects(
    () => verifyAccount(setup.row, { verify: setup.verify, pcrs: { 0: "ab".repeat(48) } }),
    AttestationError,
  );
  assertEquals(error.code, "attestation_pcr");
});

Deno.test("a simulated document does not verify under AWS's root", async () => {
  await using setup = await attested();
  const error = await assertRejects(() => verifyAccount(setup.row, { pcrs: setup.pcrs }), AttestationError);
  assertEquals(error.code, "attestation_root");
});

Deno.test("an account is verified against an enclave that something identifies, or not at all", async () => {
  await using setup = await attested();
  const role = encodeHex(await setup.nsm.pcr(4));
  for (const pcrs of [{}, { 4: role }, { 0: "00".repeat(48) }, [], [setup.pcrs, { 4: role }]]) {
    await assertRejects(() => verifyAccount(setup.row, { verify: setup.verify, pcrs }), TypeError);
  }
  await verifyAccount(setup.row, { verify: setup.verify, pcrs: [{ 0: "ab".repeat(48) }, setup.pcrs] });
});

Deno.test("a document about something else is refused, and one that does not say that the key was made in the enclave", async () => {
  await using setup = await attested();
  const key = {
    purpose: "wallet",
    subject: "alice",
    publicPart: parseAddress(setup.row.address, "address").bytes,
    keyArn: setup.row.keyId,
    epoch: 0,
  } as const;
  const opened = await keyUserData({ ...key, from: { origin: "opened" } }, CONFIGURATION);
  // What an enclave of an earlier version says: nothing of where the key comes from.
  const unsaid = new Uint8Array(
    encode({ v: 1, purpose: "wallet", config: CONFIGURATION, data: new Uint8Array(32) }),
  );
  const others = [undefined, new Uint8Array([0xa0]), new TextEncoder().encode("hello"), unsaid, opened];
  for (const userData of others) {
    const document = await setup.nsm.attest({ userData, nonce: decodeBase64(NONCE) });
    const row = { ...setup.row, attestation: encodeBase64(document) };
    const error = await assertRejects(() => verifyAccount(row, setup), AttestationError);
    assertEquals(error.code, "attestation_user_data");
  }
});

Deno.test("an account whose document does not verify when it is made is not stored", async () => {
  await using setup = await attested();
  const { rig: { wallet }, store } = setup;
  const nonce = encodeBase64(new Uint8Array(32));
  const check = (row: AccountRow) =>
    verifyAccount(row, { ...setup, pcrs: { 0: "ab".repeat(48) }, at: new Date() });
  await assertRejects(() => createAccount({ store, wallet }, "bob", { nonce, check }), AttestationError);
  assertEquals(store.rows.has("bob"), false);
});

Deno.test("accounts are made with a document where there is an NSM, each with its own nonce", async () => {
  await using setup = await attested();
  const { rig: { wallet }, store } = setup;
  const make = accountMaker({ store, wallet }, { mustAttest: false });
  const rows = [await make("bob"), await make("carol")];
  for (const row of rows) await verifyAccount(store.rows.get(row.name) ?? setup.row, setup);
  assertEquals(new Set(rows.map(({ nonce }) => nonce)).size, 2);
});

Deno.test("where there is no NSM an account has no document, and none is made that must have one", async () => {
  await using rig = await accountRig();
  const tools = { store: new MemoryStore(), wallet: rig.wallet };
  const make = accountMaker(tools, { mustAttest: true });
  assertEquals((await assertRejects(() => make("alice"), ServiceError)).code, "attestation_unavailable");
  assertEquals([tools.store.rows.size, rig.kms.calls.generateDataKey], [0, 0]);
  const made = await accountMaker(tools, { mustAttest: false })("alice");
  assertEquals([made.attestation, tools.store.rows.get("alice")], [undefined, made]);
});

Deno.test("an account without a document is said to have none", async () => {
  await using rig = await accountRig();
  const row = await createAccount({ store: new MemoryStore(), wallet: rig.wallet }, "alice");
  await assertRejects(
    () => verifyAccount(row, { pcrs: { 0: "ab".repeat(48) } }),
    StoreError,
    "no attestation document",
  );
});

Deno.test("a nonce where there is no NSM is refused before a key is made", async () => {
  await using rig = await accountRig();
  const error = await assertRejects(
    () => rig.wallet.generateAccount("alice", { nonce: NONCE }),
    ServiceError,
  );
  assertEquals([error.code, rig.kms.calls.generateDataKey], ["attestation_unavailable", 0]);
});

Deno.test("a nonce of 15 bytes is refused by its name", async () => {
  await using setup = await attested();
  const nonce = encodeBase64(new Uint8Array(15));
  const error = await assertRejects(() => setup.rig.wallet.generateAccount("bob", { nonce }), ServiceError);
  assertEquals([error.code, error.message.includes("16 to 512")], ["missing_fields", true]);
});

Deno.test("an NSM that fails costs the account, not the service", async () => {
  await using rig = await accountRig({ attester: { attest: () => Promise.reject(new Error("ioctl")) } });
  const error = await assertRejects(
    () => rig.wallet.generateAccount("alice", { nonce: NONCE }),
    ServiceError,
  );
  assertEquals([error.code, error.message.includes("ioctl")], ["attestation_unavailable", false]);
  assert((await rig.wallet.generateAccount("alice", {})).address.startsWith("0x"));
});
