/** Reading messages: objects, fields, credentials. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  field,
  optionalString,
  parseObject,
  requiredString,
  takeCredentials,
  WireError,
} from "../../../../lib/shared/wire/messages.ts";

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

Deno.test("what an object inherits is not a field of a request", () => {
  const request = parseObject(encoder.encode('{"__proto__":{"type":"process"},"a":1}'));
  assertEquals([field(request, "type"), field(request, "constructor"), field(request, "toString")], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("an empty field is missing, and the message describes what it must hold", () => {
  assertThrows(
    () => requiredString({ a: "" }, "a", "the letter"),
    WireError,
    "Field a (the letter) is missing",
  );
});

const NO_CREDENTIALS: readonly (readonly [string, string])[] = [
  ["nothing", "{}"],
  ["a credential that is text", '{"credential":"AKID"}'],
  ["a credential that is a list", '{"credential":["AKID"]}'],
  ["a credential that is null", '{"credential":null}'],
  ["an id that is null", '{"AccessKeyId":null,"SecretAccessKey":"S"}'],
  ["an id that is empty", '{"AccessKeyId":"","SecretAccessKey":"S"}'],
  ["a secret that is a list", '{"AccessKeyId":"A","SecretAccessKey":["S"]}'],
  ["a token that is a number", '{"AccessKeyId":"A","SecretAccessKey":"S","Token":1}'],
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

Deno.test("without any credentials, the message names the fields of the first spelling", () => {
  const { message } = assertThrows(() => takeCredentials({}), WireError);
  for (const name of SPELLINGS[0]) assertEquals(message.includes(name), true);
});

Deno.test("credentials at top level are taken, and those under credential are gone too", () => {
  const request = {
    AccessKeyId: "TOP",
    SecretAccessKey: "S",
    credential: { AccessKeyId: "IN", SecretAccessKey: "S" },
  };
  assertEquals([takeCredentials(request).accessKeyId, Object.keys(request)], ["TOP", []]);
});

Deno.test("a field that is null is absent, and one that is no string is named", () => {
  assertEquals([optionalString({ a: null }, "a"), optionalString({}, "a"), optionalString({ a: "" }, "a")], [
    undefined,
    undefined,
    "",
  ]);
  for (const value of [0, false, [], {}]) {
    assertThrows(() => optionalString({ a: value }, "a"), WireError, "Field a must be a string");
  }
});

Deno.test("text with a replacement character in it is UTF-8 and is read", () => {
  assertEquals(parseObject(encoder.encode('{"a":"\ufffd"}')), { a: "\ufffd" });
});

for (
  const [what, bytes] of [
    ["a byte that is in no UTF-8", [0xff]],
    ["a character that is cut off", [0xe6, 0x97]],
    ["half of a surrogate pair", [0xed, 0xa0, 0x80]],
    ["an overlong slash", [0xc0, 0xaf]],
  ] as const
) {
  Deno.test(`${what} in a string is no request`, () => {
    const json = new Uint8Array([...encoder.encode('{"a":"'), ...bytes, ...encoder.encode('"}')]);
    assertEquals(assertThrows(() => parseObject(json), WireError).code, "invalid_json");
  });
}

Deno.test("brackets a hundred thousand deep are refused like any other broken JSON", () => {
  assertThrows(() => parseObject(encoder.encode("[".repeat(100_000))), WireError);
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
