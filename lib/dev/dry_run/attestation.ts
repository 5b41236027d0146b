/**
 * The dry run's attestation section: a local KMS emulator that verifies documents, key policies for builds, a rollover from one build to the next;
 * then a client that verifies the enclave and seals requests for it. The NSM and the KMS are simulated, under a root that only the dry run trusts.
 *
 * @module
 */
import { SimulatedNsm } from "../nsm/simulated.ts";
import { verifyDocument } from "../../shared/attestation/document.ts";
import { Credentials } from "../../shared/aws/credentials.ts";
import type { Report } from "./report.ts";
import { formatKeyPolicy } from "../../ctl/aws/key_policy.ts";
import { lintKeyPolicy } from "../../ctl/policy/lint.ts";
import { measurementsOf } from "../../ctl/policy/measurements.ts";
import { finalise, renderKeyPolicy, rollOver } from "../../ctl/policy/render.ts";
import { SealedClient } from "../../ctl/client/sealed_client.ts";
import type { DataKey, Kms } from "../../enclave/kms/kms.ts";
import { inProcess, LocalKms } from "../kms/local.ts";
import { KmsService } from "../kms_emulator/service.ts";
import { expectRefusal, startDryRunService } from "./service.ts";

const REGION = "us-east-1";
const ACCOUNT = "111122223333";
const PARENT = `arn:aws:iam::${ACCOUNT}:role/Parent`;
const ADMINISTRATOR = `arn:aws:iam::${ACCOUNT}:role/KeyAdmin`;
const CONTEXT = { app: "denclave", purpose: "master", enclave_id: "1" };

/** PCRs of an invented build. */
function build(digit: string): Readonly<Record<number, string>> {
  return { 0: `${digit}0`.repeat(48), 1: `${digit}1`.repeat(48), 2: `${digit}2`.repeat(48) };
}

function measurements(pcrs: Readonly<Record<number, string>>) {
  return measurementsOf(new Map(Object.entries(pcrs).map(([index, value]) => [Number(index), value])));
}

/** Key policies, and the KMS that evaluates them. */
async function dryRunPolicies(
  report: Report,
  nsms: { readonly old: SimulatedNsm; readonly fresh: SimulatedNsm },
): Promise<void> {
  const [oldBuild, newBuild] = [measurements(build("a")), measurements(build("b"))];
  const policy = renderKeyPolicy({ builds: [oldBuild], parents: [PARENT], administrators: [ADMINISTRATOR] });
  using emulator = await KmsService.open({
    region: REGION,
    account: ACCOUNT,
    caller: PARENT,
    root: nsms.old.root,
    policies: [{ policy: formatKeyPolicy(policy) }],
  });
  const [keyId = ""] = emulator.keyArns;
  await using oldEnclave = await inProcess(emulator, nsms.old);
  await using newEnclave = await inProcess(emulator, nsms.fresh);
  await using parent = await inProcess(emulator);
  using credentials = Credentials.fromStrings({
    accessKeyId: "dry-run",
    secretAccessKey: "dry-run",
    sessionToken: "",
  });
  const access = { region: REGION, credentials };
  const make = (kms: Kms) => kms.generateDataKey(access, { keyId, keySpec: "AES_256", context: CONTEXT });
  let made: DataKey | undefined;
  const decrypt = async (kms: Kms) => {
    if (made === undefined) throw new Error("there is no data key");
    using opened = await kms.decrypt(access, { ciphertext: made.ciphertext, keyId, context: CONTEXT });
    return `${opened.length} bytes, encrypted to this enclave alone`;
  };

  await report.step("denclavectl policy render, lint", () => {
    const { findings } = lintKeyPolicy(policy, { parents: [PARENT], reviewed: [ADMINISTRATOR] });
    const failed = findings.filter(({ severity }) => severity === "fail");
    if (failed.length > 0) throw new Error(failed.map(({ rule }) => rule).join(", "));
    return `one build; ${findings.length} warning${findings.length === 1 ? "" : "s"}, nothing fails`;
  });
  await report.step("the build of the policy gets a data key", async () => {
    made = await make(oldEnclave);
    return "GenerateDataKey, its document verified";
  });
  await report.step("and opens it again", () => decrypt(oldEnclave));
  await report.step(
    "the parent, by its own credentials",
    () => expectRefusal("AccessDeniedException", () => decrypt(parent)),
  );
  await report.step(
    "another build: another PCR0",
    () => expectRefusal("AccessDeniedException", () => decrypt(newEnclave)),
  );
  const both = rollOver(policy, newBuild, { parents: [PARENT] });
  await report.step("denclavectl policy rollover: both builds", async () => {
    emulator.putPolicy(keyId, formatKeyPolicy(both));
    await decrypt(oldEnclave);
    return `the old row opens in the new build too: ${await decrypt(newEnclave)}`;
  });
  await report.step("denclavectl policy finalise: the old build is out", async () => {
    emulator.putPolicy(keyId, formatKeyPolicy(finalise(both, [newBuild])));
    await decrypt(newEnclave);
    return await expectRefusal("AccessDeniedException", () => decrypt(oldEnclave));
  });
  made?.plaintext[Symbol.dispose]();
}

/** A client that verifies before it trusts. */
async function dryRunSealed(report: Report, nsm: SimulatedNsm): Promise<void> {
  await using kms = await LocalKms.open({ region: REGION });
  await using service = await startDryRunService(kms, { attester: nsm });
  const pcrs = build("a");
  const connect = (options: { readonly pcrs?: typeof pcrs; readonly real?: boolean } = {}) =>
    SealedClient.connect(service.address, {
      timeoutMs: 10_000,
      pcrs: options.pcrs ?? pcrs,
      verify: options.real === true ? verifyDocument : (document, expected) => nsm.verify(document, expected),
    });
  const refused = async (code: string, options: Parameters<typeof connect>[0]) => {
    using client = await connect(options);
    return `${await expectRefusal(code, () => client.request({ type: "ping" }))}, nothing was sent`;
  };
  await report.step("client: attest, verify, seal", async () => {
    using client = await connect();
    const reply = await client.request({ type: "ping" });
    return `${String(reply["msg"])}, sealed both ways: the parent sees bytes`;
  });
  await report.step(
    "client: an enclave of another build",
    () => refused("attestation_pcr", { pcrs: build("b") }),
  );
  await report.step("client: a root that is not AWS's", () => refused("attestation_root", { real: true }));
}

/** Runs the section. */
export async function dryRunAttestation(report: Report): Promise<void> {
  report.section("Attestation (stand-ins: a simulated NSM and a local KMS emulator)");
  using old = await SimulatedNsm.start({ pcrs: build("a") });
  using fresh = await SimulatedNsm.start({ pcrs: build("b"), sibling: old });
  await dryRunPolicies(report, { old, fresh });
  await dryRunSealed(report, old);
}
