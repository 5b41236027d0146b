/** Properties of key policies. A failure prints the seed and path that fast-check needs to repeat it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { diffKeyPolicies } from "../../../../lib/ctl/policy/diff.ts";
import { PolicyError } from "../../../../lib/ctl/policy/errors.ts";
import { admission } from "../../../../lib/ctl/policy/evaluate.ts";
import {
  formatKeyPolicy,
  KeyPolicyError,
  parseKeyPolicy,
  readKeyPolicy,
} from "../../../../lib/ctl/aws/key_policy.ts";
import { lintKeyPolicy } from "../../../../lib/ctl/policy/lint.ts";
import type { Measurements } from "../../../../lib/ctl/policy/measurements.ts";
import { readMeasurements } from "../../../../lib/ctl/policy/measurements.ts";
import { finalise, parentsOf, renderKeyPolicy, rollOver } from "../../../../lib/ctl/policy/render.ts";
import { runs } from "../../../helpers/effort.ts";

const ZERO = "0".repeat(96);
const hex = fc.uint8Array({ minLength: 48, maxLength: 48 }).map((bytes) => bytes.toHex()).filter((text) =>
  text !== ZERO
);
const mixedCase = fc.tuple(hex, fc.boolean()).map(([text, upper]) => (upper ? text.toUpperCase() : text));
const builds = fc.record({
  pcr0: mixedCase,
  pcr1: mixedCase,
  pcr2: mixedCase,
  pcr3: hex,
  pcr4: hex,
  pcr8: hex,
}, {
  requiredKeys: ["pcr0", "pcr1", "pcr2"],
}) as fc.Arbitrary<Measurements>;
const account = fc.integer({ min: 0, max: 999_999_999_999 }).map((number) =>
  String(number).padStart(12, "0")
);
const role = (prefix: string) =>
  fc.tuple(account, fc.stringMatching(/^[A-Za-z0-9+=,.@_-]{1,30}$/), fc.constantFrom("", "path/", "a/b/"))
    .map(
      ([id, name, path]) => `arn:aws:iam::${id}:role/${path}${prefix}${name}`,
    );
const settings = fc.record({
  builds: fc.uniqueArray(builds, { minLength: 1, maxLength: 5, selector: ({ pcr0 }) => pcr0.toLowerCase() }),
  parents: fc.uniqueArray(role("parent"), { minLength: 1, maxLength: 3 }),
  administrators: fc.uniqueArray(role("admin"), { minLength: 1, maxLength: 3 }),
  imageSha384: fc.boolean(),
  generateRandom: fc.boolean(),
  inspect: fc.boolean(),
});

Deno.test("a rendered policy lints clean, admits each of its builds, and no mixture of two", () => {
  fc.assert(
    fc.property(settings, (options) => {
      const policy = renderKeyPolicy(options);
      const { ok, findings } = lintKeyPolicy(policy, {
        parents: options.parents,
        reviewed: options.administrators,
      });
      assert(ok, JSON.stringify(findings));
      assertEquals([...new Set(findings.map(({ rule }) => rule))], ["administrator"]);
      assertEquals(readKeyPolicy(formatKeyPolicy(policy)), policy);
      assertEquals(new Set(policy.Statement.map(({ Sid }) => Sid)).size, policy.Statement.length);
      for (const build of options.builds) assert(admission(policy, build).admitted);
      const [first, second] = options.builds;
      if (first !== undefined && second !== undefined) {
        assertEquals(admission(policy, { ...first, pcr1: second.pcr1 }).admitted, false);
      }
    }),
    runs(300),
  );
});

Deno.test("rollover then finalise gives what a fresh rendering gives, and lints clean on the way", () => {
  fc.assert(
    fc.property(settings, builds, (options, next) => {
      const { parents } = options;
      const reviewed = { parents, reviewed: options.administrators };
      const both = rollOver(renderKeyPolicy(options), next, {
        ...options,
        parents: parentsOf(renderKeyPolicy(options)),
      });
      assert(lintKeyPolicy(both, reviewed).ok);
      for (const build of [...options.builds, next]) assert(admission(both, build).admitted);
      const after = finalise(both, [next]);
      assert(lintKeyPolicy(after, reviewed).ok);
      for (const build of options.builds) assertEquals(admission(after, build).admitted, false);
      assertEquals(diffKeyPolicies(after, renderKeyPolicy({ ...options, builds: [next] })), []);
    }),
    runs(200),
  );
});

Deno.test("any JSON is read as a policy or refused by the policy's own error, and what is read can be linted and shown", () => {
  const element = fc.constantFrom(
    "*",
    "kms:*",
    "kms:Decrypt",
    "kms:RecipientAttestation:PCR0",
    ZERO,
    "true",
    "",
  );
  const lists = fc.oneof(
    element,
    fc.array(element, { maxLength: 3 }),
    fc.json().map((text) => JSON.parse(text)),
  );
  const statement = fc.record({
    Sid: element,
    Effect: fc.constantFrom("Allow", "Deny"),
    Principal: fc.oneof(fc.constant("*"), fc.record({ AWS: lists })),
    Action: lists,
    Resource: lists,
    Condition: fc.dictionary(
      fc.constantFrom(
        "StringEquals",
        "StringNotEquals",
        "ForAllValues:StringLike",
        "Null",
        "StringEqualsIfExists",
        "x",
      ),
      fc.dictionary(fc.oneof(element, fc.string()), lists),
    ),
  }, { requiredKeys: ["Effect", "Principal", "Action", "Resource"] });
  const documents = fc.oneof(
    fc.json(),
    fc.record({ Version: fc.constant("2012-10-17"), Statement: fc.array(statement, { maxLength: 3 }) }).map((
      value,
    ) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(documents, (text) => {
      let policy;
      try {
        policy = readKeyPolicy(text);
      } catch (thrown) {
        assert(thrown instanceof KeyPolicyError, String(thrown));
        return;
      }
      assertEquals(parseKeyPolicy(JSON.parse(JSON.stringify(policy))), policy);
      lintKeyPolicy(policy);
      assertEquals(diffKeyPolicies(policy, policy), []);
    }),
    runs(1_000),
  );
});

Deno.test("any text is read as measurements or refused by the policy's own error", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.json(), fc.json().map((text) => `{"Measurements":${text}}`)),
      (text) => {
        try {
          readMeasurements(text);
        } catch (thrown) {
          assert(thrown instanceof PolicyError, String(thrown));
        }
      },
    ),
    runs(500),
  );
});
