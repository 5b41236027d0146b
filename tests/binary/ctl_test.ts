/** The compiled `denclavectl`, on a machine without Deno, npm or a home folder: a command of every group works. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { COMMANDS } from "../../lib/ctl/commands/main.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { BUILD_A, PARENT, ROOT } from "../fixtures/key_policies.ts";
import { imageOf, smallParts } from "../fixtures/eif.ts";
import { Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { makeReproduction } from "../helpers/reproduction.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { realDocuments } from "../helpers/vectors.ts";

const CTL = `${NATIVE_DIR}/denclavectl`;
const RUN_MS = 60_000;
const ENV = {
  PATH: "/nonexistent",
  HOME: "/nonexistent",
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_ACCESS_KEY_ID: "AKIATEST",
  AWS_SECRET_ACCESS_KEY: "secret",
  AWS_REGION: "us-east-1",
};

async function ctl(args: readonly string[], cwd = "/", env: Readonly<Record<string, string>> = {}) {
  const command = new Deno.Command(CTL, {
    args: [...args],
    cwd,
    env: { ...ENV, ...env },
    clearEnv: true,
    stdin: "null",
  });
  const { code, stdout, stderr } = await within(command.output(), args.join(" "), RUN_MS);
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

const startService = () =>
  ServiceProcess.start({ command: `${NATIVE_DIR}/denclave-dev`, args: ["--listen", "tcp:127.0.0.1:0"] });

Deno.test("denclavectl: output that is closed early, as by head, ends it without an error message", async () => {
  const { stderr } = await new Deno.Command("sh", {
    args: ["-c", '(sleep 1; "$0" --help; echo $? >&2) | true', CTL],
    stdin: "null",
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "141\n");
});

Deno.test("denclavectl: client, account and bridge reach a service; stores are relative to the caller's folder", async () => {
  await using folder = await Folder.make();
  await using service = await startService();
  const connect = ["--connect", formatAddress(service.address)];
  const ping = await ctl(["client", "ping", "--json", ...connect]);
  assertEquals([ping.code, ping.stderr, JSON.parse(ping.stdout).msg], [0, "", "pong"]);
  const bare = await ctl(["account", "list", "--store", "sqlite:a.sqlite"], folder.path);
  assertStringIncludes(bare.stdout + bare.stderr, `There is no file ${folder.path}/a.sqlite`);
  await using bridge = await ServiceProcess.start({
    command: CTL,
    args: ["bridge", "--listen", "tcp:127.0.0.1:0", ...connect, "--json"],
  });
  using client = await Client.connect(bridge.address);
  assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
  assertEquals((await bridge.stop("SIGINT")).code, 0);
});

Deno.test("denclavectl: eif and attest read files by relative paths", async () => {
  await using folder = await Folder.make({ "a.eif": await imageOf(smallParts()), "document": "no document" });
  const described = await ctl(["eif", "describe", "a.eif", "--json"], folder.path);
  assertEquals([described.code, described.stderr], [0, ""]);
  assertMatch(JSON.parse(described.stdout).Measurements.PCR0, /^[0-9a-f]{96}$/);
  assertEquals((await ctl(["eif", "verify", "a.eif"], folder.path)).code, 0);
  const attest = await ctl(["attest", "verify", "document", "--pcr", `0=${"ab".repeat(48)}`], folder.path);
  assertEquals([attest.code, attest.stdout], [2, ""], attest.stderr);
  assertStringIncludes(attest.stderr, "Cannot read a document from document: it is text");
  const reproduce = await ctl(["eif", "reproduce", "none.json"], folder.path);
  assertEquals([reproduce.code, reproduce.stderr.includes("Cannot read none.json")], [2, true]);
});

const real = realDocuments();
if (real !== undefined) {
  Deno.test("denclavectl: a document that AWS signed in December 2025 is verified, and a debug enclave's is refused", async () => {
    const { production2025, debug2025 } = real;
    await using folder = await Folder.make({
      "document": production2025.bytes,
      "hex.json": JSON.stringify({ attestation_doc: encodeHex(production2025.bytes) }),
      "debug": debug2025.bytes,
    });
    const pcr0 =
      "eb7d0dab08ff41546d7e5659aee883af7b32bb2e58e46815b719f9f7bfae7b880188a10d86317e6509923740526cf74a";
    const verify = (file: string) =>
      ctl(
        ["attest", "verify", file, "--pcr", `0=${pcr0}`, "--at", "made", "--insecure-skip-nonce"],
        folder.path,
      );
    for (const file of ["document", "hex.json"]) {
      const verified = await verify(file);
      assertEquals(verified.code, 0, verified.stderr);
      assertStringIncludes(verified.stdout, pcr0);
    }
    const refused = await verify("debug");
    assertEquals([refused.code, refused.stdout], [1, ""], refused.stderr);
    assertStringIncludes(refused.stderr, "debug mode");
  });
}

Deno.test("denclavectl: eif reproduce names Deno where there is none", async () => {
  const provenance = {
    image: { sha256: "", architecture: "x86_64" },
    measurements: {},
    program: {
      ...{ file: "denclave", sha256: "", deno: "2.9.6", bundle_sha256: "" },
      ...{ git_commit: "ab".repeat(20), dirty: false, options: {} },
    },
    source_date_epoch: 0,
    cmdline: "",
    cmd: ["/app/denclave"],
    env: {},
    metadata: {
      ...{ ImageName: "", ImageVersion: "" },
      BuildMetadata: { OperatingSystem: "", KernelVersion: "" },
    },
    inputs: [],
  };
  await using folder = await Folder.make({ "p.json": JSON.stringify(provenance) });
  const { code, stderr } = await ctl(["eif", "reproduce", "p.json"], folder.path);
  assertEquals(code, 69, stderr);
  assertStringIncludes(stderr, "needs Deno on PATH");
  // A running enclave is asked before anything that takes long; this service has no NSM.
  await using service = await startService();
  const attest = ["--attest", "--connect", formatAddress(service.address), "--json"];
  const refused = await ctl(["eif", "reproduce", "p.json", ...attest], folder.path);
  assertEquals([refused.code, JSON.parse(refused.stderr).error.code], [1, "attestation_unavailable"]);
});

Deno.test("denclavectl: eif reproduce works where Deno lies in the folder for temporary files", async () => {
  const { folder, args, path } = await makeReproduction();
  await using _removed = folder;
  await Deno.mkdir(`${folder.path}/out`);
  const built = await ctl(["eif", "build", "--manifest", `${folder.path}/enclave.yaml`]);
  assertEquals(built.code, 0, built.stderr);
  const { code, stdout, stderr } = await ctl(args, "/", { PATH: path, TMPDIR: folder.path });
  assertEquals([code, stdout.endsWith("The same image.\n")], [0, true], stdout + stderr);
  const left = [...Deno.readDirSync(folder.path)].filter(({ name }) => name.startsWith("denclave-"));
  assertEquals(left, []);
});

Deno.test("denclavectl: policy render makes what policy lint reads", async () => {
  const { pcr0 = "", pcr1 = "", pcr2 = "" } = BUILD_A;
  const measurements = { Measurements: { PCR0: pcr0, PCR1: pcr1, PCR2: pcr2 } };
  await using folder = await Folder.make({ "m.json": JSON.stringify(measurements) });
  const render = await ctl(
    ["policy", "render", "-m", "m.json", "--parent", PARENT, "--admin", ROOT],
    folder.path,
  );
  assertEquals(render.code, 0, render.stderr);
  await folder.write("policy.json", render.stdout);
  const lint = await ctl(["policy", "lint", "policy.json", "--json"], folder.path);
  assertEquals([[0, 1].includes(lint.code), lint.stderr], [true, ""]);
  JSON.parse(lint.stdout);
});

Deno.test("denclavectl: emulator serves, and kms makes a key there by the AWS SDK that is within", async () => {
  await using emulator = await ServiceProcess.start({
    command: CTL,
    args: ["emulator", "serve", "--listen", "tcp:127.0.0.1:0"],
  });
  const url = String(emulator.events("listening")[0]?.["url"]);
  const { code, stdout, stderr } = await ctl(["kms", "create-key", "--endpoint-url", url, "--json"]);
  assertEquals(code, 0, stderr);
  assertMatch(JSON.parse(stdout).arn, /^arn:aws:kms:us-east-1:/);
  assertEquals((await emulator.stop("SIGINT")).code, 0);
});

Deno.test("denclavectl: doctor, gateway and DynamoDB report what is missing", async () => {
  const key = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000";
  const url = ["--endpoint-url", "http://127.0.0.1:1"];
  const doctor = await ctl(["doctor", "-k", key, "--json", ...url]);
  assertEquals(doctor.code, 1, doctor.stderr);
  JSON.parse(doctor.stdout);
  const gateway = await ctl(["gateway", "status", "--json"], "/tmp");
  assertEquals([[1, 2, 69].includes(gateway.code), JSON.parse(gateway.stderr).error.message !== ""], [
    true,
    true,
  ]);
  const table = await ctl(["account", "list", "--store", "dynamodb", ...url]);
  assertEquals([table.code, table.stderr.includes("Cannot list in DynamoDB")], [69, true], table.stderr);
});

Deno.test("denclavectl: every command shows its help, and completion has it", async () => {
  await Promise.all(COMMANDS.map(async ({ path }) => {
    const words = path.split(" ");
    const { code, stdout, stderr } = await ctl([...words, "--help"]);
    assertEquals([code, stderr, stdout.startsWith(`usage: denclavectl ${path}`)], [0, "", true], path);
    assertStringIncludes((await ctl(["completion", "words", "--", ...words])).stdout, words.at(-1) ?? "");
  }));
});
