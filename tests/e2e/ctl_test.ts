/**
 * The wallet end to end: the service as a process, the parent's tool as another, DynamoDB and KMS servers of other projects, credentials from the
 * sources that AWS provides.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createAccount, findAccount } from "../../lib/ctl/client/accounts.ts";
import { Client, ServiceError } from "../../lib/ctl/client/client.ts";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { type AccountRow, type AccountStore, StoreError } from "../../lib/ctl/stores/account_store.ts";
import { openDynamoDbStore } from "../../lib/ctl/stores/dynamodb.ts";
import { openSqliteStore } from "../../lib/ctl/stores/sqlite.ts";
import { WalletClient } from "../../lib/ctl/client/wallet_client.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { getAddress, hashMessage, recoverAddress, Transaction, TypedDataEncoder } from "../deps/ethers.ts";
import { EIP155, EIP712_MAIL } from "../fixtures/ethereum.ts";
import { devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { startLossyProxy } from "../helpers/lossy_proxy.ts";
import { hasMoto, shareDynalite, shareMoto } from "../helpers/peers.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const freshMoto = shareMoto();
const freshDynalite = shareDynalite();
const KEYS = { AWS_ACCESS_KEY_ID: "made-for-tests", AWS_SECRET_ACCESS_KEY: "made-for-tests" };
const credentials = new CredentialSource(() =>
  Promise.resolve({ accessKeyId: "made-for-tests", secretAccessKey: "made-for-tests" })
);

/** A test with a folder of its own. The AWS SDK keeps sockets for a while. */
function test(behaviour: string, run: (directory: string) => Promise<void>): void {
  Deno.test({ name: behaviour, sanitizeResources: false, sanitizeOps: false }, async () => {
    const directory = await Deno.makeTempDir({ prefix: "denclavectl-" });
    try {
      await run(directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

function startEnclave(directory: string, file = "keys.json") {
  return ServiceProcess.start(devLaunch(["--kms-local-file", `${directory}/${file}`]));
}

async function connectWallet(enclave: Awaited<ReturnType<typeof startEnclave>>) {
  const client = await Client.connect(enclave.address, { timeoutMs: 20_000 });
  return { wallet: new WalletClient(client, credentials), [Symbol.dispose]: () => client[Symbol.dispose]() };
}

async function allRows(store: AccountStore): Promise<readonly AccountRow[]> {
  const rows: AccountRow[] = [];
  for await (const row of store.list()) rows.push(row);
  return rows;
}

test("a hundred accounts are made, and each signs after the enclave was started again", async (directory) => {
  await using dynamoDb = await freshDynalite();
  const env = { ...KEYS, AWS_REGION: "us-east-1", AWS_ENDPOINT_URL: dynamoDb.url };
  const table = await runCtl(["account", "create-table"], { env });
  assertEquals([table.code, table.stdout.includes("created")], [0, true], table.stderr);
  {
    await using enclave = await startEnclave(directory);
    const args = ["account", "create", "--name", "user", "--count", "100", "-t", "AccountTable", "--json"];
    const created = await runCtl([...args, "--connect", formatAddress(enclave.address)], { env });
    assertEquals(created.code, 0, created.stderr);
    assertEquals(JSON.parse(created.stdout).length, 100);
  }
  await using enclave = await startEnclave(directory);
  using connection = await connectWallet(enclave);
  await using store = openDynamoDbStore({
    table: "AccountTable",
    region: "us-east-1",
    credentials,
    endpoint: dynamoDb.url,
  });
  const rows = await allRows(store);
  assertEquals([rows.length, new Set(rows.map(({ address }) => address)).size], [100, 100]);
  for (const row of rows) {
    const { signature } = await connection.wallet.sign(row, { message: row.name });
    assertEquals(recoverAddress(hashMessage(row.name), signature), row.address);
  }
  const shown = await runCtl(["account", "list", "-t", "AccountTable"], { env });
  assertEquals([shown.code, shown.stdout.trim().split("\n").length], [0, 101]);
});

test("every field of a stored row, changed, keeps it from signing; the row that is whole still signs", async (directory) => {
  await using enclave = await startEnclave(directory);
  using connection = await connectWallet(enclave);
  await using store = openSqliteStore(`${directory}/accounts.sqlite`);
  const row = await createAccount({ store, wallet: connection.wallet }, "alice");
  const other = await createAccount({ store, wallet: connection.wallet }, "bob");
  for (const field of ["name", "keyId", "address", "encryptedPrivateKey", "encryptedDataKey"] as const) {
    const value = field === "keyId" ? row.keyId.replace(/.$/, (c) => (c === "0" ? "1" : "0")) : other[field];
    const error = await assertRejects(
      () => connection.wallet.sign({ ...row, [field]: value }, { message: "hi" }),
      ServiceError,
    );
    assertEquals(error.code, field === "keyId" ? "key_not_allowed" : "row_rejected", field);
  }
  await connection.wallet.sign(await findAccount(store, "alice"), { message: "hi" });
});

test("an enclave with another KMS key signs with no account of this one", async (directory) => {
  await using store = openSqliteStore(`${directory}/accounts.sqlite`);
  {
    await using enclave = await startEnclave(directory);
    using connection = await connectWallet(enclave);
    await createAccount({ store, wallet: connection.wallet }, "alice");
  }
  await using enclave = await startEnclave(directory, "other-keys.json");
  using connection = await connectWallet(enclave);
  const row = await findAccount(store, "alice");
  const error = await assertRejects(() => connection.wallet.sign(row, { message: "hi" }), ServiceError);
  assertEquals(error.code, "key_not_allowed");
});

test("DynamoDB goes away and comes back in the middle: no account lost, none overwritten, nothing half-written", async (directory) => {
  await using dynamoDb = await freshDynalite();
  using proxy = startLossyProxy(dynamoDb.url);
  await using enclave = await startEnclave(directory);
  using connection = await connectWallet(enclave);
  const open = (endpoint: string) =>
    openDynamoDbStore({
      table: "AccountTable",
      region: "us-east-1",
      credentials,
      endpoint,
      requestMs: 1_000,
    });
  await using store = open(proxy.url);
  await store.createTable();
  const shown = new Map<string, string>();
  let requests = 0;
  // Every few requests something is lost: before it is written, or after.
  proxy.fate = () => {
    requests++;
    return requests % 7 === 3 ? "lose the answer" : requests % 5 === 1 ? "refuse" : "pass";
  };
  let failures = 0;
  for (let round = 0; round < 40; round++) {
    // Names come again: some are taken.
    const name = `user-${round % 30}`;
    try {
      const { address } = await createAccount({ store, wallet: connection.wallet }, name);
      assert(!shown.has(name), `${name} was made twice`);
      shown.set(name, address);
    } catch (thrown) {
      if (!(thrown instanceof StoreError)) throw thrown;
      failures++;
    }
  }
  await using direct = open(dynamoDb.url);
  const rows = new Map((await allRows(direct)).map((row) => [row.name, row]));
  assert(shown.size > 0 && failures > 0);
  for (const [name, address] of shown) assertEquals(rows.get(name)?.address, address);
  // Whatever is there is whole.
  for (const row of rows.values()) await connection.wallet.sign(row, { message: "hi" });
});

test("one line makes an account, another signs a transaction that others can read", async (directory) => {
  await using enclave = await startEnclave(directory);
  const env = { ...KEYS, DENCLAVE_CONNECT: formatAddress(enclave.address) };
  const run = (...args: string[]) => runCtl(args, { env, cwd: directory });
  const created = await run("account", "create", "--create", "--name", "alice");
  const [, , address = ""] = /^NAME {3}ADDRESS\n(alice) {2}(0x[0-9a-fA-F]{40})\n$/.exec(created.stdout) ?? [];
  assertEquals([created.code, getAddress(address)], [0, address], created.stdout + created.stderr);
  await Deno.writeTextFile(`${directory}/tx.json`, JSON.stringify(EIP155.transaction));
  const signed = await run("account", "sign", "--name", "alice", "--transaction", "tx.json", "--json");
  const { signedTransaction, transactionHash } = JSON.parse(signed.stdout);
  const read = Transaction.from(signedTransaction);
  assertEquals([read.from, read.hash, read.chainId], [address, transactionHash, 1n]);
  const digest = await run("account", "sign", "--name", "alice", "--digest", "11".repeat(32));
  assertMatch(digest.stdout, /signature {2}0x[0-9a-f]{130}\n/);
  await Deno.writeTextFile(
    `${directory}/items.json`,
    JSON.stringify([{ message: "a" }, { digest: `0x${"22".repeat(32)}` }]),
  );
  const items = await run("account", "sign", "--name", "alice", "--items", "items.json", "--json");
  assertEquals(JSON.parse(items.stdout).signatures.length, 2);
  const shown = JSON.parse((await run("account", "show", "--name", "alice", "--json")).stdout);
  assertEquals([shown.name, shown.address], ["alice", address]);
});

test("account sign signs an authorization, and typed data with members that its types do not declare if told to", async (directory) => {
  await using enclave = await startEnclave(directory);
  const env = { ...KEYS, DENCLAVE_CONNECT: formatAddress(enclave.address) };
  const run = (...args: string[]) => runCtl(["account", ...args, "--json"], { env, cwd: directory });
  const [{ address }] = JSON.parse((await run("create", "--create", "--name", "alice")).stdout);
  await Deno.writeTextFile(
    `${directory}/authorization.json`,
    JSON.stringify({ chainId: 1, address, nonce: 7 }),
  );
  const signed = await run("sign", "--name", "alice", "--authorization", "authorization.json");
  const { authorization } = JSON.parse(signed.stdout);
  assertEquals([signed.code, authorization.nonce, authorization.address], [0, "0x7", address], signed.stderr);
  const message = { ...EIP712_MAIL.typedData.message, extra: 1 };
  await Deno.writeTextFile(`${directory}/mail.json`, JSON.stringify({ ...EIP712_MAIL.typedData, message }));
  const typed = ["sign", "--name", "alice", "--typed-data", "mail.json"];
  const refused = await run(...typed);
  assertEquals([refused.code, refused.stderr.includes("extra is not a field of Mail")], [1, true]);
  const { signature } = JSON.parse((await run(...typed, "--ignore-undeclared")).stdout);
  const { domain, types: { EIP712Domain: _, ...types } } = EIP712_MAIL.typedData;
  const hash = TypedDataEncoder.hash(domain, structuredClone(types) as never, message);
  assertEquals(recoverAddress(hash, signature), address);
  const misused = await run("sign", "--name", "alice", "--message", "hi", "--ignore-undeclared");
  assertEquals([misused.code, misused.stderr.includes("--typed-data")], [2, true]);
});

/** Two KMS keys in one file, as an enclave that moves accounts allows them. */
async function twoKeys(directory: string): Promise<readonly [string, string]> {
  await using kms = await LocalKms.open({ region: "us-east-1", file: `${directory}/keys.json` });
  await kms.createKey();
  const [first = "", second = ""] = kms.keyArns;
  return [first, second];
}

for (const kind of ["SQLite", "DynamoDB"]) {
  test(`account rewrap moves all accounts to another key, in ${kind}; repeated, it moves the rest, and says what it could not`, async (directory) => {
    const [first, second] = await twoKeys(directory);
    await using dynamoDb = await freshDynalite();
    await using enclave = await startEnclave(directory);
    const connect = formatAddress(enclave.address);
    const env = {
      ...KEYS,
      DENCLAVE_CONNECT: connect,
      AWS_REGION: "us-east-1",
      AWS_ENDPOINT_URL: dynamoDb.url,
    };
    const table = kind === "SQLite" ? [] : ["-t", "AccountTable"];
    const run = (...args: string[]) => runCtl(["account", ...args, ...table], { env, cwd: directory });
    if (kind === "DynamoDB") await run("create-table");
    const create = kind === "SQLite" ? ["--create"] : [];
    const created = await run("create", ...create, "--name", "user", "--count", "3", "-k", first, "--json");
    assertEquals(created.code, 0, created.stderr);
    const one = await run("rewrap", "--name", "user-2", "--to", second);
    assertEquals([one.code, one.stdout.includes(second)], [0, true], one.stderr);
    await using store = kind === "SQLite"
      ? openSqliteStore(`${directory}/accounts.sqlite`)
      : openDynamoDbStore({
        table: "AccountTable",
        region: "us-east-1",
        credentials,
        endpoint: dynamoDb.url,
      });
    const damaged = await findAccount(store, "user-3");
    await store.replace(damaged, {
      ...damaged,
      encryptedPrivateKey: damaged.encryptedPrivateKey.replace(/^..../, "AAAA"),
    });
    const all = await run("rewrap", "--all", "--to", second, "--json");
    const { moved, skipped, failed } = JSON.parse(all.stdout);
    assertEquals([all.code, moved.length, moved[0]?.name, skipped], [1, 1, "user-1", 1], all.stderr);
    assertEquals(failed.map(({ name, code }: { name: string; code: string }) => [name, code]), [[
      "user-3",
      "row_rejected",
    ]]);
    const last = await findAccount(store, "user-3");
    await store.replace(last, damaged);
    const rest = await run("rewrap", "--all", "--to", second, "--json");
    const said = JSON.parse(rest.stdout);
    assertEquals([rest.code, said.moved.length, said.skipped, said.failed], [0, 1, 2, []], rest.stderr);
    using connection = await connectWallet(enclave);
    const addresses = JSON.parse(created.stdout).map(({ address }: { address: string }) => address);
    for (const row of await allRows(store)) {
      const { signature } = await connection.wallet.sign(row, { message: "hi" });
      assertEquals([row.keyId, addresses.includes(row.address)], [second, true]);
      assertEquals(recoverAddress(hashMessage("hi"), signature), row.address);
    }
  });
}

test("account rewrap wants --to, and --name or --all, and an enclave that allows the key", async (directory) => {
  const [keyId] = await twoKeys(directory);
  await using enclave = await startEnclave(directory);
  const env = { ...KEYS, DENCLAVE_CONNECT: formatAddress(enclave.address) };
  const run = (...args: string[]) => runCtl(["account", ...args], { env, cwd: directory });
  assertEquals((await run("create", "--create", "--name", "alice", "-k", keyId)).code, 0);
  for (
    const [args, code, words] of [
      [["--all"], 2, "--to"],
      [["--to", "k"], 2, "--all"],
      [["--to", "k", "--all", "--name", "alice"], 2, "--all"],
      [["--to", "k", "--name", "alice"], 1, "new_key_id"],
      [["--to", "k", "--name", "nobody"], 1, "nobody"],
      [["--to", "k", "--all", "--attest"], 2, "--pcr"],
    ] as const
  ) {
    const result = await run("rewrap", ...args);
    assertEquals([result.code, result.stderr.includes(words)], [code, true], `${args}: ${result.stderr}`);
  }
});

test("without --create no command makes a database, and the first-run hint names it", async (directory) => {
  const env = { ...KEYS, DENCLAVE_CONNECT: "tcp:127.0.0.1:1" };
  for (
    const command of [["create", "-n", "a"], ["list"], ["show", "-n", "a"], [
      "sign",
      "-n",
      "a",
      "--message",
      "m",
    ]]
  ) {
    const { code, stdout, stderr } = await runCtl(["account", ...command], { env, cwd: directory });
    assertEquals([code, stdout], [69, ""], stderr);
    assertMatch(stderr, /There is no file .*accounts\.sqlite[^]*account create --create/);
  }
  assertEquals(Array.from(Deno.readDirSync(directory)), []);
});

/** Mistakes that only a service or a store can tell; unit/ctl/commands/mistakes_test.ts has the others. */
const BAD: readonly (readonly [string, readonly string[], number, string])[] = [
  ["a name that is taken", ["create", "--name", "alice"], 1, "already"],
  ["an account that is not there", ["sign", "--name", "bob", "--message", "hi"], 1, "no account"],
  ["what the enclave refuses", ["sign", "--name", "alice", "--digest", "zz"], 1, "Field digest"],
  [
    "no document to verify",
    ["show", "--name", "alice", "--verify", "--pcr", `0=${"ab".repeat(48)}`],
    1,
    "no attestation document",
  ],
  ["no enclave", ["create", "--name", "x", "--connect", "tcp:127.0.0.1:1"], 69, "127.0.0.1:1"],
];

test("errors are printed on stderr, with a remedy, and the exit code tells which side is at fault", async (directory) => {
  await using enclave = await startEnclave(directory);
  const env = { ...KEYS, DENCLAVE_CONNECT: formatAddress(enclave.address) };
  const run = (args: readonly string[]) => runCtl(["account", ...args], { env, cwd: directory });
  assertEquals((await run(["create", "--create", "--name", "alice"])).code, 0);
  for (const [what, args, code, words] of BAD) {
    const result = await run(args);
    assertEquals([result.code, result.stdout], [code, ""], `${what}: ${result.stderr}`);
    assert(result.stderr.includes(words), `${what}: ${result.stderr}`);
  }
});

if (hasMoto()) {
  test("kms create-key makes a symmetric key with alias, tags and rotation, and says its ARN", async () => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url };
    const args = [
      "kms",
      "create-key",
      "-r",
      "ap-east-1",
      "--alias",
      "wallet",
      "--tag",
      "app=denclave",
      "--rotation",
    ];
    const result = await runCtl([...args, "--json"], { env });
    const created = JSON.parse(result.stdout);
    assertMatch(created.arn, /^arn:aws:kms:ap-east-1:[0-9]{12}:key\//);
    assertEquals([result.code, created.alias, created.rotation], [0, "wallet", true]);
    // The second has no alias to give: the key is said all the same.
    const again = await runCtl(args, { env });
    assertEquals([again.code, again.stdout], [69, ""]);
    assertMatch(again.stderr, /the key was created: arn:aws:kms:ap-east-1.*AlreadyExistsException/s);
    const { KMSClient } = await import("../../lib/ctl/aws/deps/aws_sdk.ts");
    const { DescribeKeyCommand, ListAliasesCommand, GetKeyRotationStatusCommand } = await import(
      "../deps/aws_kms.ts"
    );
    const client = new KMSClient({
      region: "ap-east-1",
      endpoint: moto.url,
      credentials: { accessKeyId: "a", secretAccessKey: "b" },
    });
    const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId: created.arn }));
    assertEquals([KeyMetadata?.KeySpec, KeyMetadata?.KeyUsage], ["SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"]);
    const { Aliases } = await client.send(new ListAliasesCommand({ KeyId: created.arn }));
    assertEquals(Aliases?.map(({ AliasName }) => AliasName), ["alias/wallet"]);
    const rotation = await client.send(new GetKeyRotationStatusCommand({ KeyId: created.arn }));
    assertEquals(rotation.KeyRotationEnabled, true);
    client.destroy();
  });

  test("account create-table makes the table in moto too, and finds it the second time", async () => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url, DENCLAVE_REGION: "eu-west-1" };
    const outcomes: string[] = [];
    for (const _ of [1, 2]) {
      const { stdout } = await runCtl(["account", "create-table", "-t", "AccountTable", "--json"], { env });
      outcomes.push(JSON.parse(stdout).outcome);
    }
    assertEquals(outcomes, ["created", "exists"]);
  });
}

test("policy iam has the ARNs, and no right to delete a row or to change a part of one", async () => {
  const arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
  const { code, stdout } = await runCtl(["policy", "iam", "-k", arn, "-t", "AccountTable"]);
  const policy = JSON.parse(stdout);
  assertEquals(code, 0);
  assertEquals(policy.Statement[0].Resource, [arn]);
  assertEquals(policy.Statement[1].Resource, ["arn:aws:dynamodb:us-east-1:111122223333:table/AccountTable"]);
  assertEquals(policy.Statement[1].Action, ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"]);
});
