/**
 * The master key end to end: moto's server stands in for AWS KMS, the enclave app and the gateway run as separate processes, and SQLite is on
 * disk.
 */
import { assert, assertEquals } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { DatabaseSync } from "node:sqlite";
import { verifyDigest, verifySchnorr } from "../../lib/shared/crypto/secp256k1_verify.ts";
import { KMSClient } from "../../lib/ctl/aws/deps/aws_sdk.ts";
import { CreateAliasCommand, CreateKeyCommand } from "../deps/aws_kms.ts";
import { SigningKey } from "../deps/ethers.ts";
import { type CtlResult, devLaunch, runCtl, spawnCtl } from "../helpers/ctl_process.ts";
import { count } from "../helpers/effort.ts";
import { hasMoto, type PeerServer, shareMoto } from "../helpers/peers.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const REGION = "us-west-2";
const AWS = {
  AWS_ACCESS_KEY_ID: "made-for-tests",
  AWS_SECRET_ACCESS_KEY: "made-for-tests",
  AWS_REGION: REGION,
};
const DIGEST = "5a".repeat(32);

interface World extends AsyncDisposable {
  readonly directory: string;
  readonly database: string;
  readonly kms: KMSClient;
  readonly endpoint: string;
  /** ARNs of two keys. */
  readonly keys: readonly [string, string];
  startEnclave(): Promise<Enclave>;
  /** Writes the configuration, for these enclaves and this KMS key. */
  configure(enclaves: readonly Enclave[], keyId?: string): Promise<void>;
  gateway(...args: string[]): Promise<CtlResult>;
}

/** The service has no NSM here, so nothing proves the origin of its keys. */
const ACCEPT = ["--accept-unproven-origin", "1,2"];

type Enclave = Awaited<ReturnType<typeof ServiceProcess.start>>;

async function makeWorld(moto: PeerServer, endpoint: string = moto.url): Promise<World> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-kms-e2e-" });
  await Deno.mkdir(`${directory}/data`);
  const database = `${directory}/data/gateway.sqlite`;
  const kms = new KMSClient({
    region: REGION,
    endpoint: moto.url,
    credentials: { accessKeyId: "made-for-tests", secretAccessKey: "made-for-tests" },
  });
  const makeKey = async () => (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? "";
  const keys = [await makeKey(), await makeKey()] as const;
  await kms.send(
    new CreateAliasCommand({ AliasName: "alias/denclave-master-key", TargetKeyId: keys[0] }),
  );
  const file = `${directory}/config.yaml`;
  return {
    directory,
    database,
    kms,
    endpoint,
    keys,
    startEnclave: () =>
      ServiceProcess.start(
        devLaunch([
          "--kms",
          "aws",
          "--kms-endpoint-url",
          endpoint,
          ...keys.flatMap((arn) => ["--kms-key", arn]),
        ]),
      ),
    configure: async (enclaves, keyId = keys[0]) => {
      const list = enclaves.map(({ address }, index) => {
        if (address.transport !== "tcp") throw new TypeError("the enclaves listen on TCP");
        return `  - {enclave_id: ${
          index + 1
        }, transport: tcp, host: ${address.hostname}, port: ${address.port}}`;
      });
      await Deno.writeTextFile(
        file,
        [
          "environment: development",
          "kms:",
          `  key_id: "${keyId}"`,
          `  region: ${REGION}`,
          "  enable_attestation: false",
          "enclaves:",
          ...list,
          "database:",
          `  path: ${database}`,
          "",
        ].join("\n"),
      );
    },
    gateway: (command = "", ...args) =>
      runCtl(["gateway", command, "--config", file, ...ACCEPT, ...args], { env: AWS }),
    [Symbol.asyncDispose]: async () => {
      kms.destroy();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

/** The rows of a successful result. */
function rowsOf(result: CtlResult): readonly Record<string, unknown>[] {
  assertEquals(result.code, 0, result.stdout + result.stderr);
  return JSON.parse(result.stdout).enclaves;
}

const freshMoto = shareMoto();

function test(behaviour: string, run: (moto: PeerServer) => Promise<void>): void {
  Deno.test({ name: `master key: ${behaviour}`, sanitizeResources: false, sanitizeOps: false }, async () => {
    await using moto = await freshMoto();
    await run(moto);
  });
}

async function checkSignatures(world: World, publicKey: string): Promise<void> {
  const ecdsa = rowsOf(await world.gateway("sign", "--enclave", "1", "--digest", DIGEST, "--json"))[0];
  assertEquals(ecdsa?.["public_key"], publicKey);
  const signature = String(ecdsa?.["signature"]);
  assert(verifyDigest(decodeHex(publicKey), decodeHex(DIGEST), decodeHex(signature)));
  const point = [27, 28].map((v) =>
    SigningKey.recoverPublicKey(`0x${DIGEST}`, {
      r: `0x${signature.slice(0, 64)}`,
      s: `0x${signature.slice(64)}`,
      v,
    })
  ).map((key) => SigningKey.computePublicKey(key, true));
  assert(point.includes(`0x${publicKey}`), "ethers recovers another key");
  const schnorr = rowsOf(
    await world.gateway("sign", "--enclave", "1", "--digest", DIGEST, "--scheme", "schnorr", "--json"),
  )[0];
  assert(verifySchnorr(decodeHex(publicKey), decodeHex(DIGEST), decodeHex(String(schnorr?.["signature"]))));
}

if (hasMoto()) {
  test("a key is made, used, and used again after a restart of both sides; the database is intact", async (moto) => {
    await using world = await makeWorld(moto);
    let publicKey = "";
    {
      await using enclave = await world.startEnclave();
      await world.configure([enclave]);
      const [made] = rowsOf(await world.gateway("init", "--new", "--json"));
      assertEquals([made?.["how"], made?.["key_epoch"], made?.["kms_key_id"]], [
        "generated",
        1,
        world.keys[0],
      ]);
      publicKey = String(made?.["public_key"]);
      await checkSignatures(world, publicKey);
    }
    await using enclave = await world.startEnclave();
    await world.configure([enclave]);
    const refused = await world.gateway("sign", "--enclave", "1", "--digest", DIGEST);
    assertEquals([refused.code, refused.stderr.includes("not_configured")], [1, true], refused.stderr);
    const [opened] = rowsOf(await world.gateway("init", "--new", "--json"));
    assertEquals([opened?.["how"], opened?.["public_key"]], ["opened", publicKey]);
    await checkSignatures(world, publicKey);
    assertEquals((await world.gateway("verify")).code, 0);

    const database = new DatabaseSync(world.database);
    try {
      // Read by plain SQL, as other programs read the table.
      const rows = database.prepare(
        "SELECT enclave_id, length(encrypted_private_key) AS length FROM enclave_master_keys",
      ).all();
      assertEquals(rows.map((row) => ({ ...row as object })), [{ enclave_id: 1, length: 60 }]);
      const row = database.prepare(
        "SELECT length(public_key) AS p, length(kms_encrypted_dek) > 32 AS d FROM enclave_master_keys",
      ).get();
      assertEquals({ ...row as object }, { p: 33, d: 1 });
      assertEquals({ ...database.prepare("PRAGMA integrity_check").get() as object }, {
        integrity_check: "ok",
      });
    } finally {
      database.close();
    }
    assertEquals(((await Deno.stat(world.database)).mode ?? 0) & 0o777, 0o600);
  });

  test("without --new no database and no key is made, and a service that attests nothing gets none where attestation is wanted", async (moto) => {
    await using world = await makeWorld(moto);
    await using enclave = await world.startEnclave();
    await world.configure([enclave]);
    const missing = await world.gateway("init");
    assertEquals([missing.code, missing.stdout], [69, ""], missing.stderr);
    assert(missing.stderr.includes(world.database), missing.stderr);
    assertEquals((await world.gateway("status")).code, 69);
    const file = `${world.directory}/config.yaml`;
    const strict = (await Deno.readTextFile(file)).replace(
      "enable_attestation: false",
      "enable_attestation: true",
    );
    await Deno.writeTextFile(file, strict);
    const refused = await world.gateway("init", "--new");
    assertEquals(
      [refused.code, refused.stdout.includes("without attestation")],
      [1, true],
      refused.stdout + refused.stderr,
    );
  });

  test("without an NSM no key is made or taken, unless its enclave is accepted by name", async (moto) => {
    await using world = await makeWorld(moto);
    await using enclave = await world.startEnclave();
    await world.configure([enclave]);
    const plain = (...args: readonly string[]) =>
      runCtl(["gateway", ...args, "--config", `${world.directory}/config.yaml`], { env: AWS });
    const build = ["--pcr", `0=${"ab".repeat(48)}`];
    const other = ["--accept-unproven-origin", "2"];
    for (
      const [args, words] of [[[], "no build is named"], [build, "no NSM"], [other, "no build"]] as const
    ) {
      const refused = await plain("init", "--new", ...args);
      assertEquals(
        [refused.code, refused.stdout.includes(words)],
        [1, true],
        refused.stdout + refused.stderr,
      );
      assert(refused.stdout.includes("--accept-unproven-origin 1"), refused.stdout);
    }
    assertEquals(readStored(world.database), undefined);
    const [made] = rowsOf(await world.gateway("init", "--new", "--json"));
    assertEquals([made?.["how"], made?.["origin"]], ["generated", "unproven"]);
    for (const command of ["init", "status", "verify"]) {
      const refused = await plain(command, ...build);
      assertEquals([refused.code, refused.stdout.includes("no attestation document")], [1, true], command);
    }
  });

  test("a configuration that names the KMS key by its alias works in development", async (moto) => {
    await using world = await makeWorld(moto);
    const alias = "alias/denclave-master-key";
    await using enclave = await ServiceProcess.start(
      devLaunch([
        "--kms",
        "aws",
        "--kms-endpoint-url",
        world.endpoint,
        "--region",
        REGION,
        "--kms-key",
        alias,
      ]),
    );
    await world.configure([enclave], alias);
    assertEquals(rowsOf(await world.gateway("init", "--new", "--json"))[0]?.["how"], "generated");
    assertEquals((await world.gateway("verify")).code, 0);
  });

  const KILLS = count(100, 12);
  test(`a gateway that is killed at any moment of init or rewrap, ${KILLS} times: the key is never lost, and never two`, async (moto) => {
    await using world = await makeWorld(moto);
    let enclave = await world.startEnclave();
    try {
      await world.configure([enclave]);
      let publicKey: string | undefined;
      let landed = 0;
      let windowMs = 500;
      for (let round = 0; round < KILLS; round++) {
        if (round % count(20, 5) === 4) {
          await enclave.stop();
          enclave = await world.startEnclave();
        }
        const stored = readStored(world.database);
        await world.configure([enclave], stored?.keyId ?? world.keys[0]);
        const to = stored?.keyId === world.keys[0] ? world.keys[1] : world.keys[0];
        const command = stored === undefined || round % 2 === 0 ? ["init", "--new"] : ["rewrap", "--to", to];
        const ended = await killSoon([
          ...["gateway", ...command, "--config", `${world.directory}/config.yaml`],
          ...ACCEPT,
        ], windowMs);
        if (ended) landed++;
        const now = readStored(world.database);
        if (publicKey !== undefined) assertEquals(now?.publicKey, publicKey, `round ${round}`);
        publicKey ??= now?.publicKey;
        // On a slow machine no run may have reached its first row.
        if (publicKey === undefined) windowMs += 250;
      }
      assert(publicKey !== undefined, "no round got as far as a row");
      const stored = readStored(world.database);
      await enclave.stop();
      enclave = await world.startEnclave();
      await world.configure([enclave], stored?.keyId);
      assertEquals(rowsOf(await world.gateway("init", "--new", "--json"))[0]?.["public_key"], publicKey);
      assertEquals((await world.gateway("verify")).code, 0);
      console.log(`    ${landed} of ${KILLS} runs ended before they were killed`);
    } finally {
      await enclave[Symbol.asyncDispose]();
    }
  });
}

function readStored(file: string): { readonly publicKey: string; readonly keyId: string } | undefined {
  try {
    Deno.statSync(file);
  } catch {
    // Not there yet.
    return undefined;
  }
  const database = new DatabaseSync(file);
  try {
    assertEquals({ ...database.prepare("PRAGMA integrity_check").get() as object }, {
      integrity_check: "ok",
    });
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE name = 'enclave_master_keys'")
      .all();
    if (tables.length === 0) return undefined;
    const row = database.prepare("SELECT public_key, kms_key_id FROM enclave_master_keys").get() as
      | { public_key: Uint8Array; kms_key_id: string }
      | undefined;
    return row === undefined ? undefined : { publicKey: encodeHex(row.public_key), keyId: row.kms_key_id };
  } finally {
    database.close();
  }
}

/** Runs the tool, kills it at a random moment of its usual run; whether it had ended by then. */
async function killSoon(args: readonly string[], windowMs: number): Promise<boolean> {
  const child = spawnCtl(args, AWS);
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    resolve();
  }, 150 + Math.random() * windowMs);
  const { signal } = await child.status;
  clearTimeout(timer);
  resolve();
  await promise;
  return signal === null;
}
