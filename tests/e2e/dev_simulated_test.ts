/** `deno task dev --simulate-nsm` as a process: its options, its root over restarts, a KMS that does not trust it. */
import { assertEquals, assertMatch } from "@std/assert";
import { ctlLaunch, devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const PCR = "ab".repeat(48);
const BUILD = JSON.stringify({ Measurements: { PCR0: PCR, PCR1: PCR, PCR2: PCR, PCR8: PCR } });
const KEYS = { AWS_ACCESS_KEY_ID: "emulator", AWS_SECRET_ACCESS_KEY: "emulator" };

for (
  const [what, args, message] of [
    ["measurements alone", ["-m", "x.json"], /go with --simulate-nsm/],
    ["a root alone", ["--nsm-root", "x.pem"], /go with --simulate-nsm/],
    [
      "measurements that are not there",
      ["--simulate-nsm", "-m", "/nonexistent/x.json"],
      /x\.json for --measurements/,
    ],
    [
      "AWS's own KMS",
      ["--simulate-nsm", "--kms", "aws", "--kms-key", "alias/mine"],
      /needs --kms-endpoint-url/,
    ],
  ] as const
) {
  Deno.test(`dev with ${what} is refused`, async () => {
    const service = ServiceProcess.spawn(devLaunch(args));
    const { code } = await service.ended();
    assertEquals(code, 2, service.stderr);
    assertMatch(service.stderr, message);
  });
}

Deno.test("documents have the file's PCRs, and the root is the same after a restart", async () => {
  await using folder = await Folder.make({ "build.json": BUILD });
  const root = `${folder.path}/root.pem`;
  const args = ["--simulate-nsm", "-m", `${folder.path}/build.json`, "--nsm-root", root];
  for (const _run of [1, 2]) {
    await using service = await ServiceProcess.start(devLaunch(args));
    const connect = ["--connect", String(service.events("listening")[0]?.["address"])];
    const verified = await runCtl([
      ...["client", "attest", ...connect, "--root", root],
      ...["--pcr", `0=${PCR}`, "--pcr", `8=${PCR}`],
    ]);
    assertEquals(verified.code, 0, verified.stderr);
    assertMatch(verified.stderr, /not under AWS's root: they do not prove a real enclave/);
    const health = await runCtl(["client", "health", ...connect]);
    assertMatch(health.stdout, /simulated NSM: its attestation documents prove nothing/);
    // Compared, and left alone: this is a host's.
    assertMatch(health.stdout, /"clock_difference_ms": -?\d{1,5},/);
    assertEquals([service.events("clock_set"), service.events("clock_not_set")], [[], []]);
  }
});

Deno.test("eif reproduce --attest takes the document under the named root alone", async () => {
  const sha256 = "cd".repeat(32);
  const deno = "0.0.1";
  const program = {
    file: "denclave",
    sha256,
    deno,
    bundle_sha256: sha256,
    git_commit: "ab".repeat(20),
    dirty: false,
  };
  await using folder = await Folder.make({
    "image.provenance.json": JSON.stringify({
      image: { file: "enclave.eif", bytes: 1, sha256, architecture: "x86_64" },
      measurements: { PCR0: PCR },
      program: { ...program, options: { flavour: "production", "install-dir": "/app", "test-net": [] } },
      source_date_epoch: 0,
      compression: "none",
      cmdline: "reboot=k",
      cmd: ["/app/denclave"],
      env: {},
      metadata: {
        ImageName: "denclave",
        ImageVersion: "1.0",
        BuildMetadata: { OperatingSystem: "Linux", KernelVersion: "4.14" },
      },
      inputs: [],
    }),
  });
  const root = `${folder.path}/root.pem`;
  await using service = await ServiceProcess.start(devLaunch(["--simulate-nsm", "--nsm-root", root]));
  const attest = ["--attest", "--connect", String(service.events("listening")[0]?.["address"])];
  const reproduce = (...args: string[]) =>
    runCtl(["eif", "reproduce", "image.provenance.json", ...args], { cwd: folder.path });
  const refused = await reproduce(...attest);
  assertEquals(refused.code, 1, refused.stderr);
  assertMatch(refused.stderr, /its first CA is not the pinned root/);
  // The enclave is asked first: what comes next fails.
  const taken = await reproduce(...attest, "--root", root);
  assertEquals(taken.code, 69, taken.stderr);
  assertMatch(taken.stderr, /compiled by Deno 0\.0\.1/);
  assertEquals((await reproduce("--root", root)).code, 2);
});

Deno.test("a KMS that was not given the root denies the simulated enclave", async () => {
  await using folder = await Folder.make({ "build.json": BUILD, "accounts.sqlite": "" });
  const account = ["--account", "111122223333", "--listen", "tcp:127.0.0.1:0"];
  await using emulator = await ServiceProcess.start(ctlLaunch(["emulator", "serve", ...account]));
  const [listening] = emulator.events("listening");
  const url = String(listening?.["url"]);
  const [key = ""] = listening?.["keys"] as string[];
  const root = `${folder.path}/root.pem`;
  await using service = await ServiceProcess.start(
    devLaunch([
      ...["--kms", "aws", "--kms-endpoint-url", url, "--kms-key", key],
      ...["--simulate-nsm", "-m", `${folder.path}/build.json`, "--nsm-root", root],
    ]),
  );
  const made = await runCtl([
    ...[
      "account",
      "create",
      "--name",
      "alice",
      "--attest",
      "-m",
      `${folder.path}/build.json`,
      "--root",
      root,
    ],
    ...["--connect", String(service.events("listening")[0]?.["address"])],
    ...["--store", `sqlite:${folder.path}/accounts.sqlite`],
  ], { env: { ...KEYS, AWS_REGION: "us-east-1" } });
  assertEquals(made.code, 1, made.stdout);
  assertMatch(made.stderr, /KMS refused: ValidationException/);
  assertMatch(JSON.stringify(emulator.lines.at(-1)), /attestation_root/);
});
