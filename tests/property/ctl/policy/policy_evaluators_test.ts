/**
 * The two evaluators of key policies check each other: what the parent's tools say of a build is what the KMS
 * emulator decides for its document.
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  formatKeyPolicy,
  type KeyPolicy,
  type KeyPolicyStatement,
} from "../../../../lib/ctl/aws/key_policy.ts";
import { evaluatePolicy, parseCaller, parseKeyPolicy } from "../../../../lib/dev/kms_emulator/policy.ts";
import { admission } from "../../../../lib/ctl/policy/evaluate.ts";
import type { Measurements } from "../../../../lib/ctl/policy/measurements.ts";

const ACCOUNT = "111122223333";
const PARENT = `arn:aws:iam::${ACCOUNT}:role/parent`;
const KEY = `arn:aws:kms:us-east-1:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;

const BUILDS: readonly Measurements[] = ["a", "b"].map((digit) => ({
  pcr0: `${digit}0`.repeat(48),
  pcr1: `${digit}1`.repeat(48),
  pcr2: `${digit}2`.repeat(48),
}));

/** A register of one of the builds, now and then in upper case, which exact operators do not match. */
const value = (index: 0 | 1 | 2) =>
  fc.tuple(fc.constantFrom(...BUILDS), fc.integer({ min: 0, max: 5 })).map(([build, upper]) => {
    const text = build[`pcr${index}`];
    return upper === 0 ? text.toUpperCase() : text;
  });
const condition = (operators: readonly string[]) =>
  fc.tuple(
    fc.constantFrom(...operators),
    fc.constantFrom("PCR0", "PCR1", "PCR2", "ImageSha384").chain((name) =>
      fc.array(value(name === "ImageSha384" ? 0 : Number(name.slice(3)) as 0 | 1 | 2), {
        minLength: 1,
        maxLength: 2,
      }).map((values) => [`kms:RecipientAttestation:${name}`, values] as const)
    ),
  ).map(([operator, [key, values]]) => ({ [operator]: { [key]: values } }));
const actions = fc.constantFrom(["kms:Decrypt"], ["kms:*"], ["kms:Encrypt"], [
  "kms:De*",
  "kms:GenerateDataKey",
]);
/**
 * Whom a Deny is about: `admission` does not ask for whom a policy admits a build, and counts every Deny of a
 * user of the key.
 */
const principal = fc.constantFrom<KeyPolicyStatement["Principal"]>("*", { AWS: [PARENT] });

/** Allows of the parent that want a document of some build. */
const allow = fc.tuple(
  condition(["StringEquals", "StringEqualsIgnoreCase", "StringLike", "ForAnyValue:StringEquals"]),
  actions,
).map(([Condition, Action]): KeyPolicyStatement => ({
  Effect: "Allow",
  Principal: { AWS: [PARENT] },
  Action,
  Resource: ["*"],
  Condition,
}));
const deny = fc.tuple(
  fc.option(
    condition([
      "StringEquals",
      "StringEqualsIgnoreCase",
      "StringLike",
      "StringNotEquals",
      "StringNotEqualsIgnoreCase",
      "StringNotLike",
      "StringNotEqualsIfExists",
    ]),
    { freq: 20, nil: undefined },
  ),
  actions,
  principal,
).map(([Condition, Action, Principal = "*"]): KeyPolicyStatement => ({
  Effect: "Deny",
  Principal,
  Action,
  Resource: ["*"],
  ...(Condition === undefined ? {} : { Condition }),
}));

function emulatorAllows(policy: KeyPolicy, { pcr0, pcr1, pcr2 }: Measurements): boolean {
  return evaluatePolicy(parseKeyPolicy(formatKeyPolicy(policy)), {
    caller: parseCaller(PARENT),
    action: "kms:Decrypt",
    resource: KEY,
    values: new Map([
      ["kms:recipientattestation:pcr0", [pcr0]],
      ["kms:recipientattestation:imagesha384", [pcr0]],
      ["kms:recipientattestation:pcr1", [pcr1]],
      ["kms:recipientattestation:pcr2", [pcr2]],
    ]),
  }).allowed;
}

Deno.test("the parent's tools admit a build when, and only when, the emulator lets its document decrypt", () => {
  const seen = { admitted: 0, refused: 0 };
  const policies = fc.tuple(
    fc.array(allow, { minLength: 1, maxLength: 3 }),
    fc.array(deny, { maxLength: 2 }),
  ).map(([allows, denies]): KeyPolicy => ({ Version: "2012-10-17", Statement: [...denies, ...allows] }));
  fc.assert(
    fc.property(policies, fc.constantFrom(...BUILDS), (policy, build) => {
      const { admitted } = admission(policy, build);
      seen[admitted ? "admitted" : "refused"]++;
      assertEquals(admitted, emulatorAllows(policy, build));
    }),
    { numRuns: 2_000 },
  );
  // Both answers are tried often.
  assertEquals([seen.admitted > 200, seen.refused > 200], [true, true]);
});
