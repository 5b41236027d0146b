/** The doctor: each check, passing and ffaulty, in a simulated environment. */
import { formatResults } from "../../../../lib/ctl/commands/doctor.ts";
import { render } from "../../../../lib/ctl/terminal/printing.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import {
  type CheckResult,
  CHECKS,
  type DoctorTarget,
  type DoctorWorld,
  examine,
  type Program,
  type Status,
} from "../../../../lib/ctl/doctor/mod.ts";
import { MIN_MEMORY_MIB } from "../../../../lib/ctl/nitro/memory.ts";
import type { CommandResult } from "../../../../lib/ctl/terminal/run_program.ts";
import { readProxy } from "../../../../lib/ctl/doctor/proxy.ts";
import {
  type KeyAdmin,
  type KeyAdminCode,
  KeyAdminError,
  type KeyDescription,
} from "../../../../lib/ctl/aws/key_admin.ts";
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
interface Fault {
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

function look(fault: Fault = {}, deadlineMs = 5_000): Promise<readonly CheckResult[]> {
  const { programs = {}, files = {}, withoutKey = false } = fault;
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
    ...fault.world,
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
    ...fault.target,
  };
  const admin: KeyAdmin = {
    describe: () => Promise.resolve(described),
    getPolicy: () => Promise.resolve(formatKeyPolicy(policy)),
    putPolicy: () => Promise.reject(new Error("the doctor changes nothing")),
    listGrants: () => Promise.resolve([]),
    callerArn: () => Promise.resolve(`arn:aws:sts::123456789012:assumed-role/EnclaveRole/i-1`),
    [Symbol.dispose]: () => {},
    ...fault.admin,
  };
  return examine(world, target, key === undefined ? undefined : admin, { deadlineMs });
}

const enclaves = (...list: readonly object[]): Fault => ({
  programs: { "nitro-cli": { stdout: JSON.stringify(list) } },
});
const prints = (program: Program, output: string | Partial<CommandResult> | undefined): Fault => ({
  programs: { [program]: typeof output === "string" ? { stdout: output } : output },
});
const allocator = (text: string | undefined): Fault => ({ files: { [ALLOCATOR]: text } });
const allowList = (text: string | undefined): Fault => ({ files: { [PROXY]: text } });
const world = (changes: Partial<DoctorWorld>): Fault => ({ world: changes });
const refuses = (call: keyof KeyAdmin, code: KeyAdminCode): Fault => ({ admin: { [call]: refusal(code) } });
const keyWith = (changes: Partial<KeyDescription>): Fault => ({
  admin: { describe: () => Promise.resolve({ ...described, ...changes }) },
});
const measured = (measurements: DoctorTarget["measurements"], fault: Fault): Fault => ({
  ...fault,
  target: { measurements },
});
const leadsTo = (host: string): Fault => proxyOf(`vsock-proxy 8000 ${host} 443`);
const proxyOf = (line: string): Fault => ({ programs: { ps: { stdout: `${line}\n` } } });
const withPolicy = (other: KeyPolicy): Fault => ({
  admin: { getPolicy: () => Promise.resolve(formatKeyPolicy(other)) },
});
const clockAt = (ms: number): Fault => ({ world: { now: () => NOW + ms } });
const expiring = (ms: number): Fault => ({
  world: {
    credentials: () =>
      Promise.resolve({ accessKeyId: "a", secretAccessKey: "b", expiration: new Date(NOW + ms) }),
  },
});
const thrown = (code: string) => () => Promise.reject(new EnclaveError(`${code}!`, { code, hint: "look" }));
const noKey: Fault = { withoutKey: true };
const onHost: Fault = { target: { address: { transport: "tcp", hostname: "127.0.0.1", port: 5000 } } };

/** By check: the problem, the check's result, and a text in its reason or remedy. */
const CASES: Readonly<Record<string, readonly (readonly [string, Fault, Status, RegExp])[]>> = {
  "allocator-service": [
    ["stopped", prints("systemctl", { code: 3, stdout: "inactive\n" }), "fail", /enable --now/],
    ["no systemctl", prints("systemctl", undefined), "skipped", /no systemctl/],
  ],
  "allocator-config": [
    ["no file", allocator(undefined), "fail", /dnf install/],
    ["no memory", allocator("cpu_count: 2\n"), "fail", /memory_mib is missing/],
    ["a pool of CPUs", allocator("memory_mib: 2048\ncpu_pool: 2,6-9\n"), "ok", /5 CPUs/],
    [
      "several enclaves",
      allocator("- memory_mib: 1024\n  cpu_count: 2\n- memory_mib: 2048\n  cpu_count: 2\n"),
      "ok",
      /3072 MiB and 4 CPUs/,
    ],
    [
      "the default's memory",
      allocator(`memory_mib: ${MIN_MEMORY_MIB}\ncpu_count: 2\n`),
      "warn",
      /2048 MiB and 2 CPUs are wanted/,
    ],
    [
      "too little memory",
      allocator(`memory_mib: ${MIN_MEMORY_MIB - 1}\ncpu_count: 2\n`),
      "fail",
      new RegExp(`set aside; ${MIN_MEMORY_MIB} MiB are the least: .*four times .*E26.*; .*320 MiB`),
    ],
  ],
  "hugepages": [
    ["none", prints("grep", "Hugetlb: 0 kB\n"), "fail", /0 MiB/],
    ["fewer than asked for", prints("grep", "Hugetlb:  1048576 kB\n"), "fail", /1024 MiB .*of 2048 MiB/],
    ["an old kernel", prints("grep", { code: 1, stdout: "" }), "skipped", /kernel/],
  ],
  "nitro-cli": [
    ["not there", prints("nitro-cli", undefined), "fail", /dnf install/],
  ],
  "enclave": [
    ["nitro-cli not there", prints("nitro-cli", undefined), "skipped", /nitro-cli/],
    ["none runs", enclaves(), "fail", /no enclave runs.*denclavectl up/s],
    ["another CID", enclaves(running(BUILD_A, { EnclaveCID: 17 })), "fail", /denclave has 17/],
    [
      "nitro-cli fails",
      prints("nitro-cli", { code: 1, stderr: "[ E36 ] Enclave boot failure" }),
      "fail",
      /E36/,
    ],
    ["output that is no list", prints("nitro-cli", "{}"), "fail", /no list/],
    ["a service on a host", onHost, "skipped", /not in an enclave/],
  ],
  "debug-mode": [
    ["on", enclaves(DEBUGGED), "fail", /zeros.*--debug-mode/s],
  ],
  "service": [
    ["refused", world({ askHealth: thrown("connect_failed") }), "fail", /connect_failed.*look/s],
    [
      "with warnings",
      world({ askHealth: () => Promise.resolve({ warnings: ["no entropy"] }) }),
      "warn",
      /no entropy/,
    ],
  ],
  "vsock-proxy": [
    ["none runs", proxyOf("bash"), "fail", /no vsock-proxy runs.*vsock-proxy 8000 kms/s],
    ["on another port", proxyOf(`vsock-proxy 8001 ${HOST} 443`), "fail", /port 8001.*8000/],
  ],
  "vsock-proxy-port": [
    ["nobody listens", prints("ss", "v_str LISTEN 0 0 *:9000 *:*"), "fail", /nothing listens/],
    ["no ss", prints("ss", undefined), "skipped", /no ss/],
  ],
  "vsock-proxy-region": [
    ["another region", leadsTo("kms.eu-west-1.amazonaws.com"), "fail", /eu-west-1.*us-east-1/],
    ["the FIPS endpoint", leadsTo("kms-fips.us-east-1.amazonaws.com"), "ok", /fips/],
    [
      "a VPC endpoint",
      leadsTo("vpce-0a1b2c3d4e5f-8k2m.kms.us-east-1.vpce.amazonaws.com"),
      "warn",
      /VPC endpoint(?!.*Stop)/s,
    ],
    ...[
      "vpce-0a1b-8k2m.kms.eu-west-1.vpce.amazonaws.com",
      "vpce-0a1b-8k2m.sts.us-east-1.vpce.amazonaws.com",
      "vpce-0a1b-8k2m.kms.us-east-1.vpce.amazonaws.com.evil.example",
    ].map((host) => [`the VPC endpoint ${host}`, leadsTo(host), "fail", /Stop it/] as const),
    ["no proxy", proxyOf(""), "skipped", /no such/],
    ["no key", noKey, "skipped", /no key/],
    [
      "the European sovereign cloud",
      {
        ...leadsTo("kms.eusc-de-east-1.amazonaws.eu"),
        target: { key: parseKeyArn(ARN.replace("aws:kms:us-east-1", "aws-eusc:kms:eusc-de-east-1")) },
      },
      "ok",
      /amazonaws\.eu/,
    ],
  ],
  "vsock-proxy-allow-list": [
    ["no file", allowList(undefined), "fail", /refuses everything/],
    ["no YAML", allowList("a: ["), "fail", /YAML/],
    ["no list", allowList("a: 1"), "fail", /no allowlist/],
    [
      "another region's alone",
      allowList("allowlist:\n- {address: kms.eu-west-1.amazonaws.com, port: 443}\n"),
      "fail",
      /does not allow kms\.us-east-1/,
    ],
    [
      "a file of its own",
      {
        ...proxyOf(`vsock-proxy 8000 ${HOST} 443 --config=/tmp/p.yaml`),
        files: { "/tmp/p.yaml": ALLOW_LIST, [PROXY]: undefined },
      },
      "ok",
      /\/tmp\/p\.yaml/,
    ],
  ],
  "vsock-proxy-workers": [
    ["one", proxyOf(`vsock-proxy -w 1 8000 ${HOST} 443`), "warn", /num_workers 4/],
    [
      "the default, for three enclaves",
      prints("nitro-cli", JSON.stringify([running(), running(), running()])),
      "warn",
      /4 connections.*3 enclaves/,
    ],
  ],
  "region": [
    ["another", { target: { region: "eu-west-1" } }, "fail", /eu-west-1.*us-east-1/],
    ["no key", noKey, "skipped", /no key/],
  ],
  "tls": [
    [
      "no way",
      world({ connectTls: () => Promise.reject(new Error("no route")) }),
      "fail",
      /no route.*VPC endpoint/s,
    ],
    ["an endpoint for development", { target: { endpoint: "http://127.0.0.1:1" } }, "skipped", /stands in/],
    ["no region", noKey, "skipped", /no key/],
  ],
  "clock": [
    ["ten minutes ahead", clockAt(600_000), "fail", /600 s ahead/],
    ["two minutes ahead", clockAt(120_000), "warn", /120 s ahead/],
    ["KMS away", world({ fetchDate: () => Promise.reject(new Error("away")) }), "skipped", /away/],
  ],
  "credentials": [
    ["none", world({ credentials: thrown("no_credentials") }), "fail", /no_credentials.*look/s],
    ["expired", expiring(-1_000), "fail", /expired at 2026/],
    ["about to expire", expiring(60_000), "warn", /until 2026/],
    ["expired, as STS says", refuses("callerArn", "credentials_expired"), "fail", /credentials_expired/],
    ["no key", noKey, "ok", /present/],
  ],
  "key": [
    ["disabled", keyWith({ state: "Disabled" }), "fail", /Disabled/],
    [
      "about to be deleted",
      { admin: { describe: () => Promise.resolve({ ...described, state: "PendingDeletion" }) } },
      "fail",
      /PendingDeletion/,
    ],
    ["not there", refuses("describe", "kms_not_found"), "fail", /kms_not_found/],
    ["no right to look", refuses("describe", "kms_denied"), "skipped", /kms:DescribeKey/],
  ],
  "key-policy": [
    ["KMS's default", withPolicy(DEFAULT_POLICY), "fail", /wildcard-action.*policy lint/s],
    ["no right to look", refuses("getPolicy", "kms_denied"), "skipped", /kms:GetKeyPolicy/],
    ["no JSON", { admin: { getPolicy: () => Promise.resolve("x") } }, "fail", /Cannot read/],
    ["grants that may not be seen", refuses("listGrants", "kms_denied"), "ok", /could not be seen/],
  ],
  "image": [
    [
      "another runs",
      enclaves(running(BUILD_B)),
      "fail",
      /PCR0 is e77498f3e26d84fb… and not 230bf212aad6ff1f…/,
    ],
    ["in debug mode", enclaves(DEBUGGED), "skipped", /debug mode/],
    ["no EIF given", { target: { measurements: undefined } }, "skipped", /-m/],
  ],
  "pcrs": [
    [
      "another EIF",
      measured(BUILD_B, enclaves()),
      "fail",
      /the EIF: EnclaveBuild230bf212aad6ff1f wants PCR0 230bf212aad6ff1f….*rollover/s,
    ],
    [
      "another enclave",
      { ...enclaves(running(BUILD_B)), target: { measurements: undefined } },
      "fail",
      /the running enclave.*e77498f3e26d84fb…/,
    ],
    ["nothing measured", measured(undefined, enclaves()), "skipped", /nothing is measured/],
    [
      "a role's PCR3",
      withPolicy(
        renderKeyPolicy({
          builds: [{ ...BUILD_A, pcr3: BUILD_B.pcr0 }],
          parents: [PARENT],
          administrators: [ADMIN],
        }),
      ),
      "warn",
      /PCR3/,
    ],
  ],
};

const ROWS = Object.entries(CASES).flatMap(([id, rows]) => rows.map((row) => [id, ...row] as const));

Deno.test("on a parent without problems, every check is ok", async () => {
  const results = await look();
  assertEquals(results.filter(({ status }) => status !== "ok"), []);
  assertEquals(results.map(({ id }) => id), CHECKS.map(({ id }) => id));
  assertEquals(
    results.find(({ id }) => id === "key-policy")?.reason,
    "lints clean, but that somebody administers it",
  );
});

for (const [id, what, fault, status, pattern] of ROWS) {
  Deno.test(`doctor: ${id}, ${what}: ${status}`, async () => {
    const result = (await look(fault)).find((one) => one.id === id);
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
  const faulty = new Set(
    ROWS.filter(([, , , status]) => status === "fail" || status === "warn").map(([id]) => id),
  );
  assertEquals(CHECKS.map(({ id }) => id).filter((id) => !faulty.has(id)), []);
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
