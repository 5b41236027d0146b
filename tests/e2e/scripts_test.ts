/** The scripts of operation: their help, what they would run, and what they do with programs that stand in for the real ones. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { openKeyAdmin } from "../../lib/ctl/aws/open_key_admin.ts";
import { MIN_MEMORY_MIB } from "../../lib/ctl/doctor/mod.ts";
import { readKeyPolicy } from "../../lib/ctl/aws/key_policy.ts";
import { renderKeyPolicy } from "../../lib/ctl/policy/render.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { BUILD_A, BUILD_B, PARENT, ROOT } from "../fixtures/key_policies.ts";
import { KMS_HOSTS } from "../fixtures/regions.ts";
import { hasMoto, shellcheckPath, startMoto } from "../helpers/peers.ts";
import { within } from "../helpers/deadline.ts";

const SCRIPTS = new URL("../../scripts/", import.meta.url).pathname;
const NAMES = ["build-eif", "run-enclave", "setup-kms", "vsock-proxy"] as const;
const RUN_MS = 60_000;

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function runScript(
  name: (typeof NAMES)[number],
  args: readonly string[],
  { env = {}, cwd = "/tmp" }: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<Result> {
  const { code, stdout, stderr } = await within(
    new Deno.Command("bash", {
      args: [`${SCRIPTS}${name}.sh`, ...args],
      cwd,
      env: { DENCLAVE_REGION: "", AWS_REGION: "", ...env },
      stdin: "null",
    }).output(),
    `${name}.sh ${args.join(" ")}`,
    RUN_MS,
  );
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A folder with programs of the test's own, to be found first, and the list of how they were called. */
async function standIns(programs: Readonly<Record<string, string>>) {
  const folder = await Deno.makeTempDir({ prefix: "denclave-scripts-" });
  const log = `${folder}/calls`;
  await Deno.writeTextFile(log, "");
  for (const [name, body] of Object.entries(programs)) {
    const text = `#!/bin/bash\nprintf '%s\\n' "${name} $*" >>'${log}'\n${body}\n`;
    await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o755 });
  }
  return {
    folder,
    env: { PATH: `${folder}:${Deno.env.get("PATH")}` },
    calls: async () => (await Deno.readTextFile(log)).trim().split("\n"),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

for (const name of NAMES) {
  Deno.test(`${name}.sh has its help, and refuses options that are none or that lack their value`, async () => {
    const help = await runScript(name, ["--help"]);
    assertEquals([help.code, help.stderr], [0, ""]);
    assertMatch(help.stdout, new RegExp(`^  scripts/${name}\\.sh `, "m"));
    for (const option of ["--dry-run", "--help"]) assert(help.stdout.includes(`  ${option} `), option);
    assertEquals(help.stdout.includes("set -euo"), false);
    const unknown = await runScript(name, ["--nope"]);
    assertEquals([unknown.code, unknown.stderr.includes("unknown option --nope")], [2, true]);
    const last = [...help.stdout.matchAll(/^ {2}(--[a-z-]+) [A-Z]+ /gm)].at(-1)?.[1] ?? "";
    const lacking = await runScript(name, [last]);
    assertEquals([lacking.code, lacking.stderr.includes(`${last} needs a value`)], [2, true], last);
  });
}

const ROOT_FOLDER = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** Arguments, and the lines that a dry run prints. */
const DRY_RUNS: readonly (readonly [(typeof NAMES)[number], readonly string[], readonly string[]])[] = [
  ["run-enclave", [], [
    `nitro-cli run-enclave --eif-path /tmp/build/enclave.eif --cpu-count 2 --memory 2048 --enclave-cid 16`,
    "deno task --quiet ctl client health --connect vsock:16:5000 --timeout-ms 2000",
  ]],
  ["run-enclave", ["--eif", "a b.eif", "--cpus", "4", "--memory", "512", "--cid", "20", "--port", "6000"], [
    "nitro-cli run-enclave --eif-path /tmp/a\\ b.eif --cpu-count 4 --memory 512 --enclave-cid 20",
    "deno task --quiet ctl client health --connect vsock:20:6000 --timeout-ms 2000",
  ]],
  ["build-eif", ["--lib-dir", "libs", "--ca-bundle", "ca.crt", "--", "--env", "KMS_KEYS=x"], [
    "mkdir -p /tmp/build",
    "deno task --quiet compile --output /tmp/build/denclave",
    "deno task --quiet ctl eif build --binary /tmp/build/denclave --lib-dir /tmp/libs --ca-bundle /tmp/ca.crt --output /tmp/build/enclave.eif --env KMS_KEYS=x",
    "deno task --quiet ctl eif describe /tmp/build/enclave.eif --json > /tmp/build/enclave.json",
  ]],
  ["build-eif", ["--docker", "denclave:1", "--output", "/x/e.eif"], [
    "mkdir -p /x",
    "nitro-cli build-enclave --docker-uri denclave:1 --output-file /x/e.eif",
    "nitro-cli describe-eif --eif-path /x/e.eif > /x/e.json",
  ]],
  ["setup-kms", ["key", "--region", "us-east-1", "--parent", PARENT, "--admin", ROOT, "--alias", "x"], [
    "deno task --quiet ctl kms create-key --region us-east-1 --rotation --json --alias x",
    `deno task --quiet ctl policy init -k arn:aws:kms:us-east-1:111122223333:key/the-new-one --parent ${PARENT} --admin ${ROOT} -f /tmp/denclave-policy.yaml`,
  ]],
  ["setup-kms", ["policy", "--yes"], [
    "mkdir -p /tmp/build",
    "deno task --quiet ctl policy render -f /tmp/denclave-policy.yaml > /tmp/build/key-policy.json",
    "deno task --quiet ctl policy apply /tmp/build/key-policy.json -f /tmp/denclave-policy.yaml --yes",
  ]],
  ["vsock-proxy", ["--region", "us-east-1"], [
    "vsock-proxy --num_workers 20 --config /etc/nitro_enclaves/vsock-proxy.yaml 8000 kms.us-east-1.amazonaws.com 443",
  ]],
];
for (const [name, args, lines] of DRY_RUNS) {
  Deno.test(`${name}.sh --dry-run ${args.join(" ")} prints what it would run, and runs nothing`, async () => {
    await using programs = await standIns({ "nitro-cli": "", deno: "", mkdir: "", "vsock-proxy": "" });
    const { code, stdout, stderr } = await runScript(name, ["--dry-run", ...args], { env: programs.env });
    assertEquals([code, stderr, stdout.trim().split("\n")], [0, "", [...lines]]);
    assertEquals(await programs.calls(), [""]);
  });
}

Deno.test("vsock-proxy.sh leads to the host that the SDK asks for, in every partition", async () => {
  for (const [region, , host] of KMS_HOSTS) {
    const { stdout } = await runScript("vsock-proxy", ["--dry-run", "--region", region]);
    assertEquals(stdout.trim().split(" ").slice(-2), [host, "443"]);
  }
});

const WRONG: readonly (readonly [(typeof NAMES)[number], readonly string[], number, string])[] = [
  ["run-enclave", ["--cid", "3"], 2, "--cid must be a whole number from 4"],
  ["run-enclave", ["--memory", String(MIN_MEMORY_MIB - 1)], 2, `from ${MIN_MEMORY_MIB} to`],
  ["run-enclave", ["--eif", "/nonexistent.eif"], 69, "build-eif.sh makes it"],
  ["build-eif", [], 2, "--lib-dir and --ca-bundle, or --docker"],
  ["setup-kms", ["key", "--region", "us-east-1", "--parent", "p", "--admin", ROOT], 2, "p is not an IAM ARN"],
  ["setup-kms", ["policy", "--file", "/nonexistent"], 69, "setup-kms.sh key writes it"],
  ["vsock-proxy", ["--region", "us-east-1.evil.example"], 2, "is not a region"],
  [
    "vsock-proxy",
    ["--region", "us-east-1", "--config", "/nonexistent"],
    69,
    "- {address: kms.us-east-1.amazonaws.com, port: 443}",
  ],
];
for (const [name, args, code, message] of WRONG) {
  Deno.test(`${name}.sh ${args.join(" ")} ends with ${code}`, async () => {
    const result = await runScript(name, args);
    assertEquals([result.code, result.stderr.includes(message)], [code, true], result.stderr);
  });
}

Deno.test("the least memory of an enclave is the same in run-enclave.sh and in the documents", async () => {
  const { code, stderr } = await runScript("run-enclave", ["--dry-run", "--memory", String(MIN_MEMORY_MIB)]);
  assertEquals([code, stderr], [0, ""]);
  const operations = await Deno.readTextFile(`${SCRIPTS}../docs/operations.md`);
  assertEquals(
    new Set(operations.match(/(?<=less than |at least )[0-9]+(?= MiB)/g)),
    new Set([`${MIN_MEMORY_MIB}`]),
  );
  const options = await Deno.readTextFile(`${SCRIPTS}../docs/configuration.md`);
  assertMatch(options, new RegExp(`memory that the enclave needs, at least ${MIN_MEMORY_MIB} `));
});

Deno.test("run-enclave.sh waits until the service answers", async () => {
  await using programs = await standIns({
    "nitro-cli": "",
    // The third time it is there.
    deno: `[[ $(grep -c '^deno ' "\${0%/*}/calls") -ge 3 ]]`,
  });
  await Deno.writeTextFile(`${programs.folder}/e.eif`, "an image");
  const { code, stdout, stderr } = await runScript("run-enclave", ["--eif", "e.eif", "--cid", "20"], {
    env: { ...programs.env, POLL_S: "0.01" },
    cwd: programs.folder,
  });
  assertEquals([code, stderr, stdout], [0, "", "the enclave with CID 20 answers on port 5000\n"]);
  assertEquals((await programs.calls()).map((line) => line.split(" ")[0]), [
    "nitro-cli",
    "deno",
    "deno",
    "deno",
  ]);
});

Deno.test("run-enclave.sh gives up in time, and names the doctor", async () => {
  await using programs = await standIns({ "nitro-cli": "", deno: "echo no connection >&2; exit 69" });
  await Deno.writeTextFile(`${programs.folder}/e.eif`, "an image");
  const { code, stderr } = await runScript("run-enclave", ["--eif", "e.eif", "--timeout", "1"], {
    env: { ...programs.env, POLL_S: "0.1" },
    cwd: programs.folder,
  });
  assertEquals(code, 1);
  assertMatch(stderr, /no connection[^]*deno task --quiet ctl doctor --cid 16/);
});

Deno.test("run-enclave.sh ends with nitro-cli's exit code when that fails, and does not wait", async () => {
  await using programs = await standIns({ "nitro-cli": "echo E36 >&2; exit 36", deno: "" });
  await Deno.writeTextFile(`${programs.folder}/e.eif`, "an image");
  const { code, stderr } = await runScript("run-enclave", ["--eif", "e.eif"], {
    env: programs.env,
    cwd: programs.folder,
  });
  assertEquals([code, stderr, (await programs.calls()).length], [36, "E36\n", 1]);
});

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** A PATH with what scripts need of a system, and these. */
async function pathWith(...names: readonly string[]) {
  const programs = await standIns(Object.fromEntries(names.map((name) => [name, ""])));
  for (const name of ["bash", "sed", "readlink", "dirname"]) {
    const found = (Deno.env.get("PATH") ?? "").split(":").map((folder) => `${folder}/${name}`);
    const path = found.find(isFile) ?? "";
    await Deno.symlink(path, `${programs.folder}/${name}`);
  }
  return programs;
}

const PROGRAMS: readonly (readonly [readonly string[], RegExp])[] = [
  [["denclavectl", "deno", "npx"], /^denclavectl client health /m],
  [["deno", "npx"], /^deno task --quiet ctl client health /m],
  [["npx"], /^npx --yes deno@2\.[0-9]+\.[0-9]+ task --quiet ctl client health /m],
];
for (const [names, expected] of PROGRAMS) {
  Deno.test(`scripts use ${names[0]} where there is ${names.join(", ")}`, async () => {
    await using programs = await pathWith(...names);
    const { code, stdout, stderr } = await runScript("run-enclave", ["--dry-run"], {
      env: { PATH: programs.folder },
    });
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout.replaceAll(/^\S+\/dist\/denclavectl /gm, `${names[0]} `), expected);
  });
}

Deno.test("vsock-proxy.sh becomes vsock-proxy where the allow-list has the host", async () => {
  await using programs = await standIns({ "vsock-proxy": "exit 7" });
  const config = `${programs.folder}/allow.yaml`;
  await Deno.writeTextFile(config, "allowlist:\n- {address: kms.us-east-1.amazonaws.com, port: 443}\n");
  const { code } = await runScript("vsock-proxy", ["--config", config], {
    env: { ...programs.env, AWS_REGION: "us-east-1" },
  });
  assertEquals([code, await programs.calls()], [7, [
    `vsock-proxy --num_workers 20 --config ${config} 8000 kms.us-east-1.amazonaws.com 443`,
  ]]);
});

Deno.test("build-eif.sh leaves no measurements of an image that could not be described", async () => {
  await using programs = await standIns({
    "nitro-cli": `[[ $1 == build-enclave ]] || { echo '{"half'; exit 5; }`,
  });
  const output = `${programs.folder}/e.eif`;
  const { code } = await runScript("build-eif", ["--docker", "x", "--output", output], { env: programs.env });
  const left = Array.from(Deno.readDirSync(programs.folder), ({ name }) => name).sort();
  assertEquals([code, left], [5, ["calls", "nitro-cli"]]);
});

const shellcheck = shellcheckPath();
if (shellcheck !== undefined) {
  Deno.test("shellcheck has nothing to say about any script", async () => {
    const files = Array.from(Deno.readDirSync(SCRIPTS), ({ name }) => name).filter((name) =>
      name.endsWith(".sh")
    );
    assertEquals(files.length >= NAMES.length + 1, true);
    const { code, stdout } = await new Deno.Command(shellcheck, {
      args: ["--external-sources", "--source-path", "SCRIPTDIR", ...files.map((file) => `${SCRIPTS}${file}`)],
      cwd: ROOT_FOLDER,
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, ""]);
  });
}

if (hasMoto()) {
  Deno.test({
    name: "setup-kms.sh makes a key before the image, then its policy, then lets the next image in too",
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      await using moto = await startMoto();
      const cwd = await Deno.makeTempDir({ prefix: "denclave-setup-" });
      const env = {
        AWS_ENDPOINT_URL: moto.url,
        AWS_ACCESS_KEY_ID: "made-for-tests",
        AWS_SECRET_ACCESS_KEY: "made-for-tests",
        AWS_EC2_METADATA_DISABLED: "true",
        // The Deno that runs the tests, whatever is on PATH.
        PATH: `${Deno.execPath().replace(/\/[^/]+$/, "")}:${Deno.env.get("PATH")}`,
      };
      try {
        const measure = (file: string, { pcr0, pcr1, pcr2 }: typeof BUILD_A) =>
          Deno.writeTextFile(
            `${cwd}/build/${file}.json`,
            JSON.stringify({ Measurements: { PCR0: pcr0, PCR1: pcr1, PCR2: pcr2 } }),
          );
        await Deno.mkdir(`${cwd}/build`);
        const keyStep = ["key", "--region", "us-east-1", "--parent", PARENT, "--admin", ROOT];
        const made = await runScript("setup-kms", keyStep, { env, cwd });
        assertEquals(made.code, 0, made.stdout + made.stderr);
        const [, arn = ""] = /^(arn:aws:kms:\S+)\n$/.exec(made.stdout) ?? [];
        const again = await runScript("setup-kms", keyStep, { env, cwd });
        assertEquals([again.code, again.stderr.includes("is there already")], [1, true], again.stderr);
        for (const [file, build] of [["enclave", BUILD_A], ["next", BUILD_B]] as const) {
          await measure(file, build);
          if (file === "next") {
            await Deno.writeTextFile(`${cwd}/denclave-policy.yaml`, "  - build/next.json\n", {
              append: true,
            });
          }
          const put = await runScript("setup-kms", ["policy", "--yes"], { env, cwd });
          assertEquals(put.code, 0, put.stdout + put.stderr);
        }
        const credentials = new CredentialSource(() =>
          Promise.resolve({ accessKeyId: "made-for-tests", secretAccessKey: "made-for-tests" })
        );
        using admin = openKeyAdmin({ key: parseKeyArn(arn), credentials, endpoint: moto.url });
        assertEquals(
          readKeyPolicy(await admin.getPolicy()),
          renderKeyPolicy({
            builds: [BUILD_A, BUILD_B],
            parents: [PARENT],
            administrators: [ROOT],
            inspect: true,
          }),
        );
      } finally {
        await Deno.remove(cwd, { recursive: true });
      }
    },
  });
}
