/** The doctor: each check, passing and failing, in a simulated environment. */
import { formatResults } from "../../../../lib/ctl/commands/doctor.ts";
import { render } from "../../../../lib/ctl/terminal/printing.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import {
  type CheckResult,
  CHECKS,
  type CommandResult,
  type DoctorTarget,
  type DoctorWorld,
  examine,
  MIN_MEMORY_MIB,
  type Program,
  type Status,
} from "../../../../lib/ctl/doctor/mod.ts";
import { readProxy } from "../../../../lib/ctl/doctor/proxy.ts";
import {
  type KeyAdmin,
  type KeyAdminCode,
  KeyAdminError,
  type KeyDescription,
} from "../../../../lib/ctl/client/key_admin.ts";
import { formatKeyPolicy, type KeyPolicy } from "../../../../lib/ctl/aws/key_policy.ts";
import { renderKeyPolicy } from "../../../../lib/ctl/policy/render.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { ADMIN, BUILD_A, BUILD_B, DEFAULT_POLICY, PARENT } from "../../../fixtures/key_policies.ts";

const ARN = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const HOST = "kms.us-east-1.amazonaws.com";
const NOW = Date.parse("2026-01-02T03:04:05Z");
const ALLOCATOR = "/etc/nitro_enclaves/allocator.yaml";
const PROXY = "/etc/nitro_enclaves/vsock-proxy.yaml";
const ALLOW_LIST = `allowlist:\n- {address: ${HOST}, port: 443}\n`;
const SS = "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port\nv_str LISTEN 0 0 3:8000 *:*\n";
const PS = `systemd\n/usr/bin/vsock-proxy 8000 ${HOST} 443 --config ${PROXY}\nps -ww\n`;

function running({ pcr0, pcr1, pcr2 } = BUILD_A, more: object = {}) {
  return {
    EnclaveName: "denclave",
    EnclaveID: "i-1-enc1",
    EnclaveCID: 16,
    NumberOfCPUs: 2,
    MemoryMiB: 2048,
    State: "RUNNING",
    Flags: "NONE",
    Measurements: { HashAlgorithm: "Sha384 { ... }", PCR0: pcr0, PCR1: pcr1, PCR2: pcr2 },
    ...more,
  };
}

const ZEROS = "0".repeat(96);
const DEBUGGED = running({ pcr0: ZEROS, pcr1: ZEROS, pcr2: ZEROS }, { Flags: "DEBUG_MODE" });
const policy = renderKeyPolicy({ builds: [BUILD_A], parents: [PARENT], administrators: [ADMIN] });
const described: KeyDescription = {
  arn: ARN,
  state: "Enabled",
  usage: "ENCRYPT_DECRYPT",
  spec: "SYMMETRIC_DEFAULT",
  origin: "AWS_KMS",
  multiRegion: false,
};

/** What differs from a parent without problems. */
interface Ailment {
  /** Programs' output; undefined: there is no such program. */
  readonly programs?: Partial<Record<Program, Partial<CommandResult> | undefined>>;
  /** Files; undefined: there is no such file. */
  readonly files?: Readonly<Record<string, string | undefined>>;
  readonly world?: Partial<DoctorWorld>;
  readonly target?: Partial<DoctorTarget>;
  readonly admin?: Partial<KeyAdmin>;
  readonly withoutKey?: boolean;
}

const WELL: Readonly<Record<Program, string>> = {
  "nitro-cli": "",
  systemctl: "active\n",
  ss: SS,
  ps: PS,
  grep: "Hugetlb:         2097152 kB\n",
};

function absent(what: string): never {
  throw new Deno.errors.NotFound(`Failed to spawn '${what}'`);
}

function refusal(code: KeyAdminCode): () => Promise<never> {
  return () =>
    Promise.reject(new KeyAdminError(`${code}, it says`, { code, hint: "a hint", cause: undefined }));
}

function look(ailment: Ailment = {}, deadlineMs = 5_000): Promise<readonly CheckResult[]> {
  const { programs = {}, files = {}, withoutKey = false } = ailment;
  const given: Readonly<Record<string, string | undefined>> = {
    [ALLOCATOR]: "---\nmemory_mib: 2048\ncpu_count: 2\n",
    [PROXY]: ALLOW_LIST,
    ...files,
  };
  const world: DoctorWorld = {
    run: (program, args) => {
      const isVersion = args[0] === "--version";
      if (Object.hasOwn(programs, program) && programs[program] === undefined) absent(program);
      const output = program === "nitro-cli" && !isVersion ? JSON.stringify([running()]) : WELL[program];
      const well = { code: 0, stdout: isVersion ? "Nitro CLI 1.3.2\n" : output, stderr: "" };
      return Promise.resolve(isVersion ? well : { ...well, ...programs[program] });
    },
    readText: (path) => Promise.resolve(given[path] ?? absent(path)),
    connectTls: () => Promise.resolve(),
    fetchDate: () => Promise.resolve(new Date(NOW).toUTCString()),
    askHealth: () => Promise.resolve({ status: "ok", configured: true, version: "0.1.0", warnings: [] }),
    credentials: () =>
      Promise.resolve({ accessKeyId: "a", secretAccessKey: "b", expiration: new Date(NOW + 3_600_000) }),
    now: () => NOW,
    ...ailment.world,
  };
  const key = withoutKey ? undefined : parseKeyArn(ARN);
  const target: DoctorTarget = {
    address: { transport: "vsock", cid: 16, port: 5000 },
    key,
    region: undefined,
    endpoint: undefined,
    measurements: BUILD_A,
    proxyPort: 8000,
    memoryMib: 2048,
    cpus: 2,
    reviewed: [ADMIN],
    parents: [PARENT],
    accepted: [],
    ...ailment.target,
  };
  const admin: KeyAdmin = {
    describe: () => Promise.resolve(described),
    getPolicy: () => Promise.resolve(formatKeyPolicy(policy)),
    putPolicy: () => Promise.reject(new Error("the doctor changes nothing")),
    listGrants: () => Promise.resolve([]),
    callerArn: () => Promise.resolve(`arn:aws:sts::123456789012:assumed-role/EnclaveRole/i-1`),
    [Symbol.dispose]: () => {},
    ...ailment.admin,
  };
  return examine(world, target, key === undefined ? undefined : admin, { deadlineMs });
}

const enclaves = (...list: readonly object[]): Ailment => ({
  programs: { "nitro-cli": { stdout: JSON.stringify(list) } },
});
const proxyOf = (line: string): Ailment => ({ programs: { ps: { stdout: `${line}\n` } } });
const withPolicy = (other: KeyPolicy): Ailment => ({
  admin: { getPolicy: () => Promise.resolve(formatKeyPolicy(other)) },
});
const clockAt = (ms: number): Ailment => ({ world: { now: () => NOW + ms } });
const expiring = (ms: number): Ailment => ({
  world: {
    credentials: () =>
      Promise.resolve({ accessKeyId: "a", secretAccessKey: "b", expiration: new Date(NOW + ms) }),
  },
});
const thrown = (code: string) => () => Promise.reject(new EnclaveError(`${code}!`, { code, hint: "look" }));
const noKey: Ailment = { withoutKey: true };
const onHost: Ailment = { target: { address: { transport: "tcp", hostname: "127.0.0.1", port: 5000 } } };

/** The check, the problem, the check's result, and a text in its reason or remedy. */
const CASES: readonly (readonly [string, string, Ailment, Status, RegExp])[] = [
  [
    "allocator-service",
    "stopped",
    { programs: { systemctl: { code: 3, stdout: "inactive\n" } } },
    "fail",
    /enable --now/,
  ],
  ["allocator-service", "no systemctl", { programs: { systemctl: undefined } }, "skipped", /no systemctl/],
  [
    "allocator-service",
    "no systemd",
    {
      programs: { systemctl: { code: 1, stdout: "", stderr: "System has not been booted with systemd" } },
    },
    "skipped",
    /not been booted/,
  ],
  ["allocator-config", "no file", { files: { [ALLOCATOR]: undefined } }, "fail", /dnf install/],
  ["allocator-config", "no YAML", { files: { [ALLOCATOR]: "a: [" } }, "fail", /YAML/],
  [
    "allocator-config",
    "no memory",
    { files: { [ALLOCATOR]: "cpu_count: 2\n" } },
    "fail",
    /memory_mib is missing/,
  ],
  ["allocator-config", "no CPUs", { files: { [ALLOCATOR]: "memory_mib: 2048\n" } }, "fail", /cpu_count/],
  [
    "allocator-config",
    "CPUs twice",
    {
      files: { [ALLOCATOR]: "memory_mib: 2048\ncpu_count: 2\ncpu_pool: 2-3\n" },
    },
    "fail",
    /exclude/,
  ],
  [
    "allocator-config",
    "a pool of CPUs",
    {
      files: { [ALLOCATOR]: "memory_mib: 2048\ncpu_pool: 2,6-9\n" },
    },
    "ok",
    /5 CPUs/,
  ],
  [
    "allocator-config",
    "several enclaves",
    {
      files: { [ALLOCATOR]: "- memory_mib: 1024\n  cpu_count: 2\n- memory_mib: 2048\n  cpu_count: 2\n" },
    },
    "ok",
    /3072 MiB and 4 CPUs/,
  ],
  [
    "allocator-config",
    "the default's memory",
    {
      files: { [ALLOCATOR]: `memory_mib: ${MIN_MEMORY_MIB}\ncpu_count: 2\n` },
    },
    "warn",
    /2048 MiB and 2 CPUs are wanted/,
  ],
  [
    "allocator-config",
    "too little memory",
    {
      files: { [ALLOCATOR]: `memory_mib: ${MIN_MEMORY_MIB - 1}\ncpu_count: 2\n` },
    },
    "fail",
    new RegExp(`set aside; ${MIN_MEMORY_MIB} MiB are the least: .*four times .*E26.*; .*320 MiB`),
  ],
  ["allocator-config", "aliases", { files: { [ALLOCATOR]: "a: &a [1]\nb: *a\n" } }, "fail", /YAML/],
  ["hugepages", "none", { programs: { grep: { stdout: "Hugetlb: 0 kB\n" } } }, "fail", /0 MiB/],
  [
    "hugepages",
    "fewer than asked for",
    {
      programs: { grep: { stdout: "Hugetlb:  1048576 kB\n" } },
    },
    "fail",
    /1024 MiB .*of 2048 MiB/,
  ],
  ["hugepages", "an old kernel", { programs: { grep: { code: 1, stdout: "" } } }, "skipped", /kernel/],
  ["nitro-cli", "not there", { programs: { "nitro-cli": undefined } }, "fail", /dnf install/],
  ["enclave", "nitro-cli not there", { programs: { "nitro-cli": undefined } }, "skipped", /nitro-cli/],
  ["enclave", "none runs", enclaves(), "fail", /no enclave runs.*run-enclave\.sh/s],
  ["enclave", "another CID", enclaves(running(BUILD_A, { EnclaveCID: 17 })), "fail", /denclave has 17/],
  ["enclave", "terminating", enclaves(running(BUILD_A, { State: "TERMINATING" })), "fail", /TERMINATING/],
  [
    "enclave",
    "nitro-cli fails",
    {
      programs: { "nitro-cli": { code: 1, stderr: "[ E36 ] Enclave boot failure" } },
    },
    "fail",
    /E36/,
  ],
  ["enclave", "output that is no list", { programs: { "nitro-cli": { stdout: "{}" } } }, "fail", /no list/],
  ["enclave", "output that is not JSON", { programs: { "nitro-cli": { stdout: "x" } } }, "fail", /JSON/],
  ["enclave", "an entry without CID", enclaves({ State: "RUNNING" }), "fail", /EnclaveCID/],
  ["enclave", "a service on a host", onHost, "skipped", /not in an enclave/],
  ["debug-mode", "on", enclaves(DEBUGGED), "fail", /zeros.*--debug-mode/s],
  ["debug-mode", "no enclave", enclaves(), "skipped", /no such enclave/],
  ["service", "refused", { world: { askHealth: thrown("connect_failed") } }, "fail", /connect_failed.*look/s],
  ["service", "silent", { world: { askHealth: thrown("no_reply") } }, "fail", /no_reply/],
  [
    "service",
    "with warnings",
    {
      world: { askHealth: () => Promise.resolve({ warnings: ["no entropy"] }) },
    },
    "warn",
    /no entropy/,
  ],
  [
    "service",
    "not configured yet",
    { world: { askHealth: () => Promise.resolve({}) } },
    "ok",
    /not configured/,
  ],
  ["vsock-proxy", "none runs", proxyOf("bash"), "fail", /no vsock-proxy runs.*vsock-proxy\.sh/s],
  ["vsock-proxy", "on another port", proxyOf(`vsock-proxy 8001 ${HOST} 443`), "fail", /port 8001.*8000/],
  [
    "vsock-proxy",
    "a shell that is about to run it",
    proxyOf("bash -c vsock-proxy"),
    "fail",
    /no vsock-proxy/,
  ],
  [
    "vsock-proxy-port",
    "nobody listens",
    { programs: { ss: { stdout: "v_str LISTEN 0 0 *:9000 *:*" } } },
    "fail",
    /nothing listens/,
  ],
  [
    "vsock-proxy-port",
    "any CID",
    { programs: { ss: { stdout: "v_str LISTEN 0 0 *:8000 *:*" } } },
    "ok",
    /8000/,
  ],
  ["vsock-proxy-port", "no ss", { programs: { ss: undefined } }, "skipped", /no ss/],
  [
    "vsock-proxy-port",
    "ss without vsock",
    { programs: { ss: { code: 255, stderr: "vsock_diag" } } },
    "skipped",
    /vsock_diag/,
  ],
  [
    "vsock-proxy-region",
    "another region",
    proxyOf("vsock-proxy 8000 kms.eu-west-1.amazonaws.com 443"),
    "fail",
    /eu-west-1.*us-east-1/,
  ],
  [
    "vsock-proxy-region",
    "another service",
    proxyOf("vsock-proxy 8000 127.0.0.1 9000"),
    "fail",
    /127\.0\.0\.1:9000/,
  ],
  [
    "vsock-proxy-region",
    "the FIPS endpoint",
    proxyOf("vsock-proxy 8000 kms-fips.us-east-1.amazonaws.com 443"),
    "ok",
    /fips/,
  ],
  [
    "vsock-proxy-region",
    "a VPC endpoint",
    proxyOf("vsock-proxy 8000 vpce-0a1b2c3d4e5f-8k2m.kms.us-east-1.vpce.amazonaws.com 443"),
    "warn",
    /VPC endpoint(?!.*Stop)/s,
  ],
  [
    "vsock-proxy-region",
    "a VPC endpoint in one zone, for FIPS",
    proxyOf("vsock-proxy 8000 vpce-0a1b2c3d4e5f-8k2m-us-east-1a.kms-fips.us-east-1.vpce.amazonaws.com 443"),
    "warn",
    /VPC endpoint(?!.*Stop)/s,
  ],
  ...[
    "vpce-0a1b-8k2m.kms.eu-west-1.vpce.amazonaws.com",
    "vpce-0a1b-8k2m.sts.us-east-1.vpce.amazonaws.com",
    "vpce-0a1b-8k2m.kms.us-east-1.vpce.amazonaws.com.evil.example",
  ].map((host) =>
    [
      "vsock-proxy-region",
      `the VPC endpoint ${host}`,
      proxyOf(`vsock-proxy 8000 ${host} 443`),
      "fail",
      /Stop it/,
    ] as const
  ),
  ["vsock-proxy-region", "no proxy", proxyOf(""), "skipped", /no such/],
  ["vsock-proxy-region", "no key", noKey, "skipped", /no key/],
  [
    "vsock-proxy-region",
    "China",
    {
      ...proxyOf("vsock-proxy 8000 kms.cn-north-1.amazonaws.com.cn 443"),
      target: { key: parseKeyArn(ARN.replace("aws:kms:us-east-1", "aws-cn:kms:cn-north-1")) },
    },
    "ok",
    /amazonaws\.com\.cn/,
  ],
  [
    "vsock-proxy-region",
    "the European sovereign cloud",
    {
      ...proxyOf("vsock-proxy 8000 kms.eusc-de-east-1.amazonaws.eu 443"),
      target: { key: parseKeyArn(ARN.replace("aws:kms:us-east-1", "aws-eusc:kms:eusc-de-east-1")) },
    },
    "ok",
    /amazonaws\.eu/,
  ],
  ["vsock-proxy-allow-list", "no file", { files: { [PROXY]: undefined } }, "fail", /refuses everything/],
  ["vsock-proxy-allow-list", "no YAML", { files: { [PROXY]: "a: [" } }, "fail", /YAML/],
  ["vsock-proxy-allow-list", "no list", { files: { [PROXY]: "a: 1" } }, "fail", /no allowlist/],
  [
    "vsock-proxy-allow-list",
    "another region's alone",
    {
      files: { [PROXY]: "allowlist:\n- {address: kms.eu-west-1.amazonaws.com, port: 443}\n" },
    },
    "fail",
    /does not allow kms\.us-east-1/,
  ],
  [
    "vsock-proxy-allow-list",
    "another port",
    {
      files: { [PROXY]: `allowlist:\n- {address: ${HOST}, port: 80}\n` },
    },
    "fail",
    /does not allow/,
  ],
  [
    "vsock-proxy-allow-list",
    "a file of its own",
    {
      ...proxyOf(`vsock-proxy 8000 ${HOST} 443 --config=/tmp/p.yaml`),
      files: { "/tmp/p.yaml": ALLOW_LIST, [PROXY]: undefined },
    },
    "ok",
    /\/tmp\/p\.yaml/,
  ],
  ["vsock-proxy-workers", "one", proxyOf(`vsock-proxy -w 1 8000 ${HOST} 443`), "warn", /num_workers 4/],
  [
    "vsock-proxy-workers",
    "the default, for three enclaves",
    {
      programs: {
        "nitro-cli": { stdout: JSON.stringify([running(), running(), running()]) },
      },
    },
    "warn",
    /4 connections.*3 enclaves/,
  ],
  ["vsock-proxy-workers", "twenty", proxyOf(`vsock-proxy --num_workers 20 8000 ${HOST} 443`), "ok", /20/],
  ["region", "another", { target: { region: "eu-west-1" } }, "fail", /eu-west-1.*us-east-1/],
  ["region", "no key", noKey, "skipped", /no key/],
  [
    "tls",
    "no way",
    { world: { connectTls: () => Promise.reject(new Error("no route")) } },
    "fail",
    /no route.*VPC endpoint/s,
  ],
  [
    "tls",
    "an endpoint for development",
    { target: { endpoint: "http://127.0.0.1:1" } },
    "skipped",
    /stands in/,
  ],
  ["tls", "no region", noKey, "skipped", /no key/],
  ["clock", "ten minutes ahead", clockAt(600_000), "fail", /600 s ahead/],
  ["clock", "ten minutes behind", clockAt(-600_000), "fail", /600 s behind/],
  ["clock", "two minutes ahead", clockAt(120_000), "warn", /120 s ahead/],
  ["clock", "KMS away", { world: { fetchDate: () => Promise.reject(new Error("away")) } }, "skipped", /away/],
  ["clock", "no Date", { world: { fetchDate: () => Promise.resolve(undefined) } }, "skipped", /no Date/],
  [
    "credentials",
    "none",
    { world: { credentials: thrown("no_credentials") } },
    "fail",
    /no_credentials.*look/s,
  ],
  ["credentials", "expired", expiring(-1_000), "fail", /expired at 2026/],
  ["credentials", "about to expire", expiring(60_000), "warn", /until 2026/],
  [
    "credentials",
    "expired, as STS says",
    { admin: { callerArn: refusal("credentials_expired") } },
    "fail",
    /credentials_expired/,
  ],
  [
    "credentials",
    "unknown to STS",
    { admin: { callerArn: refusal("credentials_refused") } },
    "fail",
    /credentials_refused/,
  ],
  ["credentials", "no key", noKey, "ok", /present/],
  [
    "key",
    "disabled",
    { admin: { describe: () => Promise.resolve({ ...described, state: "Disabled" }) } },
    "fail",
    /Disabled/,
  ],
  [
    "key",
    "about to be deleted",
    {
      admin: { describe: () => Promise.resolve({ ...described, state: "PendingDeletion" }) },
    },
    "fail",
    /PendingDeletion/,
  ],
  [
    "key",
    "for signing",
    {
      admin: {
        describe: () => Promise.resolve({ ...described, usage: "SIGN_VERIFY", spec: "ECC_NIST_P256" }),
      },
    },
    "fail",
    /SIGN_VERIFY/,
  ],
  ["key", "not there", { admin: { describe: refusal("kms_not_found") } }, "fail", /kms_not_found/],
  ["key", "no right to look", { admin: { describe: refusal("kms_denied") } }, "skipped", /kms:DescribeKey/],
  ["key-policy", "KMS's default", withPolicy(DEFAULT_POLICY), "fail", /wildcard-action.*policy lint/s],
  [
    "key-policy",
    "no right to look",
    { admin: { getPolicy: refusal("kms_denied") } },
    "skipped",
    /kms:GetKeyPolicy/,
  ],
  ["key-policy", "no JSON", { admin: { getPolicy: () => Promise.resolve("x") } }, "fail", /Cannot read/],
  [
    "key-policy",
    "a live grant",
    {
      admin: {
        listGrants: () => Promise.resolve([{ id: "g", grantee: PARENT, operations: ["ReEncryptFrom"] }]),
      },
    },
    "fail",
    /live-grant/,
  ],
  [
    "key-policy",
    "grants that may not be seen",
    { admin: { listGrants: refusal("kms_denied") } },
    "ok",
    /could not be seen/,
  ],
  [
    "key-policy",
    "material from outside",
    {
      admin: { describe: () => Promise.resolve({ ...described, origin: "EXTERNAL" }) },
    },
    "warn",
    /external-origin/,
  ],
  [
    "image",
    "another runs",
    enclaves(running(BUILD_B)),
    "fail",
    /PCR0 is e77498f3e26d84fb… and not 230bf212aad6ff1f…/,
  ],
  ["image", "in debug mode", enclaves(DEBUGGED), "skipped", /debug mode/],
  ["image", "no EIF given", { target: { measurements: undefined } }, "skipped", /-m/],
  [
    "pcrs",
    "another EIF",
    { ...enclaves(), target: { measurements: BUILD_B } },
    "fail",
    /the EIF: EnclaveBuild230bf212aad6ff1f wants PCR0 230bf212aad6ff1f….*rollover/s,
  ],
  [
    "pcrs",
    "another enclave",
    {
      ...enclaves(running(BUILD_B)),
      target: { measurements: undefined },
    },
    "fail",
    /the running enclave.*e77498f3e26d84fb…/,
  ],
  [
    "pcrs",
    "nothing measured",
    { ...enclaves(), target: { measurements: undefined } },
    "skipped",
    /nothing is measured/,
  ],
  [
    "pcrs",
    "an old nitro-cli",
    {
      ...enclaves(running(BUILD_A, { Measurements: undefined })),
      target: { measurements: undefined },
    },
    "skipped",
    /nothing is measured/,
  ],
  [
    "pcrs",
    "a role's PCR3",
    withPolicy(renderKeyPolicy({
      builds: [{ ...BUILD_A, pcr3: BUILD_B.pcr0 }],
      parents: [PARENT],
      administrators: [ADMIN],
    })),
    "warn",
    /PCR3/,
  ],
  [
    "pcrs",
    "a policy without builds",
    withPolicy(DEFAULT_POLICY),
    "fail",
    /no statement allows Decrypt with a document/,
  ],
];

Deno.test("on a parent without problems, every check is ok", async () => {
  const results = await look();
  assertEquals(results.filter(({ status }) => status !== "ok"), []);
  assertEquals(results.map(({ id }) => id), CHECKS.map(({ id }) => id));
  assertEquals(
    results.find(({ id }) => id === "key-policy")?.reason,
    "lints clean, but that somebody administers it",
  );
});

for (const [id, what, ailment, status, pattern] of CASES) {
  Deno.test(`doctor: ${id}, ${what}: ${status}`, async () => {
    const result = (await look(ailment)).find((one) => one.id === id);
    const text = `${result?.reason} ${result?.remedy}`;
    assertEquals([result?.status, text], [status, text]);
    assertMatch(text, pattern);
    assertEquals(
      result?.remedy !== undefined,
      status === "fail" || status === "warn",
      "a remedy where one is due",
    );
  });
}

Deno.test("doctor: every check has a case in which it fails, or warns", () => {
  const ailing = new Set(
    CASES.filter(([, , , status]) => status === "fail" || status === "warn").map(([id]) => id),
  );
  assertEquals(CHECKS.map(({ id }) => id).filter((id) => !ailing.has(id)), []);
});

Deno.test("doctor: a hanging check is stopped, and the others run", async () => {
  const results = await look({ world: { connectTls: () => new Promise(() => {}) } }, 50);
  assertEquals(results.filter(({ status }) => status === "fail").map(({ id }) => id), ["tls"]);
  assertMatch(results.find(({ id }) => id === "tls")?.reason ?? "", /longer than 50 ms/);
});

Deno.test("doctor: nitro-cli, ps and KMS are called once each, however many checks need them", async () => {
  const asked: string[] = [];
  await look({
    world: {
      run: (program, args) => {
        asked.push([program, ...args].join(" "));
        return Promise.resolve({
          code: 0,
          stdout: program === "ps" ? PS : JSON.stringify([running()]),
          stderr: "",
        });
      },
    },
    admin: {
      getPolicy: () => {
        asked.push("GetKeyPolicy");
        return Promise.resolve(formatKeyPolicy(policy));
      },
    },
  });
  assertEquals(asked.length, new Set(asked).size, asked.join(", "));
  assert(asked.includes("nitro-cli describe-enclaves") && asked.includes("GetKeyPolicy"));
});

Deno.test("doctor: a report has its columns, a remedy below its reason, and no character that moves the cursor", async () => {
  const results = await look(enclaves(running(BUILD_A, { EnclaveName: "\x1b[2J", EnclaveCID: 17 })));
  const text = render(formatResults(results), false);
  assertEquals(text.includes("\x1b"), false);
  assertMatch(text, /^FAIL {5}enclave {17}no enclave has CID 16/m);
  assertMatch(text, /^ +→ Give the enclave's CID/m);
  assertMatch(text, /[0-9]+ ok, [0-9]+ warn, [0-9]+ fail, [0-9]+ skipped\n$/);
  assert(render(formatResults(results), true).includes("\x1b[31mFAIL"));
});

Deno.test("a vsock-proxy's arguments are read as its own parser reads them", () => {
  const read = (line: string) => readProxy(line.split(" "));
  assertEquals(read(`vsock-proxy 8000 ${HOST} 443`), {
    port: 8000,
    host: HOST,
    remotePort: 443,
    workers: 4,
    config: PROXY,
  });
  assertEquals(read(`vsock-proxy -4 -w 9 8000 ${HOST} 443 --config /x`)?.workers, 9);
  assertEquals(read(`vsock-proxy -w9 8000 ${HOST} 443`)?.workers, 9);
  assertEquals(read(`vsock-proxy --num_workers=9 8000 ${HOST} 443`)?.workers, 9);
  assertEquals(read(`vsock-proxy --config=/x 8000 ${HOST} 443`)?.config, "/x");
  for (const line of ["vsock-proxy", "vsock-proxy --help", "grep vsock-proxy 8000 a 443", ""]) {
    assertEquals(read(line), undefined, line);
  }
});
