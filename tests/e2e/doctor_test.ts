/**
 * The doctor as a process, against moto's KMS and STS and the service on this host: no enclave, so its own
 * checks are skipped.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { openKeyAdmin } from "../../lib/ctl/aws/open_key_admin.ts";
import { formatKeyPolicy } from "../../lib/ctl/aws/key_policy.ts";
import { renderKeyPolicy } from "../../lib/ctl/policy/render.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { DisableKeyCommand } from "../deps/aws_kms.ts";
import { BUILD_A, BUILD_B, PARENT, ROOT } from "../fixtures/key_policies.ts";
import { devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { hasMoto, shareMoto } from "../helpers/peers.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { Folder } from "../helpers/folder.ts";

const freshMoto = shareMoto();
const KEYS = { AWS_ACCESS_KEY_ID: "made-for-tests", AWS_SECRET_ACCESS_KEY: "made-for-tests" };
const identity = { accessKeyId: "made-for-tests", secretAccessKey: "made-for-tests" };
const credentials = new CredentialSource(() => Promise.resolve(identity));
const NOWHERE = ["--connect", "tcp:127.0.0.1:1"];

interface Answer {
  readonly ok: boolean;
  readonly checks: readonly {
    readonly id: string;
    readonly status: string;
    readonly reason: string;
    readonly remedy?: string;
  }[];
}

/** A test with a folder of its own. The AWS SDK keeps sockets for a while. */
function test(behaviour: string, run: (directory: string) => Promise<void>): void {
  Deno.test({ name: behaviour, sanitizeResources: false, sanitizeOps: false }, async () => {
    await using folder = await Folder.make();
    const directory = folder.path;
    await run(directory);
  });
}

function check(stdout: string, id: string) {
  const { checks } = JSON.parse(stdout) as Answer;
  return checks.find((one) => one.id === id);
}

function statuses(stdout: string, ids: readonly string[]): readonly (string | undefined)[] {
  return ids.map((id) => check(stdout, id)?.status);
}

async function writeMeasurements(directory: string, { pcr0, pcr1, pcr2 }: typeof BUILD_A): Promise<string> {
  const file = `${directory}/eif.json`;
  await Deno.writeTextFile(file, JSON.stringify({ Measurements: { PCR0: pcr0, PCR1: pcr1, PCR2: pcr2 } }));
  return file;
}

test("without a service, credentials or a key the doctor exits 1, and says what to do about each", async () => {
  const result = await runCtl(["doctor", ...NOWHERE]);
  assertEquals(result.code, 1, result.stderr);
  assertMatch(result.stdout, /^FAIL +service +Cannot connect to tcp:127\.0\.0\.1:1/m);
  assertMatch(result.stdout, /^FAIL +credentials +There are no AWS credentials/m);
  assertMatch(result.stdout, /^skipped +key +no key is given$/m);
  assertMatch(result.stdout, /^ +→ .*IAM role/m);
});

if (hasMoto()) {
  const newKey = async (url: string): Promise<string> => {
    const made = await runCtl(["kms", "create-key", "-r", "us-east-1", "--json"], {
      env: { ...KEYS, AWS_ENDPOINT_URL: url },
    });
    return JSON.parse(made.stdout).arn;
  };
  const putPolicy = async (url: string, key: string, builds: readonly (typeof BUILD_A)[]) => {
    using admin = openKeyAdmin({ key: parseKeyArn(key), credentials, endpoint: url });
    const rendered = renderKeyPolicy({ builds, parents: [PARENT], administrators: [ROOT], inspect: true });
    await admin.putPolicy(formatKeyPolicy(rendered));
  };

  test("with a service, a key and a policy for the image, every check is ok", async (directory) => {
    await using moto = await freshMoto();
    await using service = await ServiceProcess.start(
      devLaunch(["--kms-local-file", `${directory}/keys.json`]),
    );
    const key = await newKey(moto.url);
    await putPolicy(moto.url, key, [BUILD_A]);
    const file = await writeMeasurements(directory, BUILD_A);
    const args = ["doctor", "-k", key, "-m", file, "--connect", formatAddress(service.address)];
    const { code, stdout, stderr } = await runCtl([...args, "--reviewed", ROOT, "--json"], {
      env: { ...KEYS, AWS_ENDPOINT_URL: moto.url },
    });
    assertEquals(code, 0, stdout + stderr);
    assertEquals(
      statuses(stdout, ["region", "clock", "credentials", "key", "key-policy", "pcrs", "enclave", "tls"]),
      ["ok", "ok", "ok", "ok", "ok", "ok", "skipped", "skipped"],
    );
    assertMatch(check(stdout, "service")?.reason ?? "", /answers: denclave/);
    assertMatch(check(stdout, "credentials")?.reason ?? "", /^arn:aws:sts::123456789012:/);
  });

  test("a policy for another build is distinguished from one that admits everyone", async (directory) => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url };
    const key = await newKey(moto.url);
    const args = [
      "doctor",
      "-k",
      key,
      "-m",
      await writeMeasurements(directory, BUILD_B),
      ...NOWHERE,
      "--json",
    ];
    const fresh = await runCtl(args, { env });
    assertEquals(statuses(fresh.stdout, ["key", "key-policy", "pcrs"]), ["ok", "fail", "fail"]);
    assertMatch(check(fresh.stdout, "key-policy")?.reason ?? "", /wildcard-action/);
    await putPolicy(moto.url, key, [BUILD_A]);
    const other = await runCtl([...args, "--reviewed", ROOT], { env });
    assertEquals(statuses(other.stdout, ["key", "key-policy", "pcrs"]), ["ok", "ok", "fail"]);
    assertMatch(check(other.stdout, "pcrs")?.reason ?? "", /wants PCR0 230bf212aad6ff1f…/);
    assertMatch(check(other.stdout, "pcrs")?.remedy ?? "", /policy rollover/);
  });

  test("a disabled key, a missing key and a wrong region have different errors", async () => {
    await using moto = await freshMoto();
    const env = { ...KEYS, AWS_ENDPOINT_URL: moto.url, AWS_REGION: "eu-west-1" };
    const key = await newKey(moto.url);
    const { KMSClient } = await import("../../lib/ctl/aws/deps/aws_sdk.ts");
    const client = new KMSClient({ region: "us-east-1", endpoint: moto.url, credentials: identity });
    // By its id: moto answers an ARN with a stack trace here.
    await client.send(new DisableKeyCommand({ KeyId: key.split("/").at(-1) }));
    client.destroy();
    const disabled = await runCtl(["doctor", "-k", key, ...NOWHERE, "--json"], { env });
    assertMatch(check(disabled.stdout, "key")?.reason ?? "", /is Disabled$/);
    // The environment's region changes nothing about a key that is named by its ARN.
    assertEquals(check(disabled.stdout, "region")?.reason, "us-east-1");
    const asked = await runCtl(["doctor", "-k", key, "-r", "eu-west-1", ...NOWHERE, "--json"], { env });
    assertEquals(
      check(asked.stdout, "region")?.reason,
      "the region is eu-west-1, and the key's is us-east-1",
    );
    const gone = key.replace(/[0-9a-f]{12}$/, "000000000000");
    const missing = await runCtl(["doctor", "-k", gone, ...NOWHERE, "--json"], { env });
    assertMatch(check(missing.stdout, "key")?.reason ?? "", /NotFoundException/);
    assertEquals(missing.code, 1);
  });
}

test("the doctor finds nitro-cli, ss, ps and systemctl anywhere on PATH", async (directory) => {
  const host = "kms.us-east-1.amazonaws.com";
  const enclave = { EnclaveName: "mine", EnclaveCID: 16, State: "RUNNING", Flags: "NONE" };
  // Stand-ins: each prints what the real one would on a parent.
  const programs = {
    "nitro-cli": `case $1 in --version) echo 'Nitro CLI 1.4.2' ;; *) echo '${
      JSON.stringify([enclave])
    }' ;; esac`,
    ss: "echo 'v_str LISTEN 0 0 *:8000 *:*'",
    ps: `echo 'vsock-proxy --num_workers 20 --config ${directory}/allow.yaml 8000 ${host} 443'`,
    systemctl: "echo active",
  };
  await Deno.writeTextFile(`${directory}/allow.yaml`, `allowlist:\n- {address: ${host}, port: 443}\n`);
  for (const [name, body] of Object.entries(programs)) {
    await Deno.writeTextFile(`${directory}/${name}`, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }
  const { stdout } = await runCtl(["doctor", "-r", "us-east-1", "--timeout-ms", "200", "--json"], {
    env: { PATH: `${directory}:${Deno.env.get("PATH") ?? ""}` },
  });
  const looked = [
    "nitro-cli",
    "enclave",
    "vsock-proxy",
    "vsock-proxy-port",
    "vsock-proxy-region",
    "vsock-proxy-allow-list",
    "vsock-proxy-workers",
  ];
  assertEquals(statuses(stdout, looked), looked.map(() => "ok"), stdout);
  assertEquals(check(stdout, "vsock-proxy-port")?.reason, "something listens on vsock port 8000");
});
