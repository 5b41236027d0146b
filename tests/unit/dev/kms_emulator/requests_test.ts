/** The local KMS's requests: signatures, keys and policies, parameters, events. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { Credentials } from "../../../../lib/enclave/kms/aws_ne/mod.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { parseAccessKeys } from "../../../../lib/dev/kms_emulator/signature.ts";
import {
  accessKeysFile,
  ACCOUNT,
  ADMIN,
  BUILD,
  CONTEXT,
  type Fields,
  KEYS_FILE,
  KmsPlace,
  policyFor,
  REGION,
  ROLE,
  SESSION,
} from "../../../helpers/kms_place.ts";

const SIGNERS: readonly (readonly [string, Partial<typeof SESSION>, string | undefined])[] = [
  ["the session", {}, undefined],
  ["a role that the policy does not name", {
    accessKeyId: "AKIATESTADMIN",
    secretAccessKey: "secret-of-the-admin",
    sessionToken: "",
  }, "AccessDeniedException"],
  ["an unknown key", { accessKeyId: "AKIANOBODY" }, "UnrecognizedClientException"],
];
for (const [who, strings, expected] of SIGNERS) {
  Deno.test(`signed by ${who}: ${expected ?? "served"}`, async () => {
    const { place: opened, kms } = await KmsPlace.open(BUILD.old, {
      policies: [{ policy: policyFor([BUILD.old]) }],
      accessKeys: parseAccessKeys(KEYS_FILE),
    });
    await using place = opened;
    using credentials = Credentials.fromStrings({ ...SESSION, ...strings });
    const ask = () =>
      kms.generateDataKey({ region: REGION, credentials }, { keyId: place.keyArn, keySpec: "AES_128" });
    if (expected === undefined) (await ask()).plaintext[Symbol.dispose]();
    else assertEquals(await place.refusal(ask), expected);
    const [event] = place.events;
    assertEquals(event?.errorCode, expected);
    const isKnown = expected === undefined || expected === "AccessDeniedException";
    assertEquals(event?.userIdentity["type"], isKnown ? "AssumedRole" : "Unknown");
  });
}

Deno.test("an administrator describes, reads and puts policies, and may not lock everybody out", async () => {
  const { place: opened } = await KmsPlace.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old]) }],
    caller: ADMIN,
  });
  await using place = opened;
  const KeyId = place.keyArn.slice(place.keyArn.lastIndexOf("/") + 1);
  const { answer: described } = await place.ask("DescribeKey", { KeyId });
  const metadata = described["KeyMetadata"] as Fields;
  assertEquals([metadata["Arn"], metadata["AWSAccountId"], metadata["KeyState"]], [
    place.keyArn,
    ACCOUNT,
    "Enabled",
  ]);
  const { answer: read } = await place.ask("GetKeyPolicy", { KeyId, PolicyName: "default" });
  assertEquals(read, { Policy: policyFor([BUILD.old]), PolicyName: "default" });
  const Policy = policyFor([BUILD.new]);
  assertEquals(await place.ask("PutKeyPolicy", { KeyId, Policy }), { status: 200, answer: {} });
  assertEquals((await place.ask("GetKeyPolicy", { KeyId })).answer["Policy"], Policy);
  const lockout = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { AWS: ROLE }, Action: "kms:*", Resource: "*" }],
  });
  const { answer: refused } = await place.ask("PutKeyPolicy", { KeyId, Policy: lockout });
  assertEquals(refused["__type"], "MalformedPolicyDocumentException");
  const { answer: broken } = await place.ask("PutKeyPolicy", { KeyId, Policy: "{}" });
  assertEquals(broken["__type"], "MalformedPolicyDocumentException");
  assertEquals((await place.ask("GetKeyPolicy", { KeyId })).answer["Policy"], Policy);
  const bypass = { KeyId, Policy: lockout, BypassPolicyLockoutSafetyCheck: true };
  assertEquals((await place.ask("PutKeyPolicy", bypass)).status, 200);
  assertEquals((await place.ask("DescribeKey", { KeyId })).answer["__type"], "AccessDeniedException");
});

Deno.test("a policy is put before the first request, on every key or on one", async () => {
  const file = await Deno.makeTempFile();
  await Deno.remove(file);
  const keys: string[] = [];
  {
    const { place: opened } = await KmsPlace.open(BUILD.old, {
      keysFile: file,
      caller: ADMIN.replace("role/admin", "root"),
    });
    await using place = opened;
    await place.ask("CreateKey", {});
    keys.push(...place.server.kms.keyArns);
  }
  const policies = [{ policy: policyFor([BUILD.new]) }, { key: keys[1], policy: policyFor([BUILD.old]) }];
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { keysFile: file, policies });
  await using place = opened;
  assertEquals(place.server.kms.keyArns, keys);
  assertEquals(await place.refusal(() => place.dataKey(kms)), "AccessDeniedException");
  const made = await kms.generateDataKey(place.access, { keyId: keys[1] ?? "", keySpec: "AES_256" });
  made.plaintext[Symbol.dispose]();
  await Deno.remove(file);
});

const INVALID: readonly (readonly [string, unknown, string])[] = [
  ["Decrypt", "", "ValidationException"],
  ["Decrypt", { CiphertextBlob: "%" }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: encodeBase64(new Uint8Array(6145)) }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionAlgorithm: "RSAES_OAEP_SHA_1" }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: { a: 1 } }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: { a: "b".repeat(8192) } }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: { a: "\ud800" } }, "ValidationException"],
  [
    "Decrypt",
    { CiphertextBlob: "AAAA", EncryptionContext: { a: "\ud83d\ude00" } },
    "InvalidCiphertextException",
  ],
  ["Decrypt", { CiphertextBlob: "AAAA" }, "InvalidCiphertextException"],
  ["Encrypt", { KeyId: "x", Plaintext: encodeBase64(new Uint8Array(4097)) }, "ValidationException"],
  ["Encrypt", { KeyId: "x", Plaintext: "AAAA" }, "NotFoundException"],
  ["GenerateDataKey", { KeyId: "KEY" }, "ValidationException"],
  ["GenerateDataKey", { KeyId: "KEY", KeySpec: "AES_256", NumberOfBytes: 32 }, "ValidationException"],
  ["GenerateDataKey", { KeyId: "KEY", NumberOfBytes: 1025 }, "ValidationException"],
  ["GenerateRandom", {}, "ValidationException"],
  ["CreateKey", { KeySpec: "RSA_2048" }, "ValidationException"],
  ["CreateKey", { Policy: "{}" }, "MalformedPolicyDocumentException"],
  ["GetKeyPolicy", { KeyId: "KEY", PolicyName: "other" }, "NotFoundException"],
  ["PutKeyPolicy", { KeyId: "KEY" }, "ValidationException"],
  ["ReEncrypt", {}, "UnknownOperationException"],
  ["constructor", {}, "UnknownOperationException"],
];
Deno.test("what is not as KMS takes it is refused by KMS's name", async () => {
  const { place: opened } = await KmsPlace.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
  await using place = opened;
  for (const [operation, fields, expected] of INVALID) {
    const text = JSON.stringify(fields).replace("KEY", place.keyArn);
    const { status, answer } = await place.ask(operation, typeof fields === "string" ? fields : text);
    assertEquals([status, answer["__type"]], [
      expected === "UnknownOperationException" ? 404 : 400,
      expected,
    ], text);
    assertEquals(place.events.at(-1)?.errorCode, expected);
  }
});

Deno.test("a failure of the emulator is KMSInternalException to the client, and is logged for the operator", async () => {
  const folder = await Deno.makeTempDir();
  const keysFile = `${folder}/keys.json`;
  const { place: opened } = await KmsPlace.open(BUILD.old, { keysFile });
  await using place = opened;
  await Deno.remove(folder, { recursive: true });
  const { status, answer } = await place.ask("CreateKey", {});
  assertEquals([status, answer], [500, {
    __type: "KMSInternalException",
    message: "The local KMS failed",
  }]);
  assertEquals(place.events.at(-1)?.errorCode, "KMSInternalException");
  assertStringIncludes(
    place.problems[0] ?? "",
    `CreateKey failed: Cannot use the local KMS's file ${keysFile}`,
  );
});

Deno.test("nothing secret is in an event: neither plaintext, ciphertext, secret key nor token", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
  await using place = opened;
  const secret = crypto.getRandomValues(new Uint8Array(24));
  using credentials = Credentials.fromStrings(SESSION);
  const access = { region: REGION, credentials };
  const made = await kms.generateDataKey(access, {
    keyId: place.keyArn,
    keySpec: "AES_256",
    context: CONTEXT,
  });
  using plaintext = made.plaintext;
  (await kms.decrypt(access, { ciphertext: made.ciphertext, keyId: place.keyArn, context: CONTEXT }))
    [Symbol.dispose]();
  await place.refusal(() => kms.decrypt(access, { ciphertext: new Uint8Array(secret), keyId: place.keyArn }));
  const text = JSON.stringify(place.events);
  for (
    const hidden of [
      encodeBase64(plaintext.expose()),
      encodeBase64(made.ciphertext),
      encodeBase64(secret),
      SESSION.secretAccessKey,
      SESSION.sessionToken,
    ]
  ) assertEquals(text.includes(hidden), false);
  const [first] = place.events;
  assertEquals(first?.requestParameters?.encryptionContext, CONTEXT);
  const { recipient } = first?.additionalEventData as { recipient: Fields };
  assertEquals([
    recipient["attestationDocumentEnclaveImageDigest"],
    Object.keys(recipient).length,
    first?.userIdentity["accessKeyId"],
  ], [BUILD.old, 7, SESSION.accessKeyId]);
});

const KEY_FILES: readonly (readonly [string, string, string])[] = [
  ["no JSON", "{", "not JSON"],
  ["another version", '{"version":2}', "version 1"],
  ["a key twice", accessKeysFile(SESSION, SESSION), "twice"],
  ["no secret", accessKeysFile({ ...SESSION, secretAccessKey: "" }), "no secretAccessKey"],
  ["an invalid ARN", accessKeysFile({ ...SESSION, arn: "alice" }), "no role, user or root"],
  ["an unknown field", accessKeysFile({ ...SESSION, token: "a" }), '"token"'],
];
for (const [what, text, words] of KEY_FILES) {
  Deno.test(`a file of access keys with ${what} is refused, without its secrets`, () => {
    const thrown = assertThrows(() => parseAccessKeys(text), EnclaveError, words);
    assertEquals(Deno.inspect(thrown).includes(SESSION.secretAccessKey), false);
  });
}
