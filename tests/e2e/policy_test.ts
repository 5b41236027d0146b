/** Key policies with the tool as a process, and against moto's KMS and STS. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { KeyAdminError } from "../../lib/ctl/aws/key_admin.ts";
import { openKeyAdmin } from "../../lib/ctl/aws/open_key_admin.ts";
import { applyChange, planChange } from "../../lib/ctl/policy/apply.ts";
import { PolicyError } from "../../lib/ctl/policy/errors.ts";
import { formatKeyPolicy, readKeyPolicy } from "../../lib/ctl/aws/key_policy.ts";
import { renderKeyPolicy } from "../../lib/ctl/policy/render.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import {
  ADMIN,
  allow,
  BUILD_A,
  BUILD_B,
  DEFAULT_POLICY,
  deny,
  onBuild,
  PARENT,
  policyOf,
  ROOT,
  USE,
} from "../fixtures/key_policies.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { hasMoto, shareMoto } from "../helpers/peers.ts";

const freshMoto = shareMoto();
const KEYS = { AWS_ACCESS_KEY_ID: "made-for-tests", AWS_SECRET_ACCESS_KEY: "made-for-tests" };
const credentials = new CredentialSource(() =>
  Promise.resolve({ accessKeyId: "made-for-tests", secretAccessKey: "made-for-tests" })
);

/** A test with a folder of its own. The AWS SDK keeps sockets for a while. */
function test(behaviour: string, run: (directory: string) => Promise<void>): void {
  Deno.test({ name: behaviour, sanitizeResources: false, sanitizeOps: false }, async () => {
    const directory = await Deno.makeTempDir({ prefix: "denclave-policy-" });
    try {
      await run(directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

function describeEif({ pcr0, pcr1, pcr2 }: typeof BUILD_A): string {
  return JSON.stringify({
    EifVersion: 4,
    Measurements: { HashAlgorithm: "Sha384 { ... }", PCR0: pcr0, PCR1: pcr1, PCR2: pcr2 },
  });
}

const RENDER = ["policy", "render", "--parent", PARENT, "--admin", ADMIN];

test("a policy is rendered, linted, rolled over and finalised, from file to file", async (cwd) => {
  await Deno.writeTextFile(`${cwd}/a.json`, describeEif(BUILD_A));
  await Deno.writeTextFile(`${cwd}/b.json`, describeEif(BUILD_B));
  const rendered = await runCtl([...RENDER, "-m", "a.json"], { cwd });
  assertEquals(rendered.code, 0, rendered.stderr);
  assertEquals(
    readKeyPolicy(rendered.stdout),
    renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] }),
  );
  assertMatch(rendered.stderr, /^ok: 0 failed, 1 to look at$/m);
  const rolled = await runCtl(["policy", "rollover", "-", "-m", "b.json", "--reviewed", ADMIN], {
    cwd,
    stdin: rendered.stdout,
  });
  assertEquals([rolled.code, readKeyPolicy(rolled.stdout).Statement.length], [0, 4], rolled.stderr);
  const args = ["policy", "finalise", "-", "-m", "b.json", "--reviewed", ADMIN, "--json"];
  const final = await runCtl(args, { cwd, stdin: rolled.stdout });
  assertEquals(final.code, 0, final.stderr);
  const { policy, lint } = JSON.parse(final.stdout);
  assertEquals(lint.ok, true);
  assertEquals(policy, renderKeyPolicy({ builds: [BUILD_B], parents: [PARENT], administrators: [ADMIN] }));
  await Deno.writeTextFile(`${cwd}/old.json`, rolled.stdout);
  await Deno.writeTextFile(`${cwd}/new.json`, JSON.stringify(policy));
  const diff = await runCtl(["policy", "diff", "old.json", "new.json"], { cwd });
  assertMatch(diff.stdout, /^dropped statement EnclaveBuild230bf212aad6ff1f$/m);
  const same = await runCtl(["policy", "diff", "new.json", "-"], { cwd, stdin: JSON.stringify(policy) });
  assertEquals([same.code, same.stdout], [0, "no difference\n"]);
});

test("PCRs by hex, role and instance are pinned, a statement for each instance", async () => {
  const pcrs = `0=${BUILD_A.pcr0},1=${BUILD_A.pcr1},2=${BUILD_A.pcr2},8=${BUILD_B.pcr0}`;
  const instances = "i-0123456789abcdef0,i-0123456789abcdef1";
  const args = ["policy", "render", "--admin", ADMIN, "--role-arn", PARENT, "--instance-id", instances];
  const { code, stdout, stderr } = await runCtl([...args, "--pcr", pcrs, "--image-sha384", "--json"]);
  assertEquals(code, 0, stderr);
  const { policy } = JSON.parse(stdout);
  const conditions = policy.Statement.slice(1, 3).map(({ Condition }: { Condition: object }) =>
    Object.keys(Object.values(Condition)[0])
  );
  const names = ["ImageSha384", "PCR0", "PCR1", "PCR2", "PCR3", "PCR4", "PCR8"].map((name) =>
    `kms:RecipientAttestation:${name}`
  );
  assertEquals(conditions, [names, names]);
});

test("lint exits 1 for what defeats attestation, as text and as JSON, and 0 for what is accepted", async () => {
  const stdin = formatKeyPolicy(DEFAULT_POLICY);
  const text = await runCtl(["policy", "lint", "-"], { stdin });
  assertEquals(text.code, 1);
  assertMatch(text.stdout, /^FAIL wildcard-action in Enable IAM User Permissions$/m);
  const json = await runCtl(["policy", "lint", "-", "--json"], { stdin });
  assertEquals([json.code, JSON.parse(json.stdout).ok], [1, false]);
  const accepted = await runCtl(["policy", "lint", "-", "--accept", "wildcard-action"], { stdin });
  assertEquals(accepted.code, 0, accepted.stdout);
  const typo = policyOf(
    allow(USE, { StringEqualsIgnoreCase: onBuild(BUILD_A) }),
    deny(USE, { Null: { "kms:RecipientAttestation:PCRO": ["true"] } }),
  );
  const lockedOut = await runCtl(["policy", "lint", "-", "--parent", PARENT, "--reviewed", ADMIN], {
    stdin: formatKeyPolicy(typo),
  });
  assertEquals(lockedOut.code, 1);
  assertMatch(lockedOut.stdout, /^FAIL unknown-condition-key in Denied$/m);
  assertMatch(lockedOut.stdout, /^FAIL deny-refuses-build in Tried$/m);
  const none = await runCtl(["policy", "lint"]);
  assertEquals([none.code, none.stderr.includes("Which policy")], [2, true]);
  const unknown = await runCtl(["policy", "lint", "-", "--accept", "x"], { stdin });
  assertEquals([unknown.code, unknown.stderr.includes("--rules")], [2, true]);
  const rules = await runCtl(["policy", "lint", "--rules"]);
  assertMatch(rules.stdout, /^fail zero-pcr$/m);
});

test("lint takes origin and grants as facts", async (cwd) => {
  const policy = renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] });
  const grants = {
    Grants: [{ GrantId: "g", GranteePrincipal: PARENT, Operations: ["ReEncryptFrom"], Extra: 1 }],
  };
  await Deno.writeTextFile(`${cwd}/grants.json`, JSON.stringify(grants));
  const args = [
    "policy",
    "lint",
    "-",
    "--reviewed",
    ADMIN,
    "--origin",
    "EXTERNAL",
    "--grants",
    "grants.json",
  ];
  const { code, stdout } = await runCtl([...args, "--json"], { cwd, stdin: formatKeyPolicy(policy) });
  const rules = JSON.parse(stdout).findings.map(({ rule }: { rule: string }) => rule);
  assertEquals([code, rules], [1, ["administrator", "external-origin", "live-grant"]]);
});

if (hasMoto()) {
  const newKey = async (url: string): Promise<string> => {
    const made = await runCtl(["kms", "create-key", "-r", "us-east-1", "--json"], {
      env: { ...KEYS, AWS_ENDPOINT_URL: url },
    });
    return JSON.parse(made.stdout).arn;
  };
  /** A policy that moto's caller may change again: it is of the account. */
  const forCaller = renderKeyPolicy({
    builds: [BUILD_A],
    parents: [PARENT],
    administrators: [ROOT],
    inspect: true,
  });

  test("apply shows the difference, and changes nothing without --yes", async (cwd) => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url };
    const key = await newKey(moto.url);
    const apply = (...more: readonly string[]) =>
      runCtl(["policy", "apply", "-", "-k", key, "--reviewed", ROOT, ...more], {
        env,
        cwd,
        stdin: formatKeyPolicy(forCaller),
      });
    const dry = await apply();
    assertEquals(dry.code, 0, dry.stderr);
    assertMatch(dry.stdout, /^new statement OnlyTheseBuilds$/m);
    assertMatch(dry.stdout, /^Nothing was changed\. --yes/m);
    using admin = openKeyAdmin({ key: parseKeyArn(key), credentials, endpoint: moto.url });
    const before = readKeyPolicy(await admin.getPolicy());
    assertEquals(before.Statement[0]?.Action, ["kms:*"]);
    const done = await apply("--yes", "--json");
    assertEquals([JSON.parse(done.stdout).outcome, JSON.parse(done.stdout).confirmed], ["applied", true]);
    assertEquals(readKeyPolicy(await admin.getPolicy()), forCaller);
    const again = await apply("--yes");
    assertMatch(again.stdout, /has this policy already/);
    const linted = await runCtl(["policy", "lint", "-k", key, "--reviewed", ROOT], { env });
    assertEquals(linted.code, 0, linted.stdout);
    const rolled = await runCtl(
      [
        "policy",
        "rollover",
        "-k",
        key,
        "--reviewed",
        ROOT,
        "--pcr",
        `0=${BUILD_B.pcr0},1=${BUILD_B.pcr1},2=${BUILD_B.pcr2}`,
      ],
      { env },
    );
    assertEquals(rolled.code, 0, rolled.stderr);
    const diff = await runCtl(["policy", "diff", "-k", key, "-"], { env, stdin: rolled.stdout });
    assertMatch(diff.stdout, /^new statement EnclaveBuilde77498f3e26d84fb$/m);
  });

  test("apply refuses what would lock the caller out, and what the linter fails", async () => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url };
    const key = await newKey(moto.url);
    const elsewhere = renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] });
    const out = await runCtl(["policy", "apply", "-", "-k", key, "--yes", "--reviewed", ADMIN], {
      env,
      stdin: formatKeyPolicy(elsewhere),
    });
    assertEquals(out.code, 1, out.stderr);
    assertMatch(out.stderr, /no statement allows kms:PutKeyPolicy to arn:aws:sts::/);
    const weak = await runCtl(["policy", "apply", "-", "-k", key, "--yes"], {
      env,
      stdin: formatKeyPolicy(policyOf(...DEFAULT_POLICY.Statement)),
    });
    assertEquals([weak.code, weak.stdout.includes("Nothing was changed: a finding fails")], [1, true]);
    using admin = openKeyAdmin({ key: parseKeyArn(key), credentials, endpoint: moto.url });
    assertEquals(readKeyPolicy(await admin.getPolicy()).Statement.length, 1);
  });

  test("apply warns when the caller alone could change the policy, and when the root loses access", async () => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url };
    const key = await newKey(moto.url);
    using admin = openKeyAdmin({ key: parseKeyArn(key), credentials, endpoint: moto.url });
    const caller = await admin.callerArn();
    const apply = (stdin: string, ...more: readonly string[]) =>
      runCtl(["policy", "apply", "-", "-k", key, "--reviewed", ROOT, "--reviewed", caller, ...more], {
        env,
        stdin,
      });
    const alone = formatKeyPolicy(forCaller).replaceAll(ROOT, caller);
    const shown = await apply(alone);
    assertStringIncludes(shown.stdout, `warn ${caller} alone may change this policy. `);
    assertStringIncludes(shown.stdout, "warn The statement of the account's root goes: ");
    const asJson = await apply(alone, "--json");
    assertEquals(JSON.parse(asJson.stdout).risks.length, 2);
    const kept = await apply(formatKeyPolicy(forCaller));
    assert(!kept.stdout.includes("alone may change"), kept.stdout);
  });

  test("a policy that somebody else changes meanwhile is not overwritten", async () => {
    await using moto = await freshMoto();
    const key = parseKeyArn(await newKey(moto.url));
    using admin = openKeyAdmin({ key, credentials, endpoint: moto.url });
    const change = await planChange(admin, forCaller, { reviewed: [ROOT] });
    assert(change.lint.ok);
    const other = renderKeyPolicy({ builds: [BUILD_B], parents: [PARENT], administrators: [ROOT] });
    await admin.putPolicy(formatKeyPolicy(other));
    const error = await assertRejects(() => applyChange(admin, change), PolicyError);
    assertEquals(error.code, "policy_changed");
    assertEquals(readKeyPolicy(await admin.getPolicy()), other);
  });

  test("a missing key and an unreachable KMS have different errors", async () => {
    await using moto = await freshMoto();
    const key = parseKeyArn(
      "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    );
    using admin = openKeyAdmin({ key, credentials, endpoint: moto.url });
    const missing = await assertRejects(() => admin.describe(), KeyAdminError);
    assertEquals(missing.code, "kms_not_found");
    using nowhere = openKeyAdmin({ key, credentials, endpoint: "http://127.0.0.1:1", requestMs: 500 });
    const away = await assertRejects(() => nowhere.describe(), KeyAdminError);
    assertEquals(away.code, "kms_unavailable");
  });
}
