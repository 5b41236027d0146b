/**
 * What `denclavectl` prints of replies, stores and policies that a hostile parent made: nothing that a
 * terminal would act on, hide or turn.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openSqliteStore } from "../../lib/ctl/stores/sqlite.ts";
import { openMasterKeyStore } from "../../lib/ctl/gateway/master_key_store.ts";
import { imageOf, METADATA, smallParts } from "../fixtures/eif.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { recordingService } from "../helpers/recording_service.ts";

/** Clears the screen, sets its title, writes over the line, begins another, turns text, hides in no width. */
const HOSTILE =
  "a\x1b[2J\x1b]0;t\x07\r\nFORGED\x7f\x9b31m\x85\u202egnp\u2066\u200b\u2028\u2029\ufeff\u00ad\u{e0041}\u034f\tz";
const UNSEEN: readonly (readonly [number, number])[] = [
  ...[[0, 9], [0xb, 0x1f], [0x7f, 0x9f], [0xad, 0xad], [0x34f, 0x34f], [0x61c, 0x61c], [0x200b, 0x200f]],
  ...[[0x2028, 0x202e], [0x2060, 0x206f], [0xfeff, 0xfeff], [0xfff9, 0xfffb], [0xd800, 0xdfff], [
    0xe0000,
    0xe007f,
  ]],
] as const;

/** Fails unless every character shows as itself, and no line begins that is not the program's. */
function isSafe(text: string, what: string): void {
  const found = [...text].map((character) => character.codePointAt(0) ?? 0)
    .filter((point) => UNSEEN.some(([first, last]) => point >= first && point <= last));
  assertEquals(found.map((point) => point.toString(16)), [], `${what}\n${JSON.stringify(text)}`);
  assertEquals(/^FORGED/m.test(text), false, `${what}\n${text}`);
}

async function run(args: readonly string[], cwd: string) {
  const result = await runCtl(args, { cwd, env: { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" } });
  isSafe(result.stdout, args.join(" "));
  isSafe(result.stderr, args.join(" "));
  return result;
}

const EVENT = { time: HOSTILE, level: HOSTILE, event: HOSTILE, reason: HOSTILE };

Deno.test("a service's replies are printed without characters that a terminal acts on, as text and as JSON", async () => {
  await using folder = await Folder.make();
  const everything = {
    status: "ok",
    msg: HOSTILE,
    result: HOSTILE,
    version: HOSTILE,
    [HOSTILE]: HOSTILE,
    events: [EVENT],
  };
  await using service = recordingService(() => everything);
  const client = (command: string, ...more: string[]) =>
    run(["client", command, "--connect", service.address, ...more], folder.path);
  for (const more of [[], ["--json"]]) {
    for (const command of ["ping", "health", "metrics", "logs"]) {
      const { code, stdout } = await client(command, ...more);
      assertEquals(code, 0);
      assertStringIncludes(stdout, "\\u001b");
    }
    await client("attest", "--insecure-skip-verification", ...more);
    await client("configure", "--encrypted-tsk", "AAAA", ...more);
    const processed = await client("process", "--ciphertext", "00", ...more);
    assertEquals(processed.stdout.trim().split("\n").length, 1);
  }
  // Within JSON the value stays the same.
  assertEquals(JSON.parse((await client("health", "--json")).stdout), everything);
});

Deno.test("a service's errors are printed on one line, as text and as JSON", async () => {
  await using folder = await Folder.make({ "gateway.yaml": "" });
  await using service = recordingService(() => ({
    status: "error",
    apiResponse: HOSTILE,
    msg: HOSTILE,
    code: HOSTILE,
    details: HOSTILE,
  }));
  await writeGateway(folder, service.address);
  const connect = ["--connect", service.address];
  const commands = [
    ["client", "ping", ...connect],
    ["client", "configure", "--encrypted-tsk", "AAAA", ...connect],
    ["client", "ping", "--sealed", "--pcr", `0=${"ab".repeat(48)}`, ...connect],
    ["account", "create", "-n", "a", "--create", "--store", "sqlite:new.sqlite", ...connect],
    ["gateway", "status", "--config", "gateway.yaml"],
    [
      "gateway",
      "sign",
      "--config",
      "gateway.yaml",
      "--digest",
      "11".repeat(32),
      "--accept-unproven-origin",
      "1",
    ],
  ];
  for (const args of commands) {
    const { code, stdout, stderr } = await run(args, folder.path);
    assert(code !== 0);
    assertStringIncludes(stdout + stderr, "\\u001b");
    await run([...args, "--json"], folder.path);
  }
});

/** A gateway's file, and its database with a row whose KMS key has a hostile name. */
async function writeGateway(folder: Folder, address: string): Promise<void> {
  const shipped = await Deno.readTextFile(new URL("../../config/development.yaml", import.meta.url));
  await folder.write("gateway.yaml", shipped.replace("port: 5000", `port: ${address.split(":")[2]}`));
  using store = openMasterKeyStore(`${folder.path}/gateway.sqlite`, { create: true });
  store.insert({
    enclaveId: 1,
    kmsEncryptedDek: new Uint8Array(1),
    encryptedPrivateKey: new Uint8Array(60),
    publicKey: new Uint8Array(33),
    kmsKeyId: HOSTILE,
    keyEpoch: 1,
  });
}

Deno.test("stored keys are shown without characters that a terminal acts on", async () => {
  await using folder = await Folder.make();
  await using service = recordingService(({ type }) =>
    type === "master_key.public_info"
      ? { status: "ok", public_key: "AA==", key_epoch: 1, kms_key_id: HOSTILE, boot_id: HOSTILE }
      : { status: "ok", kms: {} }
  );
  await writeGateway(folder, service.address);
  for (const more of [[], ["--json"]]) {
    const { stdout } = await run(["gateway", "status", "--config", "gateway.yaml", ...more], folder.path);
    assertStringIncludes(stdout, "\\u001b");
  }
});

Deno.test("stored accounts are shown on one line each, without characters that a terminal acts on", async () => {
  await using folder = await Folder.make();
  {
    await using store = openSqliteStore(`${folder.path}/accounts.sqlite`);
    await store.insert({
      name: HOSTILE,
      keyId: HOSTILE,
      address: HOSTILE,
      encryptedPrivateKey: HOSTILE,
      encryptedDataKey: HOSTILE,
      created: HOSTILE,
      version: 1,
    });
  }
  const list = await run(["account", "list"], folder.path);
  assertEquals([list.code, list.stdout.trim().split("\n").length], [0, 2], list.stderr);
  const [row] = JSON.parse((await run(["account", "list", "--json"], folder.path)).stdout);
  assertEquals(row.address, HOSTILE);
  for (const more of [[], ["--json"], ["--verify", "--pcr", `0=${"ab".repeat(48)}`]]) {
    const shown = await run(["account", "show", "--name", row.name, ...more], folder.path);
    assertStringIncludes(shown.stdout + shown.stderr, "\\u001b");
  }
});

Deno.test("policies are shown without characters that a terminal acts on", async () => {
  const statement = (principal: string) => ({
    Sid: HOSTILE,
    Effect: "Allow",
    Principal: { AWS: principal },
    Action: "kms:*",
    Resource: "*",
    Condition: { StringEquals: { "kms:ViaService": HOSTILE } },
  });
  const policy = (principal: string) =>
    JSON.stringify({ Version: "2012-10-17", Id: HOSTILE, Statement: [statement(principal)] });
  await using folder = await Folder.make({
    "one.json": policy("arn:aws:iam::111122223333:role/One"),
    "two.json": policy("arn:aws:iam::111122223333:role/Two"),
  });
  for (const args of [["lint", "one.json"], ["diff", "one.json", "two.json"]]) {
    for (const more of [[], ["--json"]]) {
      const { stdout, stderr } = await run(["policy", ...args, ...more], folder.path);
      assertStringIncludes(stdout, "\\u001b", stderr);
    }
  }
});

Deno.test("an image's metadata are shown without characters that a terminal acts on", async () => {
  const metadata = { ...METADATA, ImageName: HOSTILE, ImageVersion: HOSTILE };
  await using folder = await Folder.make({ "a.eif": await imageOf(smallParts({ metadata })) });
  for (const more of [[], ["--json"]]) {
    const { stdout } = await run(["eif", "describe", "a.eif", ...more], folder.path);
    assertStringIncludes(stdout, "\\u001b");
  }
});
