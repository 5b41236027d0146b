/** The enclave's self-test, and how it explains KMS's denials. */
import { assert, assertEquals } from "@std/assert";
import { type Nsm, openNsm } from "../../../../lib/enclave/cli/nsm.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { clockSkewOf, hintFor } from "../../../../lib/shared/aws/kms_reasons.ts";
import {
  chooseAead,
  createSelfTest,
  runSelfTest,
  type SelfTestSeams,
} from "../../../../lib/enclave/cli/self_test.ts";
import { NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { type Measurements, observeDenials } from "../../../../lib/enclave/kms/observed.ts";
import { kmsFailure } from "../../../../lib/enclave/server/kms_failure.ts";
import { encodeForm, INDEFINITE } from "../../../helpers/cbor_forms.ts";
import { MockNsm } from "../../../helpers/mock_nsm.ts";
import { REAL_DOCUMENTS, realDocuments } from "../../../helpers/vectors.ts";
import { CREDENTIAL, KmsRefusal, walletRig } from "../../../helpers/wallet_rig.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";

const PCR = (digit: string) => digit.repeat(96);
const BUNDLE = "/etc/pki/tls/certs/ca-bundle.crt";
const MEMORY = "MemTotal:  500000 kB\nMemAvailable:   204800 kB\n";

function seams(nsm: Nsm | undefined, change: Partial<SelfTestSeams> = {}): SelfTestSeams {
  return {
    nsm,
    kernelGenerator: "nsm-hwrng",
    readText: (path) => (path === "/proc/meminfo" ? MEMORY : undefined),
    exists: (path) => path === BUNDLE,
    now: () => new Date(),
    monotonic: () => performance.now(),
    ...change,
  };
}

function simulated(options: { readonly pcrs?: Record<number, string> } = {}) {
  return SimulatedNsm.start({
    nsmDevice: "/nonexistent",
    pcrs: { 0: PCR("a"), 1: PCR("b"), 2: PCR("c"), ...options.pcrs },
  });
}

async function states(given: SelfTestSeams): Promise<Record<string, string>> {
  const { checks } = await runSelfTest(given);
  return Object.fromEntries(checks.map(({ check, state }) => [check, state]));
}

Deno.test("in an enclave that is as it should be, every check is ok, and the measurements are known", async () => {
  using nsm = await simulated();
  const { checks, measurements } = await runSelfTest(seams(nsm));
  assertEquals(checks.map(({ check, state }) => [check, state]), [
    ["NSM", "ok"],
    ["debug mode", "ok"],
    ["clock", "ok"],
    ["random numbers", "ok"],
    ["CA certificates", "ok"],
    ["memory", "ok"],
  ]);
  assertEquals(measurements, { pcrs: [PCR("a"), PCR("b"), PCR("c")], debug: false });
});

const FAILURES: readonly (readonly [string, Partial<SelfTestSeams>, string, string])[] = [
  ["no CA certificates", { exists: () => false }, "CA certificates", "fail"],
  ["another kernel generator", { kernelGenerator: "virtio" }, "random numbers", "warn"],
  ["no kernel generator", { kernelGenerator: undefined }, "random numbers", "warn"],
  ["a clock that is two minutes ahead", { now: () => new Date(Date.now() + 120_000) }, "clock", "warn"],
  ["a clock that is ten minutes behind", { now: () => new Date(Date.now() - 600_000) }, "clock", "fail"],
  ["an NSM that takes 251 ms", { monotonic: ((ms) => () => ms += 251)(0) }, "clock", "skipped"],
  ["little memory", { readText: () => "MemAvailable: 1024 kB\n" }, "memory", "warn"],
  ["a /proc that says nothing", { readText: () => undefined }, "memory", "skipped"],
];

for (const [what, change, check, state] of FAILURES) {
  Deno.test(`${what} shows as ${state}`, async () => {
    using nsm = await simulated();
    assertEquals((await states(seams(nsm, change)))[check], state);
  });
}

Deno.test("the clock's difference is shown, in milliseconds and which way", async () => {
  const at = Date.now();
  using fixed = await SimulatedNsm.start({ nsmDevice: "/nonexistent", now: () => new Date(at) });
  const seen = async (ahead: number) => {
    const change = { now: () => new Date(at + ahead), monotonic: () => 0 };
    const { checks } = await runSelfTest(seams(fixed, change));
    return checks.find(({ check }) => check === "clock")?.seen;
  };
  assertEquals(await seen(700), "700 ms ahead of the NSM's");
  assertEquals(
    await seen(-61_000),
    "61000 ms behind the NSM's: KMS allows five minutes; use --clock nsm, and look at logs",
  );
});

Deno.test("debug mode shows as a failure, with its remedy", async () => {
  using nsm = await simulated({ pcrs: { 0: PCR("0"), 1: PCR("0"), 2: PCR("0") } });
  const { checks, measurements } = await runSelfTest(seams(nsm));
  const debug = checks.find(({ check }) => check === "debug mode");
  assertEquals([debug?.state, debug?.seen.includes("--debug-mode"), measurements?.debug], [
    "fail",
    true,
    true,
  ]);
});

/** A module behind its device, which gives this document, and everything in maps of indefinite length. */
function deviceWith(document: Uint8Array): Nsm {
  const description = {
    version_major: 1,
    version_minor: 0,
    version_patch: 0,
    module_id: "i-0123456789abcdef0-enc0123456789abcdef",
    max_pcrs: 32,
    locked_pcrs: [0, 1, 2],
    digest: "SHA384",
  };
  const mock = new MockNsm((request) => {
    const isDescribe = new TextDecoder().decode(request).includes("DescribeNSM");
    const answer = isDescribe ? { DescribeNSM: description } : { Attestation: { document } };
    return { response: encodeForm(answer, INDEFINITE) };
  });
  return openNsm(mock.kernel);
}

const real = realDocuments();
for (const name of real === undefined ? [] : REAL_DOCUMENTS) {
  Deno.test(`in an enclave whose NSM gives the real document ${name}, debug mode, clock and PCRs are known`, async () => {
    const { bytes, at } = real?.[name] ?? { bytes: new Uint8Array(), at: new Date() };
    using nsm = deviceWith(bytes);
    const { checks, measurements } = await runSelfTest(seams(nsm, { now: () => at }));
    const isDebug = name.startsWith("debug");
    assertEquals(checks.slice(0, 3).map(({ check, state }) => [check, state]), [
      ["NSM", "ok"],
      ["debug mode", isDebug ? "fail" : "ok"],
      ["clock", "ok"],
    ]);
    assertEquals(measurements?.debug, isDebug);
    assertEquals(measurements?.pcrs.every((pcr) => /^0{96}$/.test(pcr)), isDebug);
    const ahead = await states(seams(nsm, { now: () => new Date(at.getTime() + 120_000) }));
    assertEquals(ahead["clock"], "warn");
  });
}

Deno.test("an NSM that fails is one failed check, and the others are made", async () => {
  using nsm = await simulated();
  const broken: Nsm = {
    attest: () => Promise.reject(new Error("ioctl")),
    describe: () => nsm.describe(),
    random: () => nsm.random(),
    [Symbol.dispose]: () => {},
  };
  const found = await states(seams(broken));
  assertEquals([found["NSM"], found["memory"]], ["fail", "ok"]);
});

Deno.test("memory and clock are read again whenever the checks are asked for, at most once a second", async () => {
  using nsm = await simulated();
  let kib = 204_800;
  let skew = 0;
  let monotonic = 0;
  const selfTest = createSelfTest(
    seams(nsm, {
      readText: () => `MemAvailable: ${kib} kB\n`,
      now: () => new Date(Date.now() + skew),
      monotonic: () => monotonic,
    }),
  );
  const seen = async () => {
    const { checks } = await selfTest();
    return ["memory", "clock"].map((name) => checks.find(({ check }) => check === name)?.state);
  };
  assertEquals(await seen(), ["ok", "ok"]);
  [kib, skew] = [1_024, 600_000];
  monotonic += 999;
  assertEquals(await seen(), ["ok", "ok"]);
  monotonic += 1;
  assertEquals(await seen(), ["warn", "fail"]);
  [kib, skew] = [204_800, 0];
  monotonic += 1_000;
  assertEquals(await seen(), ["ok", "ok"]);
});

Deno.test("the checks say which AES-256-GCM is used, and warn where it is not AWS-LC's", () => {
  const awsLc = { ...NODE_AEAD, name: "AWS-LC" };
  const { aead, check } = chooseAead(awsLc);
  assertEquals([aead, check.check, check.state, check.seen.startsWith("AWS-LC")], [
    awsLc,
    "AES-256-GCM",
    "ok",
    true,
  ]);
  const fallback = chooseAead(undefined);
  assertEquals([fallback.aead, fallback.check.state, fallback.check.seen.startsWith("node:crypto")], [
    NODE_AEAD,
    "warn",
    true,
  ]);
});

const WORDS: readonly (readonly [string, number | undefined])[] = [
  [
    "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (20260101T001000Z - 5 min.)",
    -600,
  ],
  [
    "Signature not yet current: 20260101T010000Z is still later than 20260101T000500Z (20260101T000000Z + 5 min.)",
    3600,
  ],
  ["The request signature we calculated does not match the signature you provided.", undefined],
  ["Signature expired: soon", undefined],
];

for (const [message, seconds] of WORDS) {
  Deno.test(`KMS's message gives the clock's skew: ${seconds ?? "none"} (${message.slice(0, 30)})`, () => {
    assertEquals(clockSkewOf({ message }), seconds);
  });
}

Deno.test("a skewed clock is answered clock_skew, with how far and which way", () => {
  const [message = ""] = WORDS[0] ?? [];
  const error = Object.assign(new EnclaveError("x", { code: "sdk_kms_decrypt" }), {
    kms: { name: "InvalidSignatureException", message },
  });
  const { code, message: details } = kmsFailure(error, "kms_decrypt_failed");
  assertEquals([code, details], ["clock_skew", "KMS refused: the enclave's clock is 600 s behind KMS's"]);
  assert(hintFor({ name: "InvalidSignatureException", message }).includes("--clock nsm"));
});

const MEASURED: Measurements = { pcrs: [PCR("a"), PCR("b"), PCR("c")], debug: false };

Deno.test("a denial is reported with this image's PCRs; in debug mode with the reason", async () => {
  using rig = await walletRig();
  const row = await rig.account("alice");
  rig.kms.fail = new KmsRefusal("AccessDeniedException");
  for (
    const [measurements, words] of [[MEASURED, `PCR0 ${PCR("a")}`], [
      { ...MEASURED, debug: true },
      "debug mode",
    ]] as const
  ) {
    const kms = observeDenials(rig.kms, () => {}, measurements);
    const failed = await kms.decrypt({} as never, {} as never).then(() => undefined, (thrown) => thrown);
    assert(failed instanceof EnclaveError);
    const reply = kmsFailure(failed, "kms_decrypt_failed");
    assertEquals([reply.code, reply.message.includes(words)], ["kms_decrypt_failed", true]);
    assert(reply.message.startsWith("KMS refused: AccessDeniedException: "));
  }
  // Without an NSM nothing is compared.
  assertEquals(
    (await rig.ask({ ...row, credential: CREDENTIAL, message: "a" })).details,
    "KMS refused: AccessDeniedException",
  );
});
