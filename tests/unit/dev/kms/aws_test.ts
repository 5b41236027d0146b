/** KMS over plain HTTPS, against a server that answers as the test says. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { AwsKmsError, type AwsKmsOptions, openAwsKms } from "../../../../lib/dev/kms/https_api.ts";
import type { JsonKms } from "../../../../lib/dev/kms/json_kms.ts";
import { isReadableOnTheWay, parseEndpoint, regionEndpoint } from "../../../../lib/shared/aws/endpoint.ts";
import { parseDevelopmentKey } from "../../../../lib/shared/aws/development_key.ts";
import { type DecryptRequest, type KmsAccess, kmsErrorName } from "../../../../lib/enclave/kms/kms.ts";
import { within } from "../../../helpers/deadline.ts";
import {
  type Answering,
  jsonAnswer,
  kmsRefusal,
  type SeenRequest,
  startScriptedKms,
} from "../../../helpers/scripted_kms.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER = "arn:aws:kms:us-east-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab";
const SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN/+==";
const CIPHERTEXT = new Uint8Array([1, 2, 3]);
const KEY = encodeBase64(new Uint8Array(32).fill(7));

const STRINGS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET, sessionToken: TOKEN };

/** Runs a call against a server. */
async function scripted<T>(
  answer: Answering,
  run: (kms: JsonKms, access: KmsAccess) => Promise<T>,
  options: AwsKmsOptions = {},
): Promise<
  { readonly result: T; readonly seen: readonly SeenRequest[] }
> {
  await using server = startScriptedKms(answer);
  await using kms = await openAwsKms({
    endpoint: server.url,
    ...options,
  });
  using credentials = Credentials.fromStrings(STRINGS);
  const result = await within(run(kms, { region: "us-east-1", credentials }), "the call's end");
  return { result, seen: server.seen };
}

const decrypt = (kms: JsonKms, access: KmsAccess, more: Partial<DecryptRequest> = {}) =>
  kms.decrypt(access, { ciphertext: CIPHERTEXT, keyId: ARN, ...more });
const failure = (kms: JsonKms, access: KmsAccess) => assertRejects(() => decrypt(kms, access), AwsKmsError);
/** The response is not believed: this error is of the port, not of the connection. */
const disbelief = (kms: JsonKms, access: KmsAccess) =>
  assertRejects(() => decrypt(kms, access), EnclaveError);

/** Nothing of the credentials anywhere in an error, its causes included. */
function assertNoSecrets(thrown: Error): void {
  const text = Deno.inspect(thrown, { depth: 20 }) + JSON.stringify(thrown) + thrown.stack;
  for (const secret of [SECRET, TOKEN]) assertEquals(text.includes(secret), false, text);
}

Deno.test("a Decrypt sends the expected request, and returns the plaintext", async () => {
  const { result, seen } = await scripted(
    () => jsonAnswer({ KeyId: ARN, Plaintext: KEY, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" }),
    (kms, access) => decrypt(kms, access, { context: { app: "a" } }),
  );
  using plaintext = result;
  assertEquals(plaintext.expose(), new Uint8Array(32).fill(7));
  assertEquals(JSON.parse(seen[0]?.body ?? ""), {
    CiphertextBlob: "AQID",
    KeyId: ARN,
    EncryptionAlgorithm: "SYMMETRIC_DEFAULT",
    EncryptionContext: { app: "a" },
  });
  assertEquals([
    seen[0]?.headers.get("x-amz-target"),
    seen[0]?.headers.get("content-type"),
    seen[0]?.headers.get("x-amz-security-token"),
  ], ["TrentService.Decrypt", "application/x-amz-json-1.1", TOKEN]);
});

Deno.test("a refusal is reported with KMS's name and message and a remedy, after one attempt", async () => {
  const refusals = [
    ["AccessDeniedException", 400, /key policy/],
    ["UnrecognizedClientException", 403, /not known to AWS/],
    ["SomethingNewException", 400, /API reference/],
  ] as const;
  for (const [name, status, hint] of refusals) {
    const { result, seen } = await scripted(() => kmsRefusal(name, status), failure);
    assertEquals([result.code, result.kms, seen.length], ["aws_kms", { name, message: "words of KMS" }, 1]);
    assertEquals(result.message, `KMS Decrypt failed: ${name}: words of KMS`);
    assertMatch(result.hint ?? "", hint);
  }
});

/** Answers when the client has gone. */
function never(raw: Request): Promise<Response> {
  const { promise, resolve } = Promise.withResolvers<Response>();
  raw.signal.addEventListener("abort", () => resolve(new Response()), { once: true });
  return promise;
}

Deno.test("a KMS that hangs ends in kms_timeout", async () => {
  const { result, seen } = await scripted((_, __, raw) => never(raw), failure, { timeoutMs: 200 });
  assertEquals([result.code, result.kms, seen.length], ["kms_timeout", undefined, 1]);
  assertNoSecrets(result);
});

Deno.test("where nothing listens, the call fails with kms_unreachable", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const { result } = await scripted(() => new Response(), failure, { endpoint: `http://127.0.0.1:${port}` });
  assertEquals(result.code, "kms_unreachable");
  assertNoSecrets(result);
});

Deno.test({
  name: "a host that this program may not connect to is reported",
  permissions: { net: ["127.0.0.1"], ffi: "inherit" },
}, async () => {
  const { result } = await scripted(() => new Response(), failure, { endpoint: "http://127.0.0.2:4566" });
  assertEquals(result.code, "kms_unreachable");
  assertMatch(result.hint ?? "", /net permission/);
});

const LONG = "x".repeat(64 * 1024);
const STRANGE: readonly (readonly [string, () => Response, string])[] = [
  [
    "more than 64 KiB of unknown length",
    () =>
      new Response(
        new ReadableStream({ pull: (stream) => stream.enqueue(new TextEncoder().encode(LONG)) }),
      ),
    "more than 65536 bytes",
  ],
  ["no JSON", () => new Response("<html>"), "status 200 and no JSON"],
  ["a list", () => jsonAnswer([KEY]), "status 200 and no JSON"],
  ["a redirection", () => new Response(null, { status: 307, headers: { location: "/" } }), "status 307"],
  ["a refusal without a reason", () => jsonAnswer({}, 400), "status 400 and no reason"],
  ["another key", () => jsonAnswer({ KeyId: OTHER, Plaintext: KEY }), `it names "${OTHER}"`],
  ["no key id", () => jsonAnswer({ Plaintext: KEY }), "it names no key"],
  ["no plaintext", () => jsonAnswer({ KeyId: ARN }), "Plaintext is missing"],
  [
    "a plaintext beyond KMS's limit",
    () => jsonAnswer({ KeyId: ARN, Plaintext: encodeBase64(new Uint8Array(4097)) }),
    "Plaintext has 4097 bytes",
  ],
];
for (const [what, answer, words] of STRANGE) {
  Deno.test(`an answer with ${what} is not believed, nor asked for again`, async () => {
    const { result, seen } = await scripted(answer, disbelief);
    assertEquals([result.code, kmsErrorName(result), seen.length], ["aws_kms", undefined, 1]);
    assert(result.message.includes(words), result.message);
    assertNoSecrets(result);
    assertEquals(Deno.inspect(result, { depth: 20 }).includes(KEY), false);
  });
}

Deno.test("a data key of another length, or of another key, is refused", async () => {
  const answers = [
    { KeyId: ARN, Plaintext: "AQID", CiphertextBlob: "AQID" },
    { KeyId: OTHER, Plaintext: KEY, CiphertextBlob: "AQID" },
    { KeyId: ARN, Plaintext: KEY },
    { KeyId: ARN, Plaintext: KEY, CiphertextBlob: encodeBase64(new Uint8Array(6145)) },
  ];
  for (const answer of answers) {
    const { result } = await scripted(
      () => jsonAnswer(answer),
      (kms, access) =>
        assertRejects(() => kms.generateDataKey(access, { keyId: ARN, keySpec: "AES_256" }), EnclaveError),
    );
    assertEquals(result.code, "aws_kms");
  }
});

Deno.test("secret and token are redacted from what KMS quotes of the request", async () => {
  const { result } = await scripted(
    () => kmsRefusal("InvalidSignatureException", 403, `x-amz-security-token:${TOKEN} ${SECRET}`),
    failure,
  );
  assertEquals(result.kms?.message, "x-amz-security-token:[secret] [secret]");
  assertNoSecrets(result);
});

Deno.test("a wrong clock is reported, with the difference", async () => {
  for (
    const [message, hint] of [
      [
        "Signature expired: 20261121T120000Z is now earlier than 20261121T120500Z (20261121T121000Z - 5 min.)",
        /600 s behind/,
      ],
      ["Signature not yet current: 20261121T120000Z", /clock is off: set it/],
    ] as const
  ) {
    const { result } = await scripted(
      () => jsonAnswer({ __type: "InvalidSignatureException", message }, 403),
      failure,
    );
    assertEquals([result.code, result.kms?.name], ["clock_skew", "InvalidSignatureException"]);
    assertMatch(result.hint ?? "", hint);
  }
});

Deno.test("a region or credentials that cannot be sent are refused before anything is sent, without their value", async () => {
  const { seen } = await scripted(() => new Response(), async (kms, access) => {
    using odd = Credentials.fromStrings({ ...STRINGS, sessionToken: `${TOKEN}\n` });
    using empty = Credentials.fromStrings({ ...STRINGS, secretAccessKey: "" });
    for (const changed of [{ region: "evil.example" }, { credentials: empty }, { credentials: odd }]) {
      const error = await failure(kms, { ...access, ...changed });
      assertEquals(error.code, "invalid_argument");
      assertNoSecrets(error);
    }
  });
  assertEquals(seen.length, 0);
});

Deno.test("a call that is under way when the backend is closed ends, and so does every later one", async () => {
  const arrived = Promise.withResolvers<void>();
  await using server = startScriptedKms((_, __, raw) => (arrived.resolve(), never(raw)));
  const kms = await openAwsKms({ endpoint: server.url });
  using credentials = Credentials.fromStrings(STRINGS);
  const access = { region: "us-east-1", credentials };
  const ending = assertRejects(() => decrypt(kms, access), AwsKmsError);
  await within(arrived.promise, "the request");
  await kms[Symbol.asyncDispose]();
  await kms[Symbol.asyncDispose]();
  assertEquals((await within(ending, "the end")).code, "kms_closed");
  assertEquals((await assertRejects(() => decrypt(kms, access), AwsKmsError)).code, "kms_closed");
});

Deno.test("plain KMS does not run where there is an NSM", async () => {
  const nsmDevice = await Deno.makeTempFile({ prefix: "denclave-unit-" });
  try {
    const error = await assertRejects(() => openAwsKms({ nsmDevice }), EnclaveError);
    assertEquals(error.code, "aws_kms_refused");
  } finally {
    await Deno.remove(nsmDevice);
  }
});

Deno.test("AWS's own endpoint is the region's", () => {
  assertEquals(["us-west-2", "cn-north-1", "eusc-de-east-1"].map(regionEndpoint), [
    "https://kms.us-west-2.amazonaws.com/",
    "https://kms.cn-north-1.amazonaws.com.cn/",
    "https://kms.eusc-de-east-1.amazonaws.eu/",
  ]);
});

const ENDPOINTS: readonly (readonly [string, string | undefined])[] = [
  ["http://localhost:4566", "http://localhost:4566/"],
  ["https://kms.us-east-1.amazonaws.com/", "https://kms.us-east-1.amazonaws.com/"],
  ["localhost:4566", undefined],
  ["", undefined],
  ["http://user:hunter2@localhost", undefined],
  ["http://localhost/kms", undefined],
];
for (const [text, expected] of ENDPOINTS) {
  Deno.test(`${JSON.stringify(text)} is ${expected === undefined ? "no" : "an"} endpoint`, () => {
    if (expected !== undefined) return assertEquals(parseEndpoint(text), expected);
    const error = assertThrows(() => parseEndpoint(text), EnclaveError);
    assertEquals([error.code, error.message.includes("hunter2")], ["invalid_endpoint", false]);
  });
}

for (
  const [endpoint, expected] of [
    ["http://localhost:4566", false],
    ["http://[::1]", false],
    ["https://kms.us-east-1.amazonaws.com", false],
    ["http://localstack:4566", true],
    ["http://127.0.0.1.example", true],
  ] as const
) {
  Deno.test(`what goes to ${endpoint} ${expected ? "can" : "cannot"} be read on its way`, () => {
    assertEquals(isReadableOnTheWay(endpoint), expected);
  });
}

const UUID = ARN.slice(-36);
const DEVELOPMENT_KEYS: readonly (readonly [string, readonly [string, string, string] | undefined])[] = [
  [ARN, ["us-east-1", "111122223333", UUID]],
  [UUID, ["eu-west-1", "000000000000", UUID]],
  ["mrk-1234567890abcdef1234567890abcdef", [
    "eu-west-1",
    "000000000000",
    "mrk-1234567890abcdef1234567890abcdef",
  ]],
  ["alias/denclave-master-key", ["eu-west-1", "000000000000", "alias/denclave-master-key"]],
  ["arn:aws:kms:us-west-2:111122223333:alias/a/b_c", ["us-west-2", "111122223333", "alias/a/b_c"]],
  ["arn:aws:kms:nowhere:111122223333:alias/a", undefined],
  ["alias/", undefined],
  ["", undefined],
];
for (const [text, expected] of DEVELOPMENT_KEYS) {
  Deno.test(`${JSON.stringify(text)} names ${expected === undefined ? "no" : "a"} key for development`, () => {
    if (expected === undefined) {
      const error = assertThrows(() => parseDevelopmentKey(text, "eu-west-1"), EnclaveError);
      return assertEquals(error.code, "invalid_key_arn");
    }
    const key = parseDevelopmentKey(text, "eu-west-1");
    assertEquals([key.arn, [key.region, key.account, key.id]], [text, expected]);
  });
}
