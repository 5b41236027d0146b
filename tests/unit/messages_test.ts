/** What documents say: objects, fields, credentials. */
import { assertEquals, assertThrows } from "@std/assert";
import { field, parseObject, requiredString, takeCredentials, WireError } from "../../lib/wire/messages.ts";

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

  Deno.test(`a missing ${secret} is named`, () => {
    assertThrows(() => takeCredentials({ [id]: "AKID" }), WireError, secret);
  });
}

Deno.test("long-lived credentials have no token, which is empty then", () => {
  assertEquals(takeCredentials({ AccessKeyId: "AKID", SecretAccessKey: "S" }).sessionToken, "");
});

Deno.test("credentials of another type than string are refused, and taken off all the same", () => {
  const request = { AccessKeyId: 1, SecretAccessKey: "S" };
  assertThrows(() => takeCredentials(request), WireError, "AccessKeyId must be a string");
  assertEquals(Object.keys(request), []);
});

for (const broken of ["", "{", "nonsense", "[1]", '"text"', "null", "1", '{"a":1}x']) {
  Deno.test(`${JSON.stringify(broken)} is no request`, () => {
    assertEquals(assertThrows(() => parseObject(encoder.encode(broken)), WireError).code, "invalid_json");
  });
}

Deno.test("bytes that are not UTF-8 are no request", () => {
  assertThrows(() => parseObject(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), WireError);
});

Deno.test("what an object inherits is no field of a request", () => {
  const request = parseObject(encoder.encode('{"__proto__":{"type":"process"},"a":1}'));
  assertEquals([field(request, "type"), field(request, "constructor"), field(request, "toString")], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("a field that is empty is missing, and the message says what it holds", () => {
  assertThrows(
    () => requiredString({ a: "" }, "a", "the letter"),
    WireError,
    "Field a (the letter) is missing",
  );
});
