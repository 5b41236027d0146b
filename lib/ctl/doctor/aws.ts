/**
 * Checks of AWS's side: the way to KMS from the parent, the clock, credentials, the key, and its policy against what runs.
 *
 * @module
 */
import { parentAdvice } from "../aws/advice.ts";
import { kmsHost } from "../../shared/aws/partitions.ts";
import { messageOf } from "../../shared/errors.ts";
import { type KeyAdmin, KeyAdminError } from "../aws/key_admin.ts";
import { keyFacts } from "../policy/apply.ts";
import { type Admission, admission } from "../policy/evaluate.ts";
import { type KeyPolicy, readKeyPolicy } from "../aws/key_policy.ts";
import { type KeyFacts, lintKeyPolicy } from "../policy/lint.ts";
import { type Measurements, parseMeasurements } from "../policy/measurements.ts";
import { type Check, type DoctorContext, fail, failedBy, ok, skipped, type Verdict, warn } from "./check.ts";
import { targetEnclave } from "./nitro.ts";
import { regionOfTarget } from "./proxy.ts";

/** SigV4 allows five minutes. */
const MAX_OFFSET_MS = 300_000;
const LARGE_OFFSET_MS = 60_000;
const SOON_MS = 300_000;
const MAX_RULES = 6;

function region({ target: { key, region: named } }: DoctorContext): Verdict {
  if (key === undefined) return skipped("no key is given");
  if (named === undefined || named === key.region) return ok(key.region);
  return fail(
    `the region is ${named}, and the key's is ${key.region}`,
    `Leave --region out, or give ${key.region}: the service refuses requests for a region other than the key's.`,
  );
}

async function tls(context: DoctorContext): Promise<Verdict> {
  const wanted = regionOfTarget(context);
  if (wanted === undefined) return skipped("no key and no region is given");
  if (context.target.endpoint !== undefined) return skipped(`${context.target.endpoint} stands in for KMS`);
  const host = kmsHost(wanted);
  try {
    await context.world.connectTls(host, 443);
    return ok(`${host}:443`);
  } catch (thrown) {
    return fail(
      `${host}:443: ${messageOf(thrown)}`,
      "The parent, through which the enclave's connections go, must reach KMS: look at DNS, routes, security groups, the VPC endpoint and its policy.",
    );
  }
}

async function clock(context: DoctorContext): Promise<Verdict> {
  const { target, world } = context;
  const wanted = regionOfTarget(context);
  if (wanted === undefined && target.endpoint === undefined) return skipped("no key and no region is given");
  const url = target.endpoint ?? `https://${kmsHost(wanted ?? "")}/`;
  let date: string | undefined;
  try {
    date = await world.fetchDate(url);
  } catch (thrown) {
    return skipped(`KMS does not answer: ${messageOf(thrown)}`);
  }
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return skipped("KMS's answer has no Date");
  const offset = world.now() - theirs;
  const seconds = `${Math.abs(Math.round(offset / 1000))} s ${offset < 0 ? "behind" : "ahead of"} KMS`;
  const remedy =
    "Have chrony keep the parent's time (169.254.169.123). The enclave has a clock of its own, which it sets from the NSM (--clock nsm).";
  if (Math.abs(offset) >= MAX_OFFSET_MS) {
    return fail(`the clock is ${seconds}: signatures count as expired`, remedy);
  }
  return Math.abs(offset) >= LARGE_OFFSET_MS ? warn(`the clock is ${seconds}`, remedy) : ok(seconds);
}

async function credentials(context: DoctorContext): Promise<Verdict> {
  const { world, admin } = context;
  let expiration: Date | undefined;
  try {
    ({ expiration } = await world.credentials());
  } catch (thrown) {
    return failedBy(thrown, "On an instance attach an IAM role.");
  }
  const left = expiration === undefined ? Infinity : expiration.getTime() - world.now();
  const remedy = `${parentAdvice("ExpiredToken", "key").hint} Then configure the service again.`;
  if (left <= 0) return fail(`they expired at ${expiration?.toISOString() ?? ""}`, remedy);
  let who = "";
  if (admin !== undefined) {
    try {
      who = await admin.callerArn();
    } catch (thrown) {
      return failedBy(thrown, remedy);
    }
  }
  const until = expiration === undefined ? "without an end" : `until ${expiration.toISOString()}`;
  const seen = `${who === "" ? "present" : who}, ${until}`;
  return left < SOON_MS ? warn(seen, remedy) : ok(seen);
}

async function key(context: DoctorContext): Promise<Verdict> {
  const { admin } = context;
  if (admin === undefined) return skipped("no key is given");
  try {
    const { arn, state, usage, spec, origin } = await context.once("key", () => admin.describe());
    if (state !== "Enabled") {
      return fail(`${arn} is ${state}`, "Enable it, or cancel its deletion: aws kms enable-key.");
    }
    if (usage !== "ENCRYPT_DECRYPT" || spec !== "SYMMETRIC_DEFAULT") {
      return fail(
        `${arn} is for ${usage}, ${spec}`,
        "A symmetric key is needed: denclavectl kms create-key makes one.",
      );
    }
    return ok(`${arn} is enabled, origin ${origin}`);
  } catch (thrown) {
    return noLook(thrown, "kms:DescribeKey");
  }
}

/** Access denied is not a failure: the parent does not need permission to read the key. */
function noLook(thrown: unknown, right: string): Verdict {
  if (thrown instanceof KeyAdminError && thrown.code === "kms_denied") {
    return skipped(
      `the caller may not look: it has no ${right} (denclavectl policy render --inspect gives it)`,
    );
  }
  return failedBy(thrown, "Check the key's ARN, the region and the network.");
}

/** A check of the key's policy. */
function ofPolicy(
  look: (context: DoctorContext, policy: KeyPolicy, admin: KeyAdmin) => Promise<Verdict>,
): Check["look"] {
  return async (context) => {
    const { admin } = context;
    if (admin === undefined) return skipped("no key is given");
    let policy: KeyPolicy;
    try {
      policy = await context.once("policy", async () => readKeyPolicy(await admin.getPolicy()));
    } catch (thrown) {
      return noLook(thrown, "kms:GetKeyPolicy");
    }
    return await look(context, policy, admin);
  };
}

async function keyPolicy({ target }: DoctorContext, policy: KeyPolicy, admin: KeyAdmin): Promise<Verdict> {
  // The policy can be linted without the facts.
  const facts: KeyFacts | undefined = await keyFacts(admin).catch(() => undefined);
  const { ok: passes, findings } = lintKeyPolicy(policy, {
    parents: target.parents,
    reviewed: target.reviewed,
    accepted: target.accepted,
    ...(facts === undefined ? {} : { facts }),
  });
  const severity = passes ? "warn" : "fail";
  // Every key has an administrator, so the doctor does not repeat that warning.
  const worst = findings.filter((one) =>
    one.severity === severity && (one.rule !== "administrator" || !passes)
  );
  const rules = [...new Set(worst.map(({ rule }) => rule))];
  const listed = `${rules.slice(0, MAX_RULES).join(", ")}${rules.length > MAX_RULES ? ", …" : ""}`;
  const remedy = `denclavectl policy lint -k ${
    target.key?.arn ?? "<key arn>"
  } says what each is, and what to do.`;
  if (!passes) return fail(`the policy defeats attestation, or keeps the enclave out: ${listed}`, remedy);
  const unseen = facts === undefined ? "; origin and grants could not be seen" : "";
  if (worst.length > 0) return warn(`${listed}${unseen}`, remedy);
  return ok(
    `lints clean${findings.length === 0 ? "" : ", but that somebody administers it"}${unseen}`,
  );
}

function short(pcr: string): string {
  return `${pcr.slice(0, 16)}…`;
}

function describeRefusal({ differences, refusedBy }: Admission): string {
  const [first] = differences;
  if (refusedBy.length > 0) return `the Deny ${refusedBy.join(", ")} may refuse it`;
  if (first === undefined) return "no statement allows Decrypt with a document";
  const wanted = first.wanted.slice(0, 3).map(short).join(" or ");
  return `${first.statement} wants PCR${first.pcr} ${wanted}, and it is ${short(first.measured)}`;
}

/** The running enclave's measurements, if nitro-cli reports them and it is not in debug mode. */
async function runningMeasurements(context: DoctorContext): Promise<Measurements | undefined> {
  const found = await targetEnclave(context);
  if (found === undefined || found.isDebug === true || found.measurements === undefined) return undefined;
  try {
    return parseMeasurements(found.measurements);
  } catch {
    return undefined;
  }
}

async function image(context: DoctorContext): Promise<Verdict> {
  const { measurements: expected } = context.target;
  if (expected === undefined) return skipped("no measurements are given (-m)");
  const running = await runningMeasurements(context);
  if (running === undefined) return skipped("what runs was not measured: no enclave, or in debug mode");
  const differing = (["pcr0", "pcr1", "pcr2"] as const).filter((name) => running[name] !== expected[name]);
  return differing.length === 0 ? ok(`what runs is the image given, PCR0 ${short(running.pcr0)}`) : fail(
    `another image runs: ${
      differing.map((name) =>
        `${name.toUpperCase()} is ${short(running[name])} and not ${short(expected[name])}`
      ).join(", ")
    }`,
    "Terminate the enclave, and start it from the EIF that was measured.",
  );
}

async function pcrs(context: DoctorContext, policy: KeyPolicy): Promise<Verdict> {
  const { measurements } = context.target;
  const running = await runningMeasurements(context);
  const images = [
    ...(measurements === undefined ? [] : [["the EIF", measurements] as const]),
    ...(running === undefined ? [] : [["the running enclave", running] as const]),
  ];
  if (images.length === 0) return skipped("nothing is measured: give -m, or run the enclave");
  for (const [what, build] of images) {
    const verdict = admission(policy, build);
    if (!verdict.admitted) {
      return fail(
        `the key's policy does not admit ${what}: ${describeRefusal(verdict)}`,
        "Add the build: denclavectl policy rollover -k <key arn> -m <file>, then denclavectl policy apply.",
      );
    }
    if (verdict.unknown.length > 0) {
      const names = [...new Set(verdict.unknown.map(({ pcr }) => `PCR${pcr}`))].join(", ");
      return warn(
        `the policy admits ${what} if ${names} fits, which the image does not tell`,
        "PCR3 is of the parent's role and PCR4 of the instance: compare with denclavectl policy render --role-arn --instance-id.",
      );
    }
  }
  return ok(`the policy admits ${images.map(([what]) => what).join(" and ")}`);
}

/** In the order in which a person would look. */
export const AWS_CHECKS: readonly Check[] = Object.entries<Check["look"]>({
  region: (context) => Promise.resolve(region(context)),
  tls,
  clock,
  credentials,
  key,
  "key-policy": ofPolicy(keyPolicy),
  image,
  pcrs: ofPolicy(pcrs),
}).map(([id, look]) => ({ id, look }));
