/** Key policies as KMS evaluates them: a table. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { like } from "../../../../lib/dev/kms_emulator/conditions.ts";
import { KmsRefusal } from "../../../../lib/dev/kms_emulator/errors.ts";
import { evaluatePolicy, parseCaller, parseKeyPolicy } from "../../../../lib/dev/kms_emulator/policy.ts";

const ACCOUNT = "111122223333";
const ROLE = `arn:aws:iam::${ACCOUNT}:role/enclave`;
const KEY = `arn:aws:kms:us-east-1:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const PCR0 = "a1".repeat(48);
const PCR1 = "b2".repeat(48);
const OTHER = "c3".repeat(48);

/** A request with a document, under an EncryptionContext. */
const ATTESTED = {
  "kms:recipientattestation:pcr0": [PCR0],
  "kms:recipientattestation:imagesha384": [PCR0],
  "kms:recipientattestation:pcr1": [PCR1],
  "kms:recipientattestation:pcr16": ["00".repeat(48)],
  "kms:encryptioncontext:app": ["denclave"],
  "kms:encryptioncontextkeys": ["app", "purpose"],
  "kms:encryptionalgorithm": ["SYMMETRIC_DEFAULT"],
  "kms:calleraccount": [ACCOUNT],
  "aws:principalarn": [ROLE],
  "aws:securetransport": ["true"],
};
/** One without. */
const PLAIN = { "kms:encryptionalgorithm": ["SYMMETRIC_DEFAULT"], "aws:securetransport": ["false"] };

type Fields = Readonly<Record<string, unknown>>;
const statement = (fields: Fields): Fields => ({
  Effect: "Allow",
  Principal: { AWS: ROLE },
  Action: "kms:Decrypt",
  Resource: "*",
  ...fields,
});
const policy = (...statements: readonly Fields[]) =>
  JSON.stringify({ Version: "2012-10-17", Statement: statements.map(statement) });

function decide(text: string, { caller = ROLE, action = "kms:Decrypt", values = ATTESTED as Fields } = {}) {
  return evaluatePolicy(parseKeyPolicy(text), {
    caller: parseCaller(caller),
    action,
    resource: KEY,
    values: new Map(Object.entries(values as Readonly<Record<string, readonly string[]>>)),
  });
}

const PCR = (index: number | string) => `kms:RecipientAttestation:PCR${index}`;
const when = (operator: string, key: string, value: unknown): Fields => ({
  Condition: { [operator]: { [key]: value } },
});
const USER = `arn:aws:iam::${ACCOUNT}:user/alice`;

/** A Kelvin sign: Unicode's lower case of it is k. */
const KELVIN = "\u212a";

type Row = readonly [string, readonly Fields[], boolean, Parameters<typeof decide>[1]?];
const ROWS: readonly Row[] = [
  // Case is ASCII's.
  [
    "a letter whose lower case is ASCII's in Unicode alone",
    [when("StringEqualsIgnoreCase", "kms:EncryptionContext:app", "key")],
    false,
    { values: { ...ATTESTED, "kms:encryptioncontext:app": [`${KELVIN}ey`] } },
  ],
  [
    "the same in a Deny's negated operator",
    [{}, { Effect: "Deny", ...when("StringNotEqualsIgnoreCase", "kms:EncryptionContext:app", "key") }],
    false,
    { values: { ...ATTESTED, "kms:encryptioncontext:app": [`${KELVIN}ey`] } },
  ],
  ["an action with such a letter", [{ Action: `${KELVIN}ms:Decrypt` }], false],
  // Effects.
  ["an Allow for the role", [{}], true],
  ["a Deny beside an Allow", [{}, { Effect: "Deny" }], false],
  // Principals.
  ["the account's root, for a role", [{ Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` } }], true],
  ["the account's number", [{ Principal: { AWS: ACCOUNT } }], true, { caller: USER }],
  ["the role's session, as STS names it", [{
    Principal: { AWS: `arn:aws:sts::${ACCOUNT}:assumed-role/enclave/emulator` },
  }], true],
  ["a role whose name is a pattern", [{
    Principal: { AWS: `arn:aws:iam::${ACCOUNT}:role/*` },
  }], false],
  ["all but the role", [{ Principal: undefined, NotPrincipal: { AWS: ROLE } }], false],
  ["a Deny for all but the role", [{}, {
    Effect: "Deny",
    Principal: undefined,
    NotPrincipal: { AWS: ROLE },
  }], true],
  // Actions.
  ["an action in another case", [{ Action: "KMS:decrypt" }], true],
  ["all actions but others", [{ Action: undefined, NotAction: "kms:Encrypt" }], true],
  // Resources.
  ["the key by its ARN", [{ Resource: KEY }], true],
  ["all keys but this", [{ Resource: undefined, NotResource: KEY }], false],
  // StringEquals and its kin.
  ["the right PCR", [when("StringEquals", PCR(0), PCR0)], true],
  ["one PCR of several", [when("StringEquals", PCR(0), [OTHER, PCR0])], true],
  ["the PCR, case ignored", [when("StringEqualsIgnoreCase", PCR(0), PCR0.toUpperCase())], true],
  ["the key's name in another case", [
    when("StringEquals", "KMS:recipientattestation:pcr0", PCR0),
  ], true],
  [
    "two PCRs of which one fits",
    [{ Condition: { StringEquals: { [PCR(0)]: PCR0, [PCR(1)]: OTHER } } }],
    false,
  ],
  ["a PCR that the document lacks", [when("StringEquals", PCR(31), PCR0)], false],
  ["no document", [when("StringEquals", PCR(0), PCR0)], false, { values: PLAIN }],
  ["not these PCRs", [when("StringNotEquals", PCR(0), [OTHER, PCR0])], false],
  [
    "not another PCR, without a document: the trap",
    [
      when("StringNotEquals", PCR(0), OTHER),
    ],
    true,
    { values: PLAIN },
  ],
  ["a guarding Deny with the right PCR", [{}, {
    Effect: "Deny",
    ...when("StringNotEqualsIgnoreCase", PCR(0), PCR0.toUpperCase()),
  }], true],
  ["a guarding Deny with another PCR", [{}, {
    Effect: "Deny",
    ...when("StringNotEqualsIgnoreCase", PCR(0), [OTHER]),
  }], false],
  [
    "a guarding Deny without a document",
    [{}, {
      Effect: "Deny",
      ...when("StringNotEqualsIgnoreCase", PCR(0), PCR0),
    }],
    false,
    { values: PLAIN },
  ],
  // StringLike.
  ["any PCR, without a document", [when("StringLike", PCR(0), "*")], false, { values: PLAIN }],
  ["not like a pattern", [when("StringNotLike", PCR(0), "a1*")], false],
  ["a star under StringEquals", [when("StringEquals", PCR(0), "*")], false],
  // IfExists.
  [
    "a PCR if there is one, without a document: the trap",
    [
      when("StringEqualsIfExists", PCR(0), OTHER),
    ],
    true,
    { values: PLAIN },
  ],
  // Quantifiers.
  ["any value, which fits", [when("ForAnyValue:StringEquals", PCR(0), [OTHER, PCR0])], true],
  [
    "any value, without a document",
    [
      when("ForAnyValue:StringEquals", PCR(0), PCR0),
    ],
    false,
    { values: PLAIN },
  ],
  ["all values, which fit", [when("ForAllValues:StringEquals", PCR(0), PCR0)], true],
  ["all values, one of which does not fit", [
    when("ForAllValues:StringEquals", "kms:EncryptionContextKeys", ["app"]),
  ], false],
  ["any value that is another", [
    when("ForAnyValue:StringNotEquals", "kms:EncryptionContextKeys", "app"),
  ], true],
  [
    "all values, without a document: the trap",
    [
      when("ForAllValues:StringEquals", PCR(0), OTHER),
    ],
    true,
    { values: PLAIN },
  ],
  // Null and Bool.
  ["a document must be there, and is not", [when("Null", PCR(0), "false")], false, { values: PLAIN }],
  ["no document must be there, and none is", [when("Null", PCR(0), true)], true, { values: PLAIN }],
  ["by a service", [when("StringEquals", "kms:ViaService", "s3.us-east-1.amazonaws.com")], false],
  ["TLS, as JSON's true", [when("Bool", "aws:SecureTransport", true)], true],
  ["Bool if there is one", [when("BoolIfExists", "aws:SecureTransport", "true")], true, { values: {} }],
  // EncryptionContext, and who asks.
  ["the EncryptionContext", [when("StringEquals", "kms:EncryptionContext:app", "denclave")], true],
  ["the caller's ARN", [when("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:role/enclave")], true],
];
for (const [name, statements, allowed, request] of ROWS) {
  Deno.test(`a key policy: ${name} is ${allowed ? "allowed" : "refused"}`, () => {
    const decision = decide(policy(...statements), request);
    assertEquals([decision.allowed, decision.notes], [allowed, []]);
  });
}

const UNKNOWN: readonly (readonly [string, Fields, string])[] = [
  ["an operator", when("NumericEquals", PCR(0), "1"), "condition operator NumericEquals"],
  ["a quantifier", when("ForSomeValues:StringEquals", PCR(0), PCR0), "ForSomeValues:StringEquals"],
  ["NullIfExists", when("NullIfExists", PCR(0), "true"), "condition operator NullIfExists"],
  ["Null of a word", when("Null", PCR(0), "maybe"), "something else than true or false"],
  ["a key", when("StringEquals", "aws:RequestedRegion", "us-east-1"), "condition key aws:RequestedRegion"],
  ["PCR32", when("StringEquals", PCR(32), PCR0), "PCR32"],
  ["PCRs of a NitroTPM", when("StringEquals", "kms:RecipientAttestation:NitroTPMPCR4", PCR0), "NitroTPMPCR4"],
  [
    "a policy variable",
    when("StringEquals", "kms:EncryptionContext:app", "${aws:username}"),
    "a policy variable",
  ],
  [
    "several values under one",
    when("StringEquals", "kms:EncryptionContextKeys", ["app", "purpose"]),
    "several values",
  ],
];
for (const [name, condition, words] of UNKNOWN) {
  Deno.test(`a key policy with ${name} that is not known refuses, and says so`, () => {
    const allowing = decide(policy(condition));
    assertEquals([allowing.allowed, allowing.notes.length], [false, 1]);
    assert(allowing.notes[0]?.includes(words), allowing.notes[0]);
    const denying = decide(policy({}, { Sid: "Guard", Effect: "Deny", ...condition }));
    assertEquals([denying.allowed, denying.by], [false, "Guard"]);
    // An Allow with an unknown condition does not matter if another Allow applies.
    assertEquals(decide(policy(condition, {})).allowed, true);
  });
}

Deno.test("what is unknown does not matter where another condition does not hold", () => {
  const both = { Condition: { StringEquals: { [PCR(0)]: OTHER, "aws:Unknown": "a" } } };
  assertEquals(decide(policy({}, { Effect: "Deny", ...both })), {
    allowed: true,
    by: "statement 1",
    isExplicitDeny: false,
    notes: [],
  });
});

Deno.test("a text that the parser of key policies refuses is malformed, and a long one is refused before it is read", () => {
  const refusals = [
    ["{", "MalformedPolicyDocumentException", "Cannot read the key policy"],
    [policy({ Conditions: {} }), "MalformedPolicyDocumentException", '"Conditions"'],
    [" ".repeat(32 * 1024 + 1), "LimitExceededException", "at most 32768 bytes"],
    ["é".repeat(16 * 1024 + 1), "LimitExceededException", "at most 32768 bytes"],
  ] as const;
  for (const [text, name, words] of refusals) {
    const thrown = assertThrows(() => parseKeyPolicy(text), KmsRefusal, words);
    assertEquals([thrown.kms.name, thrown.status], [name, 400]);
  }
});

Deno.test("a condition without values matches nothing", () => {
  assertEquals(decide(policy(when("StringEquals", PCR(0), []))).allowed, false);
  assertEquals(
    decide(policy({}, { Effect: "Deny", ...when("StringNotEquals", PCR(0), []) })).isExplicitDeny,
    true,
  );
});

Deno.test("an ARN of something else than a role, a user or a root is no caller", () => {
  for (const arn of ["", "*", "alice", "arn:aws:iam::1:role/a", `arn:aws:sts::${ACCOUNT}:assumed-role/a/b`]) {
    assertThrows(() => parseCaller(arn), KmsRefusal, "not the ARN of a caller");
  }
});

Deno.test("a pattern that is built to be slow is matched fast", () => {
  assertEquals(like("*a".repeat(500) + "b", "a".repeat(8_000)), false);
});
