/** The event log: lines, the ring, redaction, floods. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { EventLog } from "../../../../lib/enclave/server/events.ts";

function eventLog(options: Partial<ConstructorParameters<typeof EventLog>[0]> = {}) {
  const lines: string[] = [];
  let now = 0;
  const events = new EventLog({
    write: (line) => lines.push(line),
    level: "info",
    now: () => new Date(now),
    ...options,
  });
  return { events, lines, later: (ms: number) => now += ms };
}

Deno.test("an event is one JSON line, and those below the level are none", () => {
  const { events, lines } = eventLog();
  events.log("debug", "unseen");
  events.log("info", "seen", { a: 1, b: undefined });
  assertEquals(lines, ['{"time":"1970-01-01T00:00:00.000Z","level":"info","event":"seen","a":1,"seq":1}\n']);
});

Deno.test("the ring keeps the newest events, oldest first", () => {
  const { events } = eventLog({ keep: 3 });
  for (let n = 0; n < 5; n++) events.log("info", `e${n}`);
  assertEquals(events.recent(10).map(({ event }) => event), ["e2", "e3", "e4"]);
  assertEquals(events.recent(1).map(({ event }) => event), ["e4"]);
  assertEquals(events.recent(0), []);
});

Deno.test("what looks like a key or a credential is not written, and long words are cut", () => {
  const { events, lines } = eventLog();
  const hidden = ["ab".repeat(32), "A".repeat(100), "AKIAIOSFODNN7EXAMPLE"];
  for (const secret of hidden) events.log("info", "e", { reason: `before ${secret} after` });
  for (const secret of hidden) assertEquals(lines.join("").includes(secret), false);
  assertEquals(lines.every((line) => line.includes("before [redacted] after")), true);
  events.log("info", "long", { reason: "x y ".repeat(1_000) });
  assert((lines.at(-1)?.length ?? 0) < 700);
});

Deno.test("a flood of lines is cut and its count logged in one line; errors are still logged", () => {
  const { events, lines, later } = eventLog({ linesPerSecond: 3 });
  for (let n = 0; n < 10; n++) events.log("warn", "flood");
  events.log("error", "important");
  later(1_000);
  events.log("info", "after");
  assertEquals(lines.map((line) => JSON.parse(line)).map(({ event, lines }) => lines ?? event), [
    "flood",
    "flood",
    "flood",
    "important",
    7,
    "after",
  ]);
});

Deno.test("PCRs are written whole, however many; other hex of a key's length or more is not", () => {
  const { events, lines } = eventLog();
  const pcrs = ["0a", "1b", "2c"].map((byte) => byte.repeat(48));
  const reason = `KMS refused: AccessDeniedException: this enclave has ${
    pcrs.map((pcr, index) => `PCR${index} ${pcr}`).join(", ")
  }: the key policy must allow these`;
  events.log("warn", "denied", { reason, pcr0: pcrs[0], list: `"${pcrs[1]}",PCR2=${pcrs[2]}` });
  const [line = ""] = lines;
  assertEquals(line.includes("[redacted]"), false);
  assertEquals(JSON.parse(line)["reason"], reason);
  for (const length of [64, 65, 95, 97, 128, 192]) {
    const secret = "5d".repeat(100).slice(0, length);
    events.log("warn", "e", { reason: `x ${secret} y` });
    assertEquals(JSON.parse(lines.at(-1) ?? "")["reason"], "x [redacted] y");
  }
  // Base64 of as many letters is no PCR.
  for (const secret of ["Q".repeat(96), `${"ab".repeat(47)}zz`, "AB".repeat(48)]) {
    events.log("warn", "e", { reason: secret });
    assertEquals(lines.at(-1)?.includes(secret), false);
  }
});

Deno.test("lines that the rate limit dropped are counted by level, also when no line follows", () => {
  const { events, lines, later } = eventLog({ linesPerSecond: 2 });
  for (let n = 0; n < 5; n++) events.log("info", "request");
  events.log("warn", "slow");
  assertEquals([lines.length, events.dropped], [2, 4]);
  // Who asks for the events is told at once.
  const told = events.recent(1)[0];
  assertEquals([told?.event, told?.["lines"], told?.["info"], told?.["warn"], told?.["debug"]], [
    "log_suppressed",
    4,
    3,
    1,
    undefined,
  ]);
  assertEquals(events.recent(10).filter(({ event }) => event === "log_suppressed").length, 1);
  later(1_000);
  events.log("info", "after");
  assertEquals([lines.length, events.dropped, events.recent(1)[0]?.event], [4, 4, "after"]);
});

Deno.test("a writer that fails stops nothing, and the ring still has the event", () => {
  const { events } = eventLog({
    write: () => {
      throw new Error("nobody reads");
    },
  });
  events.log("info", "kept");
  assertEquals(events.recent(1)[0]?.event, "kept");
});

Deno.test("a flood of errors is written whole, and the ring does not grow by it", () => {
  const { events, lines } = eventLog({ linesPerSecond: 1, keep: 10 });
  for (let n = 0; n < 1_000; n++) events.log("error", "e");
  assertEquals([lines.length, events.recent(10_000).length], [1_000, 10]);
});

Deno.test("events are logged after the clock was set back", () => {
  const { events, lines, later } = eventLog({ linesPerSecond: 1 });
  later(10_000);
  events.log("info", "before");
  later(-10_000);
  events.log("info", "after");
  assertEquals(lines.length, 2);
});

const KEY = new Uint8Array(32).map((_, index) => (index * 89 + 165) % 256);
const KEY_HEX = encodeHex(KEY);
const SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const base64url = (bytes: Uint8Array) =>
  encodeBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const separated = (separator: string, write = (byte: number) => byte.toString(16).padStart(2, "0")) =>
  [...KEY].map(write).join(separator);
/** RFC 4648, without padding. */
const base32 = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("").match(/.{1,5}/g)?.map((bits) =>
    "abcdefghijklmnopqrstuvwxyz234567"[parseInt(bits.padEnd(5, "0"), 2)]
  ).join("") ?? "";
for (
  const [what, before, secret] of [
    ["hex of a key after 0x", "0x", KEY_HEX],
    ["hex of a key after an underscore", "key_", KEY_HEX],
    ["hex of a key across the place where long words are cut", "x ".repeat(230), KEY_HEX],
    ["hex of a key behind a long run that is cut out", `${"A".repeat(940)} `, KEY_HEX],
    ["hex with colons behind a long run that is cut out", `${"A".repeat(960)} `, separated(":")],
    ["hex with colons", "key ", separated(":")],
    ["hex with spaces, in capitals", "key ", separated(" ").toUpperCase()],
    ["hex with 0x and commas", "key {", separated(", ", (byte) => `0x${byte.toString(16)}`)],
    ["hex with \\\\x", "key ", `\\x${separated("\\x")}`],
    ["hex in groups of 16 bytes", "key ", KEY_HEX.replace(/(.{32})(?!$)/g, "$1\n")],
    ["hex in groups of 4 digits", "key ", KEY_HEX.replace(/(.{4})(?!$)/g, "$1-")],
    ["a decimal array", "key [", separated(",", String)],
    ["a decimal array over several lines", "Uint8Array(32) [\n", separated(",\n     ", String)],
    [
      "a decimal array of 16 bytes of one digit",
      "key [",
      [...KEY].slice(16).map((byte) => byte % 10).join(", "),
    ],
    ["a typed array in JSON", "key ", JSON.stringify(KEY)],
    ["base64 of a key", "key: ", encodeBase64(new Uint8Array(32).fill(0xa5))],
    ["base64url of a key", "key: ", base64url(KEY.map((byte) => byte | 0xf8))],
    ["base64url of a key after an underscore", "key_", base64url(KEY)],
    ["base64url of 64 bytes with a hyphen near its end", "key: ", `${"Ab3".repeat(17)}-${"xY9".repeat(11)}`],
    ["base32 of a key", "key: ", base32(KEY).toUpperCase()],
    ["base32 of a key in lower case", "key: ", base32(KEY)],
    ["an AWS secret access key (40 characters)", "secret: ", SECRET_KEY],
  ] as const
) {
  Deno.test(`${what} is not written into the log`, () => {
    const { events } = eventLog();
    events.log("info", "e", { reason: `${before}${secret} after` });
    const reason = String(events.recent(1)[0]?.["reason"]);
    for (let at = 0; at + 12 <= secret.length; at++) {
      assertEquals(reason.includes(secret.slice(at, at + 12)), false, reason);
    }
  });
}

for (
  const innocent of [
    "User: arn:aws:sts::111122223333:assumed-role/Denclave-Parent/i-0123456789abcdef0 is not authorized to " +
    "perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
    "RequestID: 1234abcd-12ab-34cd-56ef-1234567890ab, 400",
    "Signature not yet current: 20260101T000000Z is still later than 20251231T235500Z (20251231T235000Z + 5 min.)",
    "from 2026-01-01 00:00:00.000 to 2026-01-01 00:05:00.000, on 10.0.0.1 and fe80::1:2",
    `PCR0_${"0a".repeat(48)}, PCR1-${"1b".repeat(48)}; 0: ${"2c".repeat(48)} 3`,
    "/usr/lib/x86_64-linux-gnu/libaws-nitro-enclaves-sdk-c.so.0 needs libaws_nitro_enclaves_sdk_c.so",
    "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE_OF_THE_CONNECTION",
  ]
) {
  Deno.test(`what looks innocent is written as it is: ${innocent.slice(0, 40)}`, () => {
    const { events } = eventLog();
    events.log("info", "e", { reason: innocent });
    assertEquals(events.recent(1)[0]?.["reason"], innocent);
  });
}
