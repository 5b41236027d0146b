/** Reading messages: objects, fields, credentials. */
import { assertEquals, assertThrows } from "@std/assert";
import { field, parseObject, takeCredentials, WireError } from "../../../../lib/shared/wire/messages.ts";

const encoder = new TextEncoder();
const SPELLINGS = [
  ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"],
  ["access_key_id", "secret_access_key", "token"],
  ["AccessKeyId", "SecretAccessKey", "Token"],
  ["AwsAccessKeyId", "AwsSecretAccessKey", "AwsSessionToken"],
] as const;

for (const [id, secret, token] of SPELLINGS) {
  const given = { [id]: "AKID", [secret]: "SECRET", [token]: "TOKEN" };
  const expected = { accessKeyId: "AKID", secretAccessKey: "SECRET", sessionToken: "TOKEN" };

  Deno.test(`credentials spelled ${id} are read at top level, and are off the request after`, () => {
    const request: Record<string, unknown> = { type: "configure", ...given };
    assertEquals(takeCredentials(request), expected);
    assertEquals(request, { type: "configure" });
  });

  Deno.test(`credentials spelled ${id} are read under credential, and are off the request after`, () => {
    const credential = { ...given };
    const request: Record<string, unknown> = { type: "configure", credential };
    assertEquals(takeCredentials(request), expected);
    assertEquals([request, credential], [{ type: "configure" }, {}]);
  });
}

Deno.test("credentials of another type than string are refused, and taken off all the same", () => {
  const request = { AccessKeyId: 1, SecretAccessKey: "S" };
  assertThrows(() => takeCredentials(request), WireError, "AccessKeyId must be a string");
  assertEquals(Object.keys(request), []);
});

Deno.test("what an object inherits is not a field of a request", () => {
  const request = parseObject(encoder.encode('{"__proto__":{"type":"process"},"a":1}'));
  assertEquals([field(request, "type"), field(request, "constructor"), field(request, "toString")], [
    undefined,
    undefined,
    undefined,
  ]);
});

const NO_CREDENTIALS: readonly (readonly [string, string])[] = [
  ["an inherited id", '{"__proto__":{"AccessKeyId":"A","SecretAccessKey":"S"}}'],
  ["an inherited credential", '{"__proto__":{"credential":{"AccessKeyId":"A","SecretAccessKey":"S"}}}'],
  [
    "an id that a credential inherits",
    '{"credential":{"__proto__":{"AccessKeyId":"A","SecretAccessKey":"S"}}}',
  ],
];
for (const [what, json] of NO_CREDENTIALS) {
  Deno.test(`${what}: there are no credentials, and the message does not repeat what was there`, () => {
    const error = assertThrows(() => takeCredentials(parseObject(encoder.encode(json))), WireError);
    assertEquals([error.code, error.message.includes('"')], ["missing_fields", false]);
  });
}

Deno.test("credentials at top level are taken, and those under credential are gone too", () => {
  const request = {
    AccessKeyId: "TOP",
    SecretAccessKey: "S",
    credential: { AccessKeyId: "IN", SecretAccessKey: "S" },
  };
  assertEquals([takeCredentials(request).accessKeyId, Object.keys(request)], ["TOP", []]);
});

const LEFT: readonly (readonly [string, Record<string, unknown>])[] = [
  ["a second spelling", {
    aws_access_key_id: "A",
    aws_secret_access_key: "S",
    AccessKeyId: "B",
    SecretAccessKey: "T",
  }],
  ["a token of another spelling", { AccessKeyId: "A", SecretAccessKey: "S", aws_session_token: "T" }],
  ["a token alone", { token: "T" }],
];
for (const [what, request] of LEFT) {
  Deno.test(`${what} is off the request as well when the credentials were taken`, () => {
    try {
      takeCredentials(request);
    } catch {
      // Refusing is right too.
    }
    assertEquals(request, {});
  });
}
