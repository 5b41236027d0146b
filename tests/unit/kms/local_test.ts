/** Allowed keys, the local KMS, KMS's reasons, arguments. */
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import {
  checkAlgorithm,
  checkCiphertext,
  checkCredentials,
  checkKeyId,
  checkRandomLength,
} from "../../../lib/aws_ne/arguments.ts";
import { isRegion } from "../../../lib/aws/region.ts";
import { Credentials } from "../../../lib/aws/credentials.ts";
import { SdkArgumentError } from "../../../lib/aws_ne/errors.ts";
import { hintFor, parseKmsReason } from "../../../lib/aws/kms_reasons.ts";
import { EnclaveError } from "../../../lib/errors.ts";
import { parseKeyArn, selectKey } from "../../../lib/aws/key_arn.ts";
import { LocalKms, LocalKmsError } from "../../../lib/kms/local.ts";

const A = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const B = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234567890abcdef1234567890abcdef";
const C = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/99999999-12ab-34cd-56ef-1234567890ab";
const access = {
  region: "us-east-1",
  credentials: Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "" }),
};

for (const arn of [A, B, C]) {
  Deno.test(`${arn} is a key`, () => assertEquals(parseKeyArn(arn).arn, arn));
}

for (
  const text of [
    "",
    "alias/mine",
    "1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:kms:us-east-1:111122223333:alias/mine",
    "arn:aws:kms:us-east-1.evil.example:111122223333:key/a",
    "arn:aws:kms::111122223333:key/a",
    "arn:aws:kms:us-east-1:1111:key/a",
    "arn:aws:s3:us-east-1:111122223333:key/a",
    `${A} `,
    `${A}\n`,
  ]
) {
  Deno.test(`${JSON.stringify(text)} is no key that may be allowed`, () => {
    assertEquals(assertThrows(() => parseKeyArn(text), EnclaveError).code, "invalid_key_arn");
  });
}

const SELECTIONS:
  readonly (readonly [string, readonly string[], { key?: string; region?: string }, string | undefined])[] = [
    ["the only key, unasked", [A], {}, A],
    ["by ARN", [A, B], { key: B }, B],
    ["by the id at the end of an ARN", [A, B], { key: "mrk-1234567890abcdef1234567890abcdef" }, B],
    ["by region, where one key is in it", [A, C], { region: "us-gov-west-1" }, C],
    ["none where nothing is allowed", [], {}, undefined],
    ["none where several fit", [A, B], {}, undefined],
    ["none for another key", [A], { key: C }, undefined],
    ["none for an alias", [A], { key: "alias/mine" }, undefined],
    ["none for another region", [A], { region: "eu-west-1" }, undefined],
    ["none for the key in another region", [A], { key: A, region: "eu-west-1" }, undefined],
    ["none for a part of an id", [A], { key: "1234abcd" }, undefined],
  ];
for (const [what, allowed, selection, expected] of SELECTIONS) {
  Deno.test(`a request selects ${what}`, () => {
    const select = () => selectKey(allowed.map(parseKeyArn), selection).arn;
    if (expected !== undefined) assertEquals(select(), expected);
    else assertEquals(assertThrows(select, EnclaveError).code, "key_not_allowed");
  });
}

for (
  const region of [
    "us-east-1",
    "ap-southeast-2",
    "us-gov-west-1",
    "us-iso-east-1",
    "eusc-de-east-1",
    "cn-north-1",
  ]
) {
  Deno.test(`${region} is a region`, () => assertEquals(isRegion(region), true));
}
for (
  const region of [
    "",
    "us-east",
    "US-EAST-1",
    "us-east-1.evil.example",
    "us-east-1/",
    "us-east-1\n",
    "1-a-1",
    "us-" + "a".repeat(30) + "-1",
    "us-east-123",
  ]
) {
  Deno.test(`${JSON.stringify(region)} is no region`, () => assertEquals(isRegion(region), false));
}

Deno.test("arguments are checked at their limits", () => {
  checkCiphertext(new Uint8Array(6144));
  checkRandomLength(1024);
  checkKeyId(A);
  checkAlgorithm("SYMMETRIC_DEFAULT");
  const refused: readonly (() => void)[] = [
    () => checkCiphertext(new Uint8Array(0)),
    () => checkCiphertext(new Uint8Array(6145)),
    () => checkRandomLength(0),
    () => checkRandomLength(1.5),
    () => checkKeyId(""),
    () => checkKeyId("a b"),
    () => checkKeyId("a".repeat(2049)),
    () => checkAlgorithm("ROT13"),
  ];
  for (const check of refused) assertThrows(check, SdkArgumentError);
});

for (
  const [name, strings] of [
    ["accessKeyId", { accessKeyId: "", secretAccessKey: "S", sessionToken: "" }],
    ["secretAccessKey", { accessKeyId: "A", secretAccessKey: "", sessionToken: "" }],
    ["accessKeyId", { accessKeyId: "A".repeat(129), secretAccessKey: "S", sessionToken: "" }],
    ["sessionToken", { accessKeyId: "A", secretAccessKey: "S", sessionToken: "t".repeat(16_385) }],
    ["secretAccessKey", { accessKeyId: "A", secretAccessKey: "S\0", sessionToken: "" }],
  ] as const
) {
  Deno.test(`credentials with a wrong ${name} are refused by name, without its value`, () => {
    using credentials = Credentials.fromStrings(strings);
    const error = assertThrows(() => checkCredentials(credentials), SdkArgumentError);
    assertEquals([error.symbol, error.message.includes("SS")], [name, false]);
  });
}

Deno.test("credentials have one fingerprint for each set and region", () => {
  const fingerprint = (accessKeyId: string, secretAccessKey: string, region: string) => {
    using credentials = Credentials.fromStrings({ accessKeyId, secretAccessKey, sessionToken: "" });
    return credentials.fingerprint(region);
  };
  const prints = [fingerprint("AB", "C", "r"), fingerprint("A", "BC", "r"), fingerprint("AB", "C", "s")];
  assertEquals([new Set(prints).size, fingerprint("AB", "C", "r")], [3, prints[0]]);
});

Deno.test("KMS's answer gives its error name and message, with any prefix cut off", () => {
  assertEquals(parseKmsReason({ __type: "com.amazonaws.kms#NotFoundException", message: "no key" }), {
    name: "NotFoundException",
    message: "no key",
  });
  assertEquals(parseKmsReason({ __type: "X", Message: "m".repeat(600) })?.message.length, 500);
  for (const answer of [{}, { __type: 1 }, { __type: "<script>" }]) {
    assertEquals(parseKmsReason(answer), undefined);
  }
});

Deno.test("the hint for a denied call speaks of PCRs, and there always is one", () => {
  assertMatch(hintFor({ name: "AccessDeniedException", message: "" }), /PCR/);
  for (const reason of [undefined, { name: "Unheard", message: "" }]) assertMatch(hintFor(reason), /\w/);
});

Deno.test("the local KMS opens what it wrapped, under the same context in any order, and nothing else", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const other = await kms.createKey();
  const blob = await kms.encrypt(keyArn, new Uint8Array([1, 2, 3]), { a: "1", b: "2" });
  using opened = await kms.decrypt(access, { ciphertext: blob, keyId: keyArn, context: { b: "2", a: "1" } });
  assertEquals(opened.expose(), new Uint8Array([1, 2, 3]));
  const refused = [
    [{ ciphertext: blob, context: { a: "1" } }, "InvalidCiphertextException"],
    [{ ciphertext: blob, context: { a: "1=", b: "2" } }, "InvalidCiphertextException"],
    [{ ciphertext: blob, keyId: other, context: { a: "1", b: "2" } }, "IncorrectKeyException"],
    [{ ciphertext: new Uint8Array(100) }, "InvalidCiphertextException"],
    [{
      ciphertext: new Uint8Array(blob.with(blob.length - 1, (blob.at(-1) ?? 0) ^ 1)),
      context: { a: "1", b: "2" },
    }, "InvalidCiphertextException"],
  ] as const;
  for (const [request, name] of refused) {
    assertEquals((await assertRejects(() => kms.decrypt(access, request), LocalKmsError)).kms.name, name);
  }
});

Deno.test("the local KMS makes data keys that it opens again", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyId = ""] = kms.keyArns;
  const { plaintext, ciphertext } = await kms.generateDataKey(access, {
    keyId,
    keySpec: "AES_256",
    context: { p: "w" },
  });
  using key = plaintext;
  using opened = await kms.decrypt(access, { ciphertext, context: { p: "w" } });
  assertEquals(opened.expose(), key.expose());
  await assertRejects(
    () => kms.generateDataKey(access, { keyId: "nobody", keySpec: "AES_256" }),
    LocalKmsError,
    "NotFoundException",
  );
});

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-unit-" });
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("the local KMS keeps its keys in a file that is its owner's alone", () =>
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

Deno.test("a key file that others can read, or that is damaged, is refused and left as it is", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/keys.json`;
    for (
      const [content, mode] of [["{", 0o600], ['{"version":2,"keys":{}}', 0o600], [
        '{"version":1,"keys":{"x":"y"}}',
        0o600,
      ], ['{"version":1,"keys":{}}', 0o644]] as const
    ) {
      await Deno.writeTextFile(file, content);
      await Deno.chmod(file, mode);
      await assertRejects(() => LocalKms.open({ region: "us-east-1", file }), EnclaveError);
      assertEquals(await Deno.readTextFile(file), content);
    }
  }));

Deno.test("the local KMS does not run where there is an NSM", () =>
  withDirectory(async (directory) => {
    const nsmDevice = `${directory}/nsm`;
    await Deno.writeTextFile(nsmDevice, "");
    const error = await assertRejects(() => LocalKms.open({ region: "us-east-1", nsmDevice }), EnclaveError);
    assertEquals(error.code, "local_kms_refused");
  }));

const LOCAL_ARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

Deno.test("a blob of another local KMS is of a key that does not exist", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  await using other = await LocalKms.open({ region: "us-east-1" });
  const blob = await other.encrypt(other.keyArns[0] ?? "", new Uint8Array([1]));
  const error = await assertRejects(() => kms.decrypt(access, { ciphertext: blob }), LocalKmsError);
  assertEquals(error.kms.name, "NotFoundException");
});

Deno.test("a blob of which any byte was changed, or that was cut, does not open", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const blob = await kms.encrypt(kms.keyArns[0] ?? "", new Uint8Array([1, 2, 3]));
  for (let at = 0; at < blob.length; at++) {
    const changed = blob.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assertRejects(() => kms.decrypt(access, { ciphertext: changed }), LocalKmsError);
    if (at > 0) {
      await assertRejects(() => kms.decrypt(access, { ciphertext: blob.slice(0, at) }), LocalKmsError);
    }
  }
});

Deno.test("a lone surrogate in an EncryptionContext is refused: another context would open what it sealed", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const contexts = [{ a: "\ud800" }, { "\udc00": "a" }, { a: "x\udc00\ud800" }];
  for (const context of contexts) {
    for (
      const run of [
        () => kms.encrypt(keyArn, new Uint8Array(1), context),
        () => kms.generateDataKey(access, { keyId: keyArn, keySpec: "AES_256", context }),
      ]
    ) assertEquals((await assertRejects(run, LocalKmsError)).kms.name, "ValidationException");
  }
  // What an encoder writes in a lone surrogate's place, and a pair that says something.
  for (const a of ["\ufffd", "\ud83d\ude00"]) {
    const ciphertext = await kms.encrypt(keyArn, new Uint8Array([7]), { a });
    using opened = await kms.decrypt(access, { ciphertext, context: { a } });
    assertEquals(opened.expose()[0], 7);
    const error = await assertRejects(
      () => kms.decrypt(access, { ciphertext, context: { a: "\ud801" } }),
      LocalKmsError,
    );
    assertEquals(error.kms.name, "ValidationException");
  }
});

Deno.test("the local KMS refuses the arguments that the SDK would be refused", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyId = ""] = kms.keyArns;
  using empty = Credentials.fromStrings({ accessKeyId: "", secretAccessKey: "S", sessionToken: "" });
  const calls: readonly (() => Promise<unknown>)[] = [
    () => kms.decrypt({ ...access, region: "evil.example" }, { ciphertext: new Uint8Array(9) }),
    () => kms.decrypt({ ...access, credentials: empty }, { ciphertext: new Uint8Array(9) }),
    () => kms.decrypt(access, { ciphertext: new Uint8Array(6145) }),
    () => kms.decrypt(access, { ciphertext: new Uint8Array(9), keyId: "" }),
    () => kms.generateDataKey(access, { keyId: `${keyId} `, keySpec: "AES_256" }),
    async () => await kms.generateRandom(access, 1025),
  ];
  for (const call of calls) await assertRejects(call, SdkArgumentError);
});

Deno.test("the local KMS's data keys have the length that was asked for, and its random bytes too", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  const [keyId = ""] = kms.keyArns;
  using large = (await kms.generateDataKey(access, { keyId, keySpec: "AES_256" })).plaintext;
  using small = (await kms.generateDataKey(access, { keyId, keySpec: "AES_128" })).plaintext;
  using random = await kms.generateRandom(access, 1024);
  assertEquals([large.length, small.length, random.length], [32, 16, 1024]);
});

Deno.test("a local KMS that was disposed of opens nothing", async () => {
  const kms = await LocalKms.open({ region: "us-east-1" });
  const blob = await kms.encrypt(kms.keyArns[0] ?? "", new Uint8Array([1]));
  await kms[Symbol.asyncDispose]();
  await assertRejects(() => kms.decrypt(access, { ciphertext: blob }), LocalKmsError, "NotFoundException");
});

Deno.test("the local KMS says in health that it attests nothing", async () => {
  await using kms = await LocalKms.open({ region: "us-east-1" });
  assertEquals(kms.health(), { backend: "local", attested: false, keys: 1 });
});

const DAMAGED: readonly (readonly [string, string, number])[] = [
  ["no JSON", "{", 0o600],
  ["a list", "[]", 0o600],
  ["another version", '{"version":2,"keys":{}}', 0o600],
  ["no keys", '{"version":1}', 0o600],
  ["keys that are null", '{"version":1,"keys":null}', 0o600],
  ["a key that is a number", `{"version":1,"keys":{"${LOCAL_ARN}":1}}`, 0o600],
  ["a key that is no base64", `{"version":1,"keys":{"${LOCAL_ARN}":"***"}}`, 0o600],
  ["a key that is too short", `{"version":1,"keys":{"${LOCAL_ARN}":"AAAA"}}`, 0o600],
  ["a group that may read", '{"version":1,"keys":{}}', 0o640],
  ["others who may write", '{"version":1,"keys":{}}', 0o602],
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

Deno.test("a key that cannot be kept is not used", () =>
  withDirectory(async (directory) => {
    const file = `${directory}/keys/keys.json`;
    await Deno.mkdir(`${directory}/keys`);
    await using kms = await LocalKms.open({ region: "us-east-1", file });
    await Deno.remove(`${directory}/keys`, { recursive: true });
    await assertRejects(() => kms.createKey(), EnclaveError);
    assertEquals(kms.keyArns.length, 1);
  }));

const KNOWN_REASONS = [
  "AccessDeniedException",
  "ExpiredTokenException",
  "UnrecognizedClientException",
  "InvalidSignatureException",
  "InvalidCiphertextException",
  "IncorrectKeyException",
  "NotFoundException",
  "DisabledException",
  "KMSInvalidStateException",
  "ThrottlingException",
  "ValidationException",
];
Deno.test("each of KMS's usual errors has a hint of its own", () => {
  const hints = KNOWN_REASONS.map((name) => hintFor({ name, message: "" }));
  assertEquals(
    new Set([...hints, hintFor(undefined), hintFor({ name: "Unheard", message: "" })]).size,
    hints.length + 2,
  );
});

Deno.test("a message of KMS may be spelled either way, or be missing", () => {
  assertEquals([
    parseKmsReason({ __type: "A", message: "m" })?.message,
    parseKmsReason({ __type: "A", Message: "M" })?.message,
    parseKmsReason({ __type: "A" })?.message,
    parseKmsReason({ __type: "A", message: 5 })?.message,
  ], ["m", "M", "", ""]);
});

Deno.test("a clone of credentials outlives its original", () => {
  const original = Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "T" });
  using clone = original.clone();
  const before = clone.fingerprint("r");
  original[Symbol.dispose]();
  assertEquals([original.secretAccessKey.isWiped, clone.fingerprint("r")], [true, before]);
});
