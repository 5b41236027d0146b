/** Key policies: reading them, writing them, taking them from one build to the next, showing what changes. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { decode } from "cborg";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { parseSign1 } from "../../../../lib/shared/attestation/cose.ts";
import { formatDiff } from "../../../../lib/ctl/commands/policy_text.ts";
import { render } from "../../../../lib/ctl/terminal/printing.ts";
import { diffKeyPolicies } from "../../../../lib/ctl/policy/diff.ts";
import { PolicyError, type PolicyErrorCode } from "../../../../lib/ctl/policy/errors.ts";
import { admission, lockedOut } from "../../../../lib/ctl/policy/evaluate.ts";
import {
  formatKeyPolicy,
  type KeyPolicy,
  KeyPolicyError,
  type KeyPolicyErrorCode,
  type KeyPolicyStatement,
  parseKeyPolicy,
  readKeyPolicy,
} from "../../../../lib/ctl/aws/key_policy.ts";
import { lintKeyPolicy } from "../../../../lib/ctl/policy/lint.ts";
import {
  measurementsOf,
  pcr3OfRole,
  pcr4OfInstance,
  readMeasurements,
} from "../../../../lib/ctl/policy/measurements.ts";
import { finalise, parentsOf, renderKeyPolicy, rollOver } from "../../../../lib/ctl/policy/render.ts";
import {
  ACCOUNT,
  ADMIN,
  ADMINISTRATION,
  allow,
  BUILD_A,
  BUILD_B,
  DEFAULT_POLICY,
  deny,
  onBuild,
  PARENT,
  pcr,
  policyOf,
  ROOT,
  USE,
} from "../../../fixtures/key_policies.ts";
import { REAL_DOCUMENTS, realDocuments } from "../../../helpers/vectors.ts";

function refused(run: () => unknown, code: PolicyErrorCode | KeyPolicyErrorCode, message = ""): void {
  const error = assertThrows(run, EnclaveError, message);
  assert(error instanceof PolicyError || error instanceof KeyPolicyError);
  assertEquals(error.code, code, error.message);
}

const rendered = renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] });
const reviewed = { reviewed: [ADMIN], parents: [PARENT] };

Deno.test("a rendered policy has an Allow for the build, a guard, and an administrator who may not use the key", () => {
  const [administrators, build, guard] = rendered.Statement;
  assertEquals(build, {
    Sid: "EnclaveBuild230bf212aad6ff1f",
    Effect: "Allow",
    Principal: { AWS: [PARENT] },
    Action: ["kms:Decrypt", "kms:GenerateDataKey"],
    Resource: ["*"],
    Condition: { StringEqualsIgnoreCase: onBuild(BUILD_A) },
  });
  assertEquals(guard?.Effect, "Deny");
  assertEquals(guard?.Condition, { StringNotEqualsIgnoreCase: { [pcr(0)]: [BUILD_A.pcr0] } });
  assertEquals(guard?.Action?.length, 4);
  assertEquals(administrators?.Principal, { AWS: [ADMIN] });
  const lint = lintKeyPolicy(rendered, reviewed);
  assertEquals([lint.ok, lint.findings.map(({ rule }) => rule)], [true, ["administrator"]]);
});

Deno.test("two builds with the same image on two instances get two statements with two names", () => {
  const builds = [{ ...BUILD_A, pcr4: BUILD_B.pcr0 }, { ...BUILD_A, pcr4: BUILD_B.pcr2 }, {
    ...BUILD_A,
    pcr4: BUILD_B.pcr0,
  }];
  const { Statement } = renderKeyPolicy({
    builds,
    parents: [PARENT],
    administrators: [ADMIN],
    imageSha384: true,
    generateRandom: true,
    inspect: true,
  });
  assertEquals(Statement.map(({ Sid }) => Sid), [
    "Administrators",
    "ParentsMayLook",
    "EnclaveBuild230bf212aad6ff1f",
    "EnclaveBuild230bf212aad6ff1fn2",
    "OnlyTheseBuilds",
  ]);
  assertEquals(Statement[2]?.Action, ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateRandom"]);
  assertEquals(
    Statement[2]?.Condition?.["StringEqualsIgnoreCase"]?.["kms:RecipientAttestation:ImageSha384"],
    [
      BUILD_A.pcr0,
    ],
  );
});

const RENDERS: readonly (readonly [string, Partial<Parameters<typeof renderKeyPolicy>[0]>])[] = [
  ["without a build", { builds: [] }],
  ["without a parent", { parents: [] }],
  ["without an administrator", { administrators: [] }],
  ["for a parent who is the administrator", { administrators: [PARENT] }],
  ["for a session instead of a role", { parents: [`arn:aws:sts::${ACCOUNT}:assumed-role/EnclaveRole/i-1`] }],
];
for (const [name, options] of RENDERS) {
  Deno.test(`no policy is written ${name}`, () => {
    refused(
      () => renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN], ...options }),
      "policy_refused",
    );
  });
}

Deno.test("a policy that KMS would refuse for its size is refused before", () => {
  const builds = Array.from({ length: 100 }, (_, index) => ({
    ...BUILD_A,
    pcr0: index.toString(16).padStart(96, "a"),
  }));
  refused(
    () => renderKeyPolicy({ builds, parents: [PARENT], administrators: [ADMIN] }),
    "policy_too_large",
    "32768",
  );
});

const INVALID: readonly (readonly [string, unknown, string])[] = [
  ["no object", [], "JSON object"],
  ["no statement", { Version: "2012-10-17" }, "Statement[0]"],
  ["too many statements", { Statement: Array(501).fill(ADMINISTRATION) }, "1 to 500"],
  ["an unknown element", { Statement: [ADMINISTRATION], Statements: [] }, '"Statements"'],
  ["a misspelt Condition", { Statement: [{ ...ADMINISTRATION, Condtion: {} }] }, '"Condtion"'],
  ["another effect", { Statement: [{ ...ADMINISTRATION, Effect: "allow" }] }, "Allow or Deny"],
  ["no principal", { Statement: [{ Effect: "Allow", Action: "kms:*", Resource: "*" }] }, "Principal"],
  [
    "an action and its opposite",
    { Statement: [{ ...ADMINISTRATION, NotAction: "kms:*" }] },
    "either Action or NotAction",
  ],
  ["a principal of nobody", { Statement: [{ ...ADMINISTRATION, Principal: {} }] }, "nobody"],
  [
    "a value that is an object",
    { Statement: [{ ...ADMINISTRATION, Condition: { Bool: { a: {} } } }] },
    "texts",
  ],
];
for (const [name, input, message] of INVALID) {
  Deno.test(`a key policy with ${name} is refused, by name`, () => {
    refused(() => parseKeyPolicy(input), "policy_invalid", message);
  });
}

Deno.test("a policy's text is refused when an object has a name twice, since readers differ on which counts", () => {
  const text = formatKeyPolicy(rendered);
  const twice = text.replace('"Effect": "Allow",', '"Effect": "Deny", "Effect": "Allow",');
  refused(() => readKeyPolicy(twice), "policy_invalid", '"Effect" twice');
  const escaped = text.replace('"Effect": "Allow",', '"\\u0045ffect": "Deny", "Effect": "Allow",');
  refused(() => readKeyPolicy(escaped), "policy_invalid", '"Effect" twice');
  refused(() => readKeyPolicy("{"), "policy_invalid");
  refused(() => readKeyPolicy(" ".repeat(200_000)), "policy_invalid", "131072");
});

Deno.test("a policy is read as it was written, also from the AWS CLI's output, and singles as lists", () => {
  const text = formatKeyPolicy(rendered);
  assertEquals(readKeyPolicy(text), rendered);
  assertEquals(readKeyPolicy(JSON.stringify({ Policy: text, PolicyName: "default" })), rendered);
  const single = readKeyPolicy(
    '{"Statement":{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"Bool":{"a":true}}}}',
  );
  assertEquals(single.Statement, [{
    Effect: "Deny",
    Principal: "*",
    Action: ["kms:*"],
    Resource: ["*"],
    Condition: { Bool: { a: ["true"] } },
  }]);
});

Deno.test("__proto__ in a policy is a name like any other", () => {
  const input = JSON.parse(
    `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"${PARENT}"},"Action":"kms:Decrypt","Resource":"*","Condition":{"__proto__":{"__proto__":"x"}}}]}`,
  );
  const policy = parseKeyPolicy(input);
  assertEquals(Object.keys(policy.Statement[0]?.Condition ?? {}), ["__proto__"]);
  assertEquals(lintKeyPolicy(policy).ok, false);
});

Deno.test("rollover adds a build beside the old, finalise drops the old, and each is admitted while it should be", () => {
  const options = { parents: parentsOf(rendered) };
  assertEquals(options.parents, [PARENT]);
  const both = rollOver(rendered, BUILD_B, options);
  assertEquals(both.Statement.map(({ Sid }) => Sid), [
    "Administrators",
    "EnclaveBuild230bf212aad6ff1f",
    "EnclaveBuilde77498f3e26d84fb",
    "OnlyTheseBuilds",
  ]);
  const mixed = { ...BUILD_A, pcr1: BUILD_B.pcr1 };
  const admitted = (policy: KeyPolicy) =>
    [BUILD_A, BUILD_B, mixed].map((build) => admission(policy, build).admitted);
  assertEquals(admitted(rendered), [true, false, false]);
  assertEquals(admitted(both), [true, true, false]);
  assertEquals(rollOver(both, BUILD_B, options), both);
  const after = finalise(both, [BUILD_B]);
  assertEquals(admitted(after), [false, true, false]);
  assertEquals(after, renderKeyPolicy({ builds: [BUILD_B], parents: [PARENT], administrators: [ADMIN] }));
  for (const policy of [both, after]) assertEquals(lintKeyPolicy(policy, reviewed).ok, true);
});

Deno.test("finalise does not drop the build that it cannot find another for", () => {
  refused(() => finalise(rendered, [BUILD_B]), "build_unknown", "e77498f3e26d84fb");
  refused(() => finalise(rendered, []), "build_unknown");
  refused(() => finalise(DEFAULT_POLICY, [BUILD_A]), "build_unknown");
});

Deno.test("finalise takes the other builds' values out of lists that somebody wrote by hand", () => {
  const lists = {
    [pcr(0)]: [BUILD_A.pcr0, BUILD_B.pcr0],
    [pcr(1)]: [BUILD_A.pcr1, BUILD_B.pcr1],
    [pcr(2)]: [BUILD_A.pcr2.toUpperCase(), BUILD_B.pcr2],
  };
  const policy = policyOf(allow(USE, { StringEqualsIgnoreCase: lists }));
  const after = finalise(policy, [BUILD_A]);
  assertEquals(after.Statement[1]?.Condition?.["StringEqualsIgnoreCase"], {
    ...onBuild(BUILD_A),
    [pcr(2)]: [BUILD_A.pcr2.toUpperCase()],
  });
  assertEquals(lintKeyPolicy(after, reviewed).ok, true);
});

Deno.test("rollover gives a policy without a guard one, with the builds that it has", () => {
  const after = rollOver(policyOf(allow(USE, { StringEqualsIgnoreCase: onBuild(BUILD_A) })), BUILD_B, {
    parents: [PARENT],
  });
  assertEquals(after.Statement.at(-1)?.Condition, {
    StringNotEqualsIgnoreCase: { [pcr(0)]: [BUILD_A.pcr0, BUILD_B.pcr0] },
  });
  assertEquals(lintKeyPolicy(after, reviewed).ok, true);
});

Deno.test("rollover adds no guard that would keep out builds that are known by their signature alone", () => {
  const signed = allow(USE, { StringEqualsIgnoreCase: { [pcr(8)]: [BUILD_A.pcr0] } });
  const after = rollOver(policyOf(signed), BUILD_B, { parents: [PARENT] });
  assertEquals(after.Statement.map(({ Effect }) => Effect), ["Allow", "Allow", "Allow"]);
});

Deno.test("admission says which register of which statement differs", () => {
  const { admitted, differences } = admission(rendered, BUILD_B);
  assertEquals([admitted, differences.map(({ statement, pcr }) => `${statement} ${pcr}`)], [false, [
    "EnclaveBuild230bf212aad6ff1f 0",
    "EnclaveBuild230bf212aad6ff1f 1",
    "EnclaveBuild230bf212aad6ff1f 2",
    "OnlyTheseBuilds 0",
  ]]);
  assertEquals(differences[0]?.wanted, [BUILD_A.pcr0]);
  assertEquals(admission(DEFAULT_POLICY, BUILD_A).unattested, ["Enable IAM User Permissions"]);
  const pinned = renderKeyPolicy({
    builds: [{ ...BUILD_A, pcr3: BUILD_B.pcr0 }],
    parents: [PARENT],
    administrators: [ADMIN],
  });
  assertEquals(admission(pinned, BUILD_A).unknown, [{
    statement: "EnclaveBuild230bf212aad6ff1f",
    pcr: 3,
  }]);
  assertEquals(admission(pinned, { ...BUILD_A, pcr3: BUILD_A.pcr0 }).admitted, false);
});

const ADMIN_SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/KeyAdmin/me`;
const put = (principal: string, more: Partial<KeyPolicyStatement> = {}) =>
  allow(["kms:PutKeyPolicy"], undefined, { Principal: { AWS: [principal] }, ...more });

/** The caller, the statements, and whether the caller would be locked out. */
const LOCKS: readonly (readonly [string, string, readonly KeyPolicyStatement[], boolean])[] = [
  ["its own role", ADMIN_SESSION, [put(ADMIN)], false],
  ["the account's root", ADMIN_SESSION, [put(ROOT)], false],
  ["another role", ADMIN_SESSION, [put(PARENT)], true],
  ["the same role of another account", ADMIN_SESSION, [put("arn:aws:iam::210987654321:role/KeyAdmin")], true],
  ["nobody", ADMIN_SESSION, [allow(USE)], true],
  ["itself, under a condition", ADMIN_SESSION, [put(ADMIN, { Condition: { Bool: { a: ["true"] } } })], true],
  ["itself, and a Deny to all", ADMIN_SESSION, [put(ADMIN), deny(["kms:*"])], true],
  ["itself, and a Deny under a condition", ADMIN_SESSION, [
    put(ADMIN),
    deny(["kms:Put*"], { Bool: { a: ["true"] } }),
  ], true],
  ["all but somebody, denied", ADMIN_SESSION, [put(ADMIN), {
    Effect: "Deny",
    NotPrincipal: { AWS: [ADMIN] },
    Action: ["kms:PutKeyPolicy"],
    Resource: ["*"],
  }], true],
];
for (const [name, caller, statements, isOut] of LOCKS) {
  Deno.test(`with PutKeyPolicy for ${name} the caller is ${isOut ? "" : "not "}locked out`, () => {
    assertEquals(lockedOut({ Statement: statements }, caller) !== undefined, isOut);
  });
}

Deno.test("measurements are read from what nitro-cli prints, of one image or several", () => {
  const upper = {
    HashAlgorithm: "Sha384 { ... }",
    PCR0: BUILD_A.pcr0.toUpperCase(),
    PCR1: BUILD_A.pcr1,
    PCR2: BUILD_A.pcr2,
  };
  const text = JSON.stringify({ EifVersion: 4, Measurements: upper, IsSigned: false });
  assertEquals(readMeasurements(text), [BUILD_A]);
  const signed = { ...upper, PCR8: BUILD_B.pcr0 };
  assertEquals(readMeasurements(JSON.stringify([{ Measurements: signed }, { Measurements: upper }])), [
    { ...BUILD_A, pcr8: BUILD_B.pcr0 },
    BUILD_A,
  ]);
  assertEquals(
    readMeasurements(JSON.stringify({ Measurements: { ...upper, PCR8: "0".repeat(96) } })),
    [BUILD_A],
  );
  // As jq .Measurements prints them.
  assertEquals(readMeasurements(JSON.stringify(upper)), [BUILD_A]);
  assertEquals(readMeasurements(JSON.stringify([upper, signed])), [
    BUILD_A,
    { ...BUILD_A, pcr8: BUILD_B.pcr0 },
  ]);
});

const MEASUREMENTS: readonly (readonly [string, string, string])[] = [
  ["no JSON", "x", "Cannot read"],
  ["no measurements", "{}", "Cannot find"],
  ["a register missing", JSON.stringify({ Measurements: { PCR0: BUILD_A.pcr0 } }), "PCR1"],
  ["a value too short", JSON.stringify({ Measurements: { PCR0: "ab" } }), "96 hex digits"],
  ["zeros", JSON.stringify({ Measurements: { PCR0: "0".repeat(96) } }), "all zeros"],
  ["more than a megabyte", " ".repeat(1_048_577), "too long"],
];
for (const [name, text, message] of MEASUREMENTS) {
  Deno.test(`measurements with ${name} are refused`, () => {
    refused(() => readMeasurements(text), "measurements_invalid", message);
  });
}

Deno.test("measurements by number are all three, and of registers that mean something", () => {
  const { pcr0, pcr1, pcr2 } = BUILD_A;
  assertEquals(measurementsOf(new Map([[0, pcr0], [1, pcr1.toUpperCase()], [2, pcr2]])), BUILD_A);
  refused(() => measurementsOf(new Map([[0, pcr0], [1, pcr1]])), "measurements_invalid", "PCR2");
  refused(() => measurementsOf(new Map([[5, pcr0]])), "measurements_invalid", "PCR5");
});

Deno.test("PCR3 is SHA-384 over 48 zero bytes and the role's ARN", async () => {
  // printf '%b' of the zeros and the ARN, through sha384sum.
  assertEquals(
    await pcr3OfRole("arn:aws:iam::123456789012:role/EnclaveRole"),
    "b4fe82b6558b027687d079676b22dd3532bc9c7e5e2af8afc58d92611e6cce28ebbd81770121a056fc1b0ecf172e0164",
  );
  await assertRejects(() => pcr3OfRole(`arn:aws:iam::${ACCOUNT}:instance-profile/x`), PolicyError, "role");
  await assertRejects(() => pcr4OfInstance("i-xyz"), PolicyError, "instance");
});

const real = realDocuments();
if (real !== undefined) {
  for (const name of REAL_DOCUMENTS) {
    Deno.test(`PCR4 of the real ${name} document is that of the instance in its module id`, async () => {
      const fields = decode(parseSign1(real[name].bytes).payload, { useMaps: true }) as Map<string, unknown>;
      const [instance = ""] = String(fields.get("module_id")).split("-enc");
      const pcrs = fields.get("pcrs");
      assert(pcrs instanceof Map);
      assertEquals(await pcr4OfInstance(instance), pcrs.get(4).toHex());
    });
  }
}

Deno.test("a difference names the statement, and shows the lines that change in it", () => {
  const after = rollOver(rendered, BUILD_B, { parents: [PARENT] });
  const text = render(formatDiff(diffKeyPolicies(rendered, after)), false);
  assertMatch(text, /^new statement EnclaveBuilde77498f3e26d84fb$/m);
  assertMatch(text, /^changed statement OnlyTheseBuilds$/m);
  assertMatch(text, new RegExp(`^\\+ .*${BUILD_B.pcr0}`, "m"));
  assertEquals(/Administrators/.test(text), false);
  const back = render(formatDiff(diffKeyPolicies(after, rendered)), false);
  assertMatch(back, /^dropped statement EnclaveBuilde77498f3e26d84fb$/m);
  // deno-lint-ignore no-control-regex
  assertMatch(render(formatDiff(diffKeyPolicies(rendered, after)), true), /\x1b\[32m\+ /);
});

Deno.test("what a policy's author wrote cannot move the cursor", () => {
  const policy = policyOf({ ...ADMINISTRATION, Sid: "a\x1b[2Jb" });
  const text = render(formatDiff(diffKeyPolicies(DEFAULT_POLICY, policy)), false);
  assertEquals(text.includes("\x1b"), false);
});
