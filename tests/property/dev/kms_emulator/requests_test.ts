/** Any input to the local KMS is read, or refused with a named error. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import fc from "fast-check";
import { BerError, parseBer } from "../../../../lib/shared/attestation/ber.ts";
import { CmsError, envelopData, openEnvelopedData } from "../../../../lib/dev/kms_emulator/enveloped_data.ts";
import { like } from "../../../../lib/dev/kms_emulator/conditions.ts";
import { KmsRefusal } from "../../../../lib/dev/kms_emulator/errors.ts";
import { encryptionContext, parseFields } from "../../../../lib/dev/kms_emulator/fields.ts";
import { evaluatePolicy, parseCaller, parseKeyPolicy } from "../../../../lib/dev/kms_emulator/policy.ts";
import { runs } from "../../../helpers/effort.ts";

const RSA = {
  name: "RSA-OAEP",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
} as const;
const KEYS = await crypto.subtle.generateKey(RSA, true, ["encrypt", "decrypt"]);
const SPKI = new Uint8Array(await crypto.subtle.exportKey("spki", KEYS.publicKey));
const ENVELOPE = await envelopData(SPKI, new Uint8Array(32));

/** Runs it; what it throws has to be of the class. */
function attempt<T>(run: () => T, refusal: typeof BerError | typeof KmsRefusal): T | undefined {
  try {
    return run();
  } catch (thrown) {
    assertInstanceOf(thrown, refusal);
    return undefined;
  }
}

Deno.test("any bytes are BER, whole, or are refused as none", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    // Bytes that elements are made of, so that some are read.
    fc.array(fc.constantFrom(0, 1, 2, 3, 4, 0x30, 0x31, 0x80, 0x81, 0xa0), { maxLength: 40 })
      .map((octets) => new Uint8Array(octets)),
  );
  fc.assert(fc.property(bytes, (given) => {
    const input = new Uint8Array(given);
    const read = attempt(() => parseBer(input), BerError);
    if (read !== undefined) assertEquals(read.raw, input);
  }));
});

Deno.test("an envelope with any part of it replaced opens, or is refused as one", async () => {
  const change = fc.record({
    at: fc.nat(ENVELOPE.length - 1),
    length: fc.nat(40),
    bytes: fc.uint8Array({ maxLength: 40 }),
  });
  await fc.assert(
    fc.asyncProperty(change, async ({ at, length, bytes }) => {
      const changed = [...ENVELOPE];
      changed.splice(at, length, ...bytes);
      try {
        await openEnvelopedData(KEYS.privateKey, new Uint8Array(changed));
      } catch (thrown) {
        assertInstanceOf(thrown, CmsError);
      }
    }),
    runs(60),
  );
});

const word = fc.constantFrom(
  ...["Version", "2012-10-17", "Statement", "Effect", "Allow", "Deny", "Principal", "AWS", "*", "Action"],
  ...[
    "kms:Decrypt",
    "kms:*",
    "Resource",
    "Condition",
    "StringEquals",
    "Null",
    "kms:RecipientAttestation:PCR0",
  ],
  ...["__proto__", "constructor", "toString", ""],
);
const json = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 6 },
    word,
    fc.boolean(),
    fc.integer(),
    fc.constant(null),
    fc.array(tie("any"), { maxLength: 3 }),
    fc.dictionary(word, tie("any"), { maxKeys: 6 }),
  ),
})).any;

Deno.test("any JSON is a key policy, or is refused as none; and a policy of words decides", () => {
  const statement = fc.record({
    Effect: fc.constantFrom("Allow", "Deny"),
    Principal: fc.constantFrom<unknown>("*", { AWS: "*" }),
    Action: word.filter((text) => text !== ""),
    Resource: fc.constant("*"),
    Condition: fc.dictionary(word, fc.dictionary(word, fc.array(word, { minLength: 1, maxLength: 2 }))),
  });
  const policy = fc.oneof(
    json,
    fc.record({ Version: fc.constant("2012-10-17"), Statement: fc.array(statement, { minLength: 1 }) }),
  );
  const caller = parseCaller("arn:aws:iam::111122223333:role/a");
  fc.assert(fc.property(policy, (given) => {
    const read = attempt(() => parseKeyPolicy(JSON.stringify(given)), KmsRefusal);
    if (read === undefined) return;
    const request = { caller, action: "kms:Decrypt", resource: "arn", values: new Map() };
    const decision = evaluatePolicy(read, request);
    // A Deny that nothing is known against always decides.
    const denied = evaluatePolicy({
      ...read,
      statements: [...read.statements, ...parseKeyPolicy(DENY).statements],
    }, request);
    assertEquals(denied.allowed, false);
    if (decision.allowed) assertEquals(read.statements.some(({ effect }) => effect === "Allow"), true);
  }));
});

const DENY =
  '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}}';

Deno.test("a pattern means what a regular expression would", () => {
  const letters = fc.array(fc.constantFrom("a", "b", "*", "?"), { maxLength: 8 }).map((list) =>
    list.join("")
  );
  const texts = fc.array(fc.constantFrom("a", "b", "*"), { maxLength: 10 }).map((list) => list.join(""));
  fc.assert(
    fc.property(letters, texts, (pattern, text) => {
      const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
      assertEquals(like(pattern, text), expression.test(text));
    }),
    runs(2_000),
  );
});

Deno.test("any body has fields, or is refused; and any EncryptionContext is read, or refused", () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), fc.json().map((t) => new TextEncoder().encode(t))), (body) => {
      attempt(() => parseFields(body), KmsRefusal);
    }),
  );
  fc.assert(fc.property(json, (given) => {
    const read = attempt(() => encryptionContext({ EncryptionContext: given }), KmsRefusal);
    for (const value of Object.values(read ?? {})) assertEquals(typeof value, "string");
  }));
});
