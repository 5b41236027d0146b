/** The parent's and the administrator's tools against the KMS emulator, as processes: no moto, no AWS account. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Folder } from "../helpers/folder.ts";
import { ctlLaunch, devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const ACCOUNT = "111122223333";
const ADMIN = `arn:aws:iam::${ACCOUNT}:role/Admin`;
const KEYS = { AWS_ACCESS_KEY_ID: "emulator", AWS_SECRET_ACCESS_KEY: "emulator" };

async function startEmulator() {
  const server = await ServiceProcess.start(ctlLaunch([
    ...["emulator", "serve", "--listen", "tcp:127.0.0.1:0", "--account", ACCOUNT, "--caller", ADMIN],
  ]));
  const [listening] = server.events("listening");
  const [keyArn] = listening?.["keys"] as string[];
  return { server, url: String(listening?.["url"]), keyArn: String(keyArn) };
}

Deno.test("a key is made with an alias and rotation, given a policy, and looked at, by the emulator alone", async () => {
  await using folder = await Folder.make();
  const { server, url } = await startEmulator();
  await using _ = server;
  const env = { ...KEYS, AWS_ENDPOINT_URL: url };
  const run = async (...args: string[]) => {
    const result = await runCtl(args, { env, cwd: folder.path });
    assertEquals(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
    return result.stdout;
  };
  const created = JSON.parse(
    await run("kms", "create-key", "-r", "us-east-1", "--alias", "mine", "--rotation", "--json"),
  );
  const pcr = "ab".repeat(48);
  await folder.write(
    "enclave.json",
    JSON.stringify({ Measurements: { HashAlgorithm: "Sha384 { ... }", PCR0: pcr, PCR1: pcr, PCR2: pcr } }),
  );
  const policy = await run(
    ...["policy", "render", "-m", "enclave.json", "--parent", `arn:aws:iam::${ACCOUNT}:role/Parent`],
    ...["--admin", ADMIN, "--inspect"],
  );
  await folder.write("policy.json", policy);
  await run("policy", "apply", "policy.json", "-k", created.arn, "--reviewed", ADMIN, "--yes");
  // Lint of the key itself reads its policy, its grants and who the caller is.
  const lint = await runCtl(["policy", "lint", "-k", created.arn, "--reviewed", ADMIN], {
    env,
    cwd: folder.path,
  });
  assert(lint.code === 0, lint.stdout + lint.stderr);
});

Deno.test("a session key wrapped by the emulator is opened by the service, and its epoch is bound", async () => {
  await using folder = await Folder.make();
  const { server, url, keyArn } = await startEmulator();
  await using _ = server;
  const wrapped = await runCtl(["tsk", "create", "-k", keyArn, "--tsk-file", "tsk.hex"], {
    env: { ...KEYS, AWS_ENDPOINT_URL: url },
    cwd: folder.path,
  });
  assertEquals(wrapped.code, 0, wrapped.stderr);
  await using service = await ServiceProcess.start(
    devLaunch(["--kms", "aws", "--kms-endpoint-url", url, "--kms-key", keyArn]),
  );
  const env = { ...KEYS, DENCLAVE_CONNECT: String(service.events("listening")[0]?.["address"]) };
  const configured = await runCtl(["client", "configure", "--encrypted-tsk", wrapped.stdout.trim()], { env });
  assertEquals(configured.code, 0, configured.stderr);
  const processed = await runCtl(["client", "process", "--tsk-file", "tsk.hex", "--data", "hello"], {
    env,
    cwd: folder.path,
  });
  assertMatch(processed.stdout, /hello/);
});

Deno.test("config/development.yaml works against the emulator as shipped, but for its port", async () => {
  await using folder = await Folder.make();
  const { server, url } = await startEmulator();
  await using _ = server;
  const shipped = await Deno.readTextFile(new URL("../../config/development.yaml", import.meta.url));
  assert(shipped.includes('"alias/denclave"'));
  await using service = await ServiceProcess.start(
    devLaunch(["--kms", "aws", "--kms-endpoint-url", url, "--kms-key", "alias/denclave"]),
  );
  const [, port = ""] = /:(\d+)$/.exec(String(service.events("listening")[0]?.["address"])) ?? [];
  await folder.write(
    "gateway.yaml",
    shipped.replace("port: 5000", `port: ${port}`),
  );
  const env = { ...KEYS };
  const init = ["gateway", "init", "--new", "--accept-unproven-origin", "1", "--config", "gateway.yaml"];
  const made = await runCtl(init, { env, cwd: folder.path });
  assertEquals(made.code, 0, made.stdout + made.stderr);
  const sign = ["gateway", "sign", "--config", "gateway.yaml", "--digest", `0x${"11".repeat(32)}`];
  const unproven = await runCtl(sign, { env, cwd: folder.path });
  assertEquals([unproven.code, unproven.stdout], [1, ""]);
  assert(unproven.stderr.startsWith("Cannot show where the master key of enclave 1 comes from"));
  const signed = await runCtl([...sign, "--accept-unproven-origin", "1"], { env, cwd: folder.path });
  assertEquals(signed.code, 0, signed.stdout + signed.stderr);
});

Deno.test("a root that is not a certificate is refused", async () => {
  await using folder = await Folder.make({ "root.der": "garbage" });
  const args = ["emulator", "serve", "--root", "root.der", "--listen", "tcp:127.0.0.1:0"];
  const { code, stderr } = await runCtl(args, { cwd: folder.path });
  assertEquals(code, 2);
  assertMatch(stderr, /root\.der for --root: it is not an X\.509 certificate/);
});
