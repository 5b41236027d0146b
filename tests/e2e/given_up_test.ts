/** What code inside of the serving process can still do: the production entry from source, with a workflow that tries. */
import { assertEquals } from "@std/assert";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { SealingKey } from "../../lib/crypto/sealing.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { Client } from "../../lib/parent/client.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { StubControl } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const ROOT = new URL("../..", import.meta.url);

/** The imports of deno.json, with another workflow. */
async function withPryingWorkflow(folder: string): Promise<string> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  // What Deno does with the imports of a configuration file, and not with an import map: a package's modules.
  const absolute = Object.entries(imports as Record<string, string>).flatMap(([name, target]) =>
    target.startsWith(".")
      ? [[name, new URL(target, ROOT).href]]
      : [[name, target], [`${name}/`, `${target.replace("npm:", "npm:/")}/`]]
  );
  const workflow = [
    new URL("lib/workflow.ts", ROOT).href,
    new URL("tests/helpers/prying_workflow.ts", ROOT).href,
  ];
  const path = `${folder}/import_map.json`;
  await Deno.writeTextFile(path, JSON.stringify({ imports: Object.fromEntries([...absolute, workflow]) }));
  return path;
}

Deno.test("a workflow opens no library, reads no file and no variable, and connects nowhere, whatever the process was started with", async () => {
  const folder = await Deno.makeTempDir({ prefix: "denclave-prying-" });
  try {
    using control = new StubControl();
    await using service = await ServiceProcess.start({
      command: Deno.execPath(),
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        `--config=${ROOT.pathname}deno.json`,
        `--import-map=${await withPryingWorkflow(folder)}`,
        // More than it needs: what is not given up can be used.
        "--allow-net",
        "--allow-ffi",
        "--allow-env",
        "--allow-run",
        `--allow-read=${ROOT.pathname}`,
        `${ROOT.pathname}main.ts`,
        "--listen=tcp:127.0.0.1:0",
        `--kms-key=${STUB_KEY_ARN}`,
        `--library-dir=${NATIVE_DIR}`,
        "--tsk-context=none",
      ],
      env: control.env,
    });
    const raw = crypto.getRandomValues(new Uint8Array(32));
    using key = SealingKey.take(SecretBytes.copyOf(raw));
    using client = await Client.connect(service.address);
    await client.request({
      type: "configure",
      encrypted_tsk: encodeBase64(stubWrap(raw)),
      aws_access_key_id: "AKID",
      aws_secret_access_key: "secret",
    });
    const ciphertext = encodeHex(key.seal(new Uint8Array(1)));
    const reply = await client.request({ type: "process", ciphertext });
    const worked = new TextDecoder().decode(key.open(decodeHex(String(reply["result"]))));
    assertEquals(JSON.parse(worked), []);
    assertEquals((await service.stop()).code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
