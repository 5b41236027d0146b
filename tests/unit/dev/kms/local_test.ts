/** The local KMS: its keys, its file, and what it refuses. */
import { assertEquals, assertRejects } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { TSK_CONTEXT } from "../../../../lib/shared/aws/tsk_context.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { kmsErrorName } from "../../../../lib/enclave/kms/kms.ts";

const access = {
  region: "us-east-1",
  credentials: Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "" }),
};
const refusal = async (run: () => Promise<unknown>) => kmsErrorName(await assertRejects(run, EnclaveError));

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-unit-" });
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a key file and a wrapped session key of the first version are read", () =>
  withDirectory(async (directory) => {
    // Made by `deno task dev tsk create` when the local KMS was not yet the emulator.
    const fixture = (name: string) =>
      Deno.readTextFile(new URL(`../../../fixtures/local_kms/${name}`, import.meta.url));
    const file = `${directory}/keys.json`;
    await Deno.writeTextFile(file, await fixture("keys.json"), { mode: 0o600 });
    await using kms = await LocalKms.open({ region: "eu-west-1", file });
    const ciphertext = decodeBase64((await fixture("wrapped.txt")).trim());
    using opened = await kms.decrypt(access, { ciphertext, keyId: kms.keyArns[0], context: TSK_CONTEXT });
    assertEquals(encodeHex(opened.expose()), (await fixture("tsk.hex")).trim());
  }));

Deno.test("the keys of a file are usable whatever their account is", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/keys.json`;
    const arn = LOCAL_ARN.replace("000000000000", "111122223333");
    const keys = { [arn]: encodeBase64(new Uint8Array(32)) };
    await Deno.writeTextFile(file, JSON.stringify({ version: 1, keys }), { mode: 0o600 });
    await using kms = await LocalKms.open({ region: "us-east-1", file });
    using key = (await kms.generateDataKey(access, { keyId: arn, keySpec: "AES_128" })).plaintext;
    assertEquals(key.length, 16);
  }));

Deno.test("the local KMS keeps its keys in a file that only its owner can read", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/keys.json`;
    let blob: Uint8Array<ArrayBuffer>;
    {
      await using kms = await LocalKms.open({ region: "us-east-1", file });
      blob = await kms.encrypt(kms.keyArns[0] ?? "", new Uint8Array([9]));
      await kms.createKey();
    }
    assertEquals(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
    assertEquals([...Deno.readDirSync(directory)].map((entry) => entry.name), ["keys.json"]);
    await using again = await LocalKms.open({ region: "us-east-1", file });
    using opened = await again.decrypt(access, { ciphertext: blob });
    assertEquals([opened.expose(), again.keyArns.length], [new Uint8Array([9]), 2]);
  }));

Deno.test("the local KMS does not run where there is an NSM", () =>
  withDirectory(async (directory) => {
    const nsmDevice = `${directory}/nsm`;
    await Deno.writeTextFile(nsmDevice, "");
    const error = await assertRejects(() => LocalKms.open({ region: "us-east-1", nsmDevice }), EnclaveError);
    assertEquals(error.code, "local_kms_refused");
  }));

const LOCAL_ARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

Deno.test("a blob of which any byte was changed, or that was cut, does not open", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const blob = await kms.encrypt(kms.keyArns[0] ?? "", new Uint8Array([1, 2, 3]));
  for (let at = 0; at < blob.length; at++) {
    const changed = blob.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assertRejects(() => kms.decrypt(access, { ciphertext: changed }), EnclaveError);
    if (at > 0) {
      await assertRejects(() => kms.decrypt(access, { ciphertext: blob.slice(0, at) }), EnclaveError);
    }
  }
});

Deno.test("a lone surrogate in an EncryptionContext is refused, because another context would encode to the same bytes", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const contexts = [{ a: "\ud800" }, { "\udc00": "a" }, { a: "x\udc00\ud800" }];
  for (const context of contexts) {
    for (
      const run of [
        () => kms.encrypt(keyArn, new Uint8Array(1), context),
        () => kms.generateDataKey(access, { keyId: keyArn, keySpec: "AES_256", context }),
      ]
    ) assertEquals(await refusal(run), "ValidationException");
  }
  // The replacement character, which an encoder writes for a lone surrogate, and a valid pair.
  for (const a of ["\ufffd", "\ud83d\ude00"]) {
    const ciphertext = await kms.encrypt(keyArn, new Uint8Array([7]), { a });
    using opened = await kms.decrypt(access, { ciphertext, context: { a } });
    assertEquals(opened.expose()[0], 7);
    const lone = { ciphertext, context: { a: "\ud801" } };
    assertEquals(await refusal(() => kms.decrypt(access, lone)), "ValidationException");
  }
});

const DAMAGED: readonly (readonly [string, string, number])[] = [
  ["no JSON", "{", 0o600],
  ["an entry that is no ARN", '{"version":1,"keys":{"x":"y"}}', 0o600],
  ["another version", '{"version":2,"keys":{}}', 0o600],
  ["no keys", '{"version":1}', 0o600],
  ["a key that is too short", `{"version":1,"keys":{"${LOCAL_ARN}":"AAAA"}}`, 0o600],
  ["a group that may read", '{"version":1,"keys":{}}', 0o640],
];
for (const [what, content, mode] of DAMAGED) {
  Deno.test(`a key file with ${what} is refused by name, with a remedy, and left as it is`, () =>
    withDirectory(async (directory) => {
      const file = `${directory}/keys.json`;
      await Deno.writeTextFile(file, content);
      await Deno.chmod(file, mode);
      const error = await assertRejects(
        () => LocalKms.open({ region: "us-east-1", file }),
        EnclaveError,
        file,
      );
      assertEquals([error.code, error.hint !== undefined, await Deno.readTextFile(file)], [
        "local_kms_file",
        true,
        content,
      ]);
    }));
}

Deno.test("a key file that cannot be written is refused, and leaves nothing behind", () =>
  withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    for (const file of [`${directory}/missing/keys.json`, `${directory}/file/keys.json`]) {
      const error = await assertRejects(() => LocalKms.open({ region: "us-east-1", file }), EnclaveError);
      assertEquals(error.code, "local_kms_file");
    }
    assertEquals([...Deno.readDirSync(directory)].map((entry) => entry.name), ["file"]);
  }));

Deno.test("keys that are made at the same time are both in the file", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/keys.json`;
    {
      await using kms = await LocalKms.open({ region: "us-east-1", file });
      await Promise.all([kms.createKey(), kms.createKey()]);
    }
    await using again = await LocalKms.open({ region: "us-east-1", file });
    assertEquals(again.keyArns.length, 3);
  }));
