/** What `denclavectl` reads and writes: stdin and files, credentials of the provider chain, interruption, a full disk, a missing file. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeHex, encodeBase64 } from "@std/encoding";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { ctlLaunch, devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { recordingService } from "../helpers/recording_service.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { runTool } from "../helpers/tools.ts";

const TSK = "1f".repeat(32);
const BOM = "\ufeff";
const LOCAL = { aws_access_key_id: "local", aws_secret_access_key: "local" };
const PCR = "ab".repeat(48);
const KMS_KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/** PKCS #8 of an X25519 key. */
const PEM = `-----BEGIN PRIVATE KEY-----\n${
  encodeBase64(decodeHex(`302e020100300506032b656e04220420${"07".repeat(32)}`))
}\n-----END PRIVATE KEY-----\n`;

async function configuredService(folder: Folder) {
  const file = `${folder.path}/keys.json`;
  await folder.write("tsk.hex", `${TSK}\n`);
  await using kms = await LocalKms.open({ region: "us-east-1", file });
  const wrapped = await kms.encrypt(kms.keyArns[0] ?? "", decodeHex(TSK), TSK_CONTEXT);
  const service = await ServiceProcess.start(devLaunch(["--kms-local-file", file]));
  using client = await Client.connect(service.address, { timeoutMs: 20_000 });
  await client.request({ type: "configure", encrypted_tsk: encodeBase64(wrapped), ...LOCAL });
  return service;
}

Deno.test("client process takes its data from stdin or a file, byte for byte, up to what a message holds", async () => {
  await using folder = await Folder.make();
  await using service = await configuredService(folder);
  const large = "x".repeat(5_242_724);
  await folder.write("large", large);
  await folder.write("larger", `${large}x`);
  await folder.write("binary", new Uint8Array([0xff, 0x00, 0x80]));
  const run = (data: string, stdin?: string, ...more: string[]) =>
    runCtl([
      ...["client", "process", "--connect", formatAddress(service.address)],
      ...["--tsk-file", `${folder.path}/tsk.hex`, "--data", data, ...more],
    ], stdin === undefined ? {} : { stdin });
  for (const text of [`${BOM}two\nlines\n`, ""]) {
    const result = await run("-", text, "--json");
    assertEquals(result.code, 0, result.stderr);
    assertEquals(JSON.parse(result.stdout), { status: "ok", data: text });
  }
  const whole = await run(`@${folder.path}/large`);
  assertEquals([whole.code, whole.stdout.length], [0, large.length + 1], whole.stderr);
  const tooLarge = await run(`@${folder.path}/larger`);
  assertEquals(tooLarge.code, 2);
  assertStringIncludes(tooLarge.stderr, `it is longer than ${large.length} bytes`);
  const binary = await run(`@${folder.path}/binary`, undefined, "--json");
  assertEquals(JSON.parse(binary.stdout), { status: "ok", data_base64: "/wCA" });
  const unshown = await run(`@${folder.path}/binary`);
  assertEquals(unshown.code, 2);
  assertStringIncludes(unshown.stderr, "--json");
});

/** Instance metadata v2, and a container's credentials. */
function credentialServer() {
  const shown = (id: string) => ({
    Code: "Success",
    Type: "AWS-HMAC",
    AccessKeyId: id,
    SecretAccessKey: "secret",
    Token: "token",
    Expiration: new Date(Date.now() + 3_600_000).toISOString(),
    LastUpdated: new Date().toISOString(),
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/container") return Response.json(shown("FROM-CONTAINER"));
    if (request.method === "PUT" && pathname === "/latest/api/token") return new Response("session");
    // Version 2 alone: without its token there is nothing.
    if (request.headers.get("x-aws-ec2-metadata-token") !== "session") {
      return new Response(null, { status: 401 });
    }
    const roles = "/latest/meta-data/iam/security-credentials/";
    if (pathname === roles) return new Response("parent");
    if (pathname === `${roles}parent`) return Response.json(shown("FROM-IMDS"));
    return new Response(null, { status: 404 });
  });
  return { url: `http://127.0.0.1:${server.addr.port}`, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("client configure takes credentials from environment, profile, container and IMDSv2", async () => {
  await using folder = await Folder.make({
    "credentials": "[parent]\naws_access_key_id = FROM-PROFILE\naws_secret_access_key = secret\n",
  });
  await using server = credentialServer();
  await using service = recordingService(() => ({ status: "ok", msg: "configured", timestamp: "" }));
  const cases: readonly (readonly [string, Record<string, string>])[] = [
    ["FROM-ENV", { AWS_ACCESS_KEY_ID: "FROM-ENV", AWS_SECRET_ACCESS_KEY: "secret" }],
    ["FROM-PROFILE", { AWS_PROFILE: "parent", AWS_SHARED_CREDENTIALS_FILE: `${folder.path}/credentials` }],
    ["FROM-CONTAINER", { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.url}/container` }],
    ["FROM-IMDS", { AWS_EC2_METADATA_DISABLED: "false", AWS_EC2_METADATA_SERVICE_ENDPOINT: server.url }],
  ];
  for (const [id, env] of cases) {
    const result = await runCtl(
      ["client", "configure", "--connect", service.address, "--encrypted-tsk", "AAAA"],
      { env },
    );
    assertEquals(result.code, 0, `${id}: ${result.stderr}`);
    const { credential, ...request } = service.requests.at(-1) ?? {};
    assertEquals(request, { type: "configure", encrypted_tsk: "AAAA" });
    assertEquals((credential as WireObject)["aws_access_key_id"], id);
  }
  const none = await runCtl(["client", "configure", "--connect", service.address, "--encrypted-tsk", "AAAA"]);
  assertEquals([none.code, none.stderr.includes("IAM role")], [69, true], none.stderr);
  assertEquals(service.requests.length, cases.length);
});

Deno.test("account create that is interrupted says what it stored, and stores no more", async () => {
  await using folder = await Folder.make();
  const third = Promise.withResolvers<void>();
  const interrupted = Promise.withResolvers<void>();
  await using service = recordingService(async ({ name, nonce }) => {
    if (nonce !== undefined) {
      return { apiResponse: "errorResponse", status: "error", msg: "attestation_unavailable", details: "" };
    }
    if (name === "a-3") {
      third.resolve();
      await interrupted.promise;
    }
    const address = "0x5B38Da6a701c568545dCfcB03FcB875f56beddC4";
    const row = { encryptedPrivateKey: "AAAA", encryptedDataKey: "AAAA", keyId: "key", version: 1 };
    return { apiResponse: "generateResponse", content: { name, address, ...row } };
  });
  const store = `sqlite:${folder.path}/accounts.sqlite`;
  const { command, args, env = {} } = ctlLaunch([
    ...["account", "create", "--create", "-n", "a", "--count", "5000", "--json", "--store", store],
    ...["--connect", service.address],
  ]);
  const child = new Deno.Command(command, {
    args: [...args],
    env: { ...env, AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  void output.then(({ stderr }) => third.reject(new Error(new TextDecoder().decode(stderr))));
  await within(third.promise, "the third account", 60_000);
  child.kill("SIGINT");
  // The signal is there before the reply: it was sent first, and the tool looks at it before it asks for the next account.
  interrupted.resolve();
  const { code, stdout, stderr } = await within(output, "the end", 60_000);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const shown = JSON.parse(text(stdout)) as readonly { readonly name: string }[];
  assertEquals(code, 1, text(stderr));
  assert(shown.length >= 3 && shown.length < 5_000);
  assertStringIncludes(text(stderr), `Interrupted (SIGINT): ${shown.length} of 5000 accounts`);
  const listed = await runCtl(["account", "list", "--json", "--store", store]);
  const names = (rows: readonly { readonly name: string }[]) => rows.map(({ name }) => name).sort();
  assertEquals(names(JSON.parse(listed.stdout)), names(shown));
});

Deno.test("a full disk is reported as such, with its own exit code", async () => {
  const { command, args, env = {} } = ctlLaunch(["--help"]);
  for (
    const [more, expected] of [[[], "The disk is full"], [
      ["client", "ping", "--json"],
      '"code":"disk_full"',
    ]] as const
  ) {
    const given = [...args.slice(0, -1), ...more, "--help"];
    const result = await runTool("bash", ["-c", 'exec "$0" "$@" > /dev/full', command, ...given], { env });
    assertEquals(result.code, 69, result.stderr);
    assertStringIncludes(result.stderr, expected);
  }
});

Deno.test("a file with a key that other users may use is refused by every command that reads one", async () => {
  await using folder = await Folder.make({
    "tsk.hex": `${TSK}\n`,
    "client.pem": PEM,
    "access.json": '{"version":1,"accessKeys":[]}',
    "keys.json": '{"version":1,"keys":{}}',
  });
  const tcp = ["--connect", "tcp:127.0.0.1:1"];
  const readers: readonly (readonly [string, readonly string[]])[] = [
    ["tsk.hex", ["client", "process", "--tsk-file", "tsk.hex", "--data", "x", ...tcp]],
    ["client.pem", [
      ...["client", "ping", "--sealed", "--pcr", `0=${PCR}`, ...tcp],
      ...["--client-key-file", "client.pem"],
    ]],
    ["tsk.hex", ["tsk", "show", "--tsk-file", "tsk.hex"]],
    ["tsk.hex", ["tsk", "wrap", "--tsk-file", "tsk.hex", "-k", KMS_KEY]],
    ["access.json", ["emulator", "serve", "--access-keys", "access.json"]],
    ["keys.json", ["emulator", "serve", "--keys-file", "keys.json", "--listen", "tcp:127.0.0.1:0"]],
  ];
  for (const [file, args] of readers) {
    await Deno.chmod(`${folder.path}/${file}`, 0o640);
    const { code, stdout, stderr } = await runCtl(args, { cwd: folder.path });
    assertEquals([code === 0, stdout], [false, ""], args.join(" "));
    assertStringIncludes(stderr, `other users may use it (mode 640): chmod 600 ${file}`);
  }
});

Deno.test("a byte order mark at the beginning of any file that is read is dropped", async () => {
  const builds = { Measurements: { HashAlgorithm: "Sha384 { ... }", PCR0: PCR, PCR1: PCR, PCR2: PCR } };
  await using folder = await Folder.make({
    "tsk.hex": `${BOM}${TSK}\n`,
    "build.json": `${BOM}${JSON.stringify(builds)}`,
    "key.pem": `${BOM}${PEM}`,
    "transaction.json": `${BOM}{}`,
    "config.yaml": BOM + (await Deno.readTextFile(new URL("../../config/development.yaml", import.meta.url))),
  });
  const tcp = ["--connect", "tcp:127.0.0.1:1"];
  const store = `sqlite:${folder.path}/a.sqlite`;
  const commands: readonly (readonly [readonly string[], number, string])[] = [
    [["client", "process", "--tsk-file", "tsk.hex", "--data", "x", ...tcp], 69, "Cannot connect"],
    [["client", "ping", "--sealed", "--measurements", "build.json", ...tcp], 69, "Cannot connect"],
    [
      ["client", "ping", "--sealed", "--pcr", `0=${PCR}`, "--client-key-file", "key.pem", ...tcp],
      69,
      "Cannot connect",
    ],
    [
      ["account", "sign", "-n", "a", "--transaction", "transaction.json", "--store", store],
      69,
      "There is no file",
    ],
    [["tsk", "show", "--tsk-file", "tsk.hex"], 0, ""],
    [["gateway", "status", "-m", "build.json", "--config", "config.yaml"], 69, ""],
  ];
  for (const [args, code, words] of commands) {
    const result = await runCtl(args, { cwd: folder.path });
    assertEquals(result.code, code, `${args.join(" ")}: ${result.stderr}`);
    assertStringIncludes(result.stderr.toLowerCase(), words.toLowerCase());
  }
});

const KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const KEYS_OF_ENV = { AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: "secret" };

/** A command line, its environment, the exit code, and what is said. `@` is the folder of the test. */
const MISTAKES: readonly (readonly [string, readonly string[], Record<string, string>, number, string])[] = [
  [
    "a profile that is not there is named",
    ["client", "configure", "--encrypted-tsk", "AAAA"],
    { AWS_PROFILE: "nosuch" },
    69,
    "AWS_PROFILE is nosuch: check that the AWS configuration has this profile",
  ],
  [
    "a socket in a folder that is not there: the folder is named, and not vsock",
    ["bridge", "--listen", "unix:@/nodir/x", "--connect", "tcp:127.0.0.1:1"],
    {},
    69,
    "Check that the socket's folder exists and may be written to.",
  ],
  [
    "a table needs no region beside the ARN of the key",
    [
      ...["account", "create", "-n", "a", "-k", KEY, "-t", "T"],
      ...["--connect", "tcp:127.0.0.1:1", "--endpoint-url", "http://127.0.0.1:1"],
    ],
    KEYS_OF_ENV,
    69,
    "Cannot connect to tcp:127.0.0.1:1",
  ],
];
for (const [what, argv, env, code, words] of MISTAKES) {
  Deno.test(`denclavectl ${argv.slice(0, 2).join(" ")}: ${what}`, async () => {
    await using folder = await Folder.make();
    const result = await runCtl(argv.map((word) => word.replace("@", folder.path)), { env });
    assertStringIncludes(result.stderr, words);
    assertEquals([result.code, result.stderr.includes("/dev/vsock")], [code, false]);
  });
}

Deno.test("KMS denying tsk create and kms create-key exits 1, as other refusals do", async () => {
  await using folder = await Folder.make();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => Response.json({ __type: "AccessDeniedException", message: "no" }, { status: 400 }),
  );
  const more = ["--endpoint-url", `http://127.0.0.1:${server.addr.port}`];
  const commands = [
    ["tsk", "create", "--tsk-file", `${folder.path}/tsk`, "-k", KEY],
    ["kms", "create-key", "-r", "us-west-2"],
  ];
  for (const command of commands) {
    const { code, stderr } = await runCtl([...command, ...more], { env: KEYS_OF_ENV });
    assertStringIncludes(stderr, "AccessDeniedException");
    assertEquals(code, 1, command.join(" "));
  }
});

Deno.test("deno task dev does not read PORT, which other programs export", async () => {
  const launch = devLaunch([]);
  await using service = await ServiceProcess.start({ ...launch, env: { ...launch.env, PORT: "not a port" } });
  using client = await Client.connect(service.address, { timeoutMs: 20_000 });
  assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
});
