/** `denclave-policy.yaml`, read and written. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError } from "../../../../lib/ctl/config/mod.ts";
import {
  formatPolicyIntent,
  parsePolicyIntent,
  type PolicyIntent,
} from "../../../../lib/ctl/config/policy_intent.ts";

const INTENT: PolicyIntent = {
  key: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
  parents: ["arn:aws:iam::111122223333:role/Parent"],
  administrators: ["arn:aws:iam::111122223333:role/Admin", "arn:aws:iam::111122223333:role/Second"],
  issuers: [],
  inspect: true,
  builds: ["build/enclave.json"],
};

Deno.test("what is written is read back, with and without entries", () => {
  for (const intent of [INTENT, { ...INTENT, issuers: INTENT.parents, inspect: false, builds: [] }]) {
    assertEquals(parsePolicyIntent(formatPolicyIntent(intent), "f.yaml"), intent);
  }
});

for (
  const [what, change, words] of [
    ["without a key", ["key:", "# key:"], /key: is missing/],
    ["with an alias for a key", [INTENT.key, "alias/mine"], /key: Cannot use "alias\/mine"/],
    ["without parents", ["parents:", "# parents:"], /parents|not valid YAML/],
    ["with one text where a list belongs", ["issuers: []", "issuers: me"], /issuers: must be a list/],
    ["with a misspelt field", ["inspect:", "inspct:"], /did you mean inspect/],
    ["with a word for a truth value", ["inspect: true", "inspect: maybe"], /inspect: must be true or false/],
  ] as const
) {
  Deno.test(`a policy file ${what} is refused, with the place`, () => {
    const text = formatPolicyIntent(INTENT).replace(change[0], change[1]);
    const { message } = assertThrows(() => parsePolicyIntent(text, "f.yaml"), ConfigError);
    assertMatch(message, words);
    assertMatch(message, /f\.yaml:\d+:\d+/);
  });
}
