/** The clients of examples/clients, run as their readers would: against the development service, and against one that attests. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { Bridge, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { exportPublicKey, importKeyPair } from "../../lib/shared/sealed/mod.ts";
import { ReceiptClient } from "../../lib/ctl/client/receipt_client.ts";
import { formatAddress, parseAddress } from "../../lib/shared/wire/address.ts";
import { Folder } from "../helpers/folder.ts";
import { PCR0, sealedRig } from "../helpers/sealed_rig.ts";
import { within } from "../helpers/deadline.ts";
import { findTool, runTool, type ToolResult } from "../helpers/tools.ts";
import { workflowRig } from "../helpers/workflow_rig.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const EXAMPLES = `${ROOT}examples/clients`;
const TSK = "1f".repeat(32);
const CREDENTIALS = { aws_access_key_id: "local", aws_secret_access_key: "local" };
/** A thousand characters beyond ASCII, so that lengths of text and of bytes differ. */
const DATA = "grüße ".repeat(170);

const IMPORTS = "import cryptography.hazmat.primitives.asymmetric.x25519";
const python = findTool([
  [`${ROOT}tests/peers/build/venv/bin/python`, "-c", IMPORTS],
  ["python3", "-c", IMPORTS],
], "the Python client, since there is no Python with cryptography (deno task build peers)");
const go = findTool([["go", "version"]], "the Go client, since there is no go (Debian: golang-go)");
const node = findTool([["node", "--version"]], "the Node client, since there is no node (Debian: nodejs)");
const chromium = findTool([
  ["chromium-headless-shell", "--version"],
  ["chromium", "--version"],
], "the page in a browser, since there is no chromium (Debian: chromium-headless-shell)");

/** The development service with a session key, behind the HTTP bridge. */
async function configuredService() {
  await using stack = new AsyncDisposableStack();
  const rig = stack.use(await workflowRig({ entry: "scripts/dev.ts", flags: ["--bind-process"] }));
  await rig.folder.write("other.hex", `${"2e".repeat(32)}\n`);
  const listen = parseBridgeListen("http://127.0.0.1:0", parseAddress);
  const { address } = rig.service;
  const bridge = stack.use(await Bridge.start({ listen, target: address }));
  const parts = {
    folder: rig.folder,
    address: formatAddress(address),
    bridge: bridge.address,
    files: { right: rig.tskFile, wrong: `${rig.folder.path}/other.hex` },
  };
  const owned = stack.move();
  return { ...parts, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Ping, data there and back, and another key than the service's. */
async function holdsUp(
  files: { readonly right: string; readonly wrong: string },
  run: (command: "ping" | "process", file: string) => Promise<ToolResult>,
): Promise<void> {
  const ping = await run("ping", files.right);
  assertEquals([ping.code, ping.stdout.trim()], [0, "pong"], ping.stderr);
  const processed = await run("process", files.right);
  assertEquals([processed.code, processed.stdout.replace(/\n$/, "")], [0, DATA], processed.stderr);
  const refused = await run("process", files.wrong);
  assertEquals(refused.code, 1, refused.stdout);
  assertStringIncludes(refused.stderr, "decrypt_failed");
}

Deno.test({
  name: "the Python client pings, has data worked on, and is told of a wrong key",
  ignore: python === undefined,
  fn: async () => {
    await using service = await configuredService();
    const script = `${EXAMPLES}/python/denclave_client.py`;
    await holdsUp(
      service.files,
      (command, file) =>
        runTool(python ?? "", [script, service.address, command, "--tsk-file", file, "--data", DATA]),
    );
  },
});

Deno.test({
  name: "the Go client pings, has data worked on, and is told of a wrong key",
  ignore: go === undefined,
  fn: async () => {
    await using service = await configuredService();
    const binary = `${service.folder.path}/client`;
    const built = await runTool(go ?? "", ["build", "-o", binary, "main.go"], {
      cwd: `${EXAMPLES}/go`,
      env: { GOTOOLCHAIN: "local", GOFLAGS: "", CGO_ENABLED: "0" },
    });
    assertEquals(built.code, 0, built.stderr);
    await holdsUp(
      service.files,
      (command, file) =>
        runTool(binary, ["-connect", service.address, "-tsk-file", file, "-data", DATA, command]),
    );
  },
});

Deno.test({
  name: "the Node client pings, has data worked on, and is told of a wrong key, through the HTTP bridge",
  ignore: node === undefined,
  fn: async () => {
    await using service = await configuredService();
    await holdsUp(
      service.files,
      (command, file) =>
        runTool(node ?? "", [
          ...[`${EXAMPLES}/node/client.mjs`, service.bridge, command],
          ...(command === "process" ? [file, DATA] : []),
        ]),
    );
  },
});

Deno.test({
  name:
    "the Python client verifies the enclave, seals for it with its own key, and trusts no other root or build",
  ignore: python === undefined,
  fn: async () => {
    const der = new Uint8Array([
      ...decodeHex("302e020100300506032b656e04220420"),
      ...new Uint8Array(32).fill(7),
    ]);
    const clientKey = await importKeyPair(der);
    const clientKeys = [await exportPublicKey(clientKey.publicKey)];
    await using rig = await sealedRig({ sealed: { required: true, clientKeys } });
    using client = await rig.connectSealed({ clientKey });
    const wrapped = await rig.kms.encrypt(rig.keyArn, decodeHex(TSK));
    await client.request({ type: "configure", encrypted_tsk: encodeBase64(wrapped), ...CREDENTIALS });
    const pem = `-----BEGIN PRIVATE KEY-----\n${encodeBase64(der)}\n-----END PRIVATE KEY-----\n`;
    await using folder = await Folder.make({ "tsk.hex": `${TSK}\n`, "client.pem": pem });
    const root = encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", rig.nsm.root)));
    const run = (pcr0: string, ...more: readonly string[]) =>
      runTool(python ?? "", [
        ...[`${EXAMPLES}/python/denclave_client.py`, formatAddress(rig.address), "process"],
        ...["--tsk-file", `${folder.path}/tsk.hex`, "--data", DATA, "--sealed", "--pcr0", pcr0, ...more],
      ]);
    const processed = await run(
      PCR0,
      "--root-sha256",
      root,
      "--client-key-file",
      `${folder.path}/client.pem`,
    );
    assertEquals([processed.code, processed.stdout.replace(/\n$/, "")], [0, DATA], processed.stderr);
    for (
      const [given, words] of [
        [[PCR0], "root is another one"],
        [["cd".repeat(48), "--root-sha256", root], "PCR 0 is"],
        [[PCR0, "--root-sha256", root], "client_not_allowed"],
      ] as const
    ) {
      const [pcr0, ...more] = given;
      const refused = await run(pcr0, ...more);
      assertEquals(refused.code, 1, refused.stdout);
      assertStringIncludes(refused.stderr, words);
    }
  },
});

const CBOR_SCRIPT = `import json, sys
from denclave_client import cbor_whole
def read(text):
    try:
        return repr(cbor_whole(bytes.fromhex(text)))
    except Exception:
        return None
print(json.dumps([read(text) for text in sys.argv[1:]]))`;
/** Python's notation of what is read; null where it is refused. */
const CBOR: readonly (readonly [string, string | null])[] = [
  ["a161618101", "{'a': [1]}"],
  ["bf61619f01ffff", "{'a': [1]}"],
  ["bf7801619b00000000000000011801ff", "{'a': [1]}"],
  ["a1013822", "{1: -35}"],
  ["bf616101616102ff", null],
  ["a20001180001", null],
  ["bf6161ff", null],
  ["bf616101", null],
  ["a16161ff", null],
  ["bf616101ff00", null],
  ["5f4101ff", null],
  ["7f6161ff", null],
  ["9f9f9f9f9f00ffffffffff", null],
];

Deno.test({
  name: "the Python client reads CBOR of definite and indefinite lengths, and refuses what is malformed",
  ignore: python === undefined,
  fn: async () => {
    const read = await runTool(python ?? "", ["-c", CBOR_SCRIPT, ...CBOR.map(([hex]) => hex)], {
      env: { PYTHONPATH: `${EXAMPLES}/python`, PYTHONDONTWRITEBYTECODE: "1" },
    });
    assertEquals(read.code, 0, read.stderr);
    assertEquals(JSON.parse(read.stdout), CBOR.map(([, value]) => value));
  },
});

/** What Node 20 and older browsers lack is taken away before the page's script runs. */
const PAGE = `<!doctype html><meta charset="utf-8"><script>
  for (const name of ["fromBase64", "fromHex"]) delete Uint8Array[name];
  for (const name of ["toBase64", "toHex"]) delete Uint8Array.prototype[name];
  for (const name of ["union", "intersection", "difference"]) delete Set.prototype[name];
  delete Promise.withResolvers;
  delete Object.groupBy;
  delete Array.fromAsync;
</script><script type="module" src="page.js"></script>`;

/** A page and its script on loopback, and what the script posts to /result. */
function servePage(script: string) {
  const result = Promise.withResolvers<unknown>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/result") result.resolve(await request.json());
    if (pathname === "/page.js") {
      return new Response(script, { headers: { "content-type": "text/javascript" } });
    }
    return new Response(PAGE, { headers: { "content-type": "text/html" } });
  });
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    result: result.promise,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function bundleForBrowser(entry: string, output: string): Promise<void> {
  const args = ["bundle", "--quiet", "--platform", "browser", "--lock=tests/deno.lock", "--frozen"];
  const { code, stderr } = await runTool(Deno.execPath(), [...args, "--output", output, entry], {
    cwd: ROOT,
  });
  assertEquals(code, 0, stderr);
}

for (const entry of ["examples/clients/browser/page.ts", "lib/shared/receipts/mod.ts"]) {
  Deno.test(`${entry} can be bundled for a browser, and needs nothing of Deno's or Node's`, async () => {
    await using folder = await Folder.make();
    await bundleForBrowser(entry, `${folder.path}/page.js`);
    const script = await Deno.readTextFile(`${folder.path}/page.js`);
    assert(!/\bDeno\b|from\s*"node:|require\("node:/.test(script));
  });
}

Deno.test({
  name:
    "a page in a browser without Uint8Array.fromBase64 verifies the enclave, seals for it and verifies a receipt, and refuses another build",
  ignore: chromium === undefined,
  fn: async () => {
    await using rig = await sealedRig({ sealed: { required: true } });
    await using folder = await Folder.make();
    using sealed = await rig.connectSealed();
    const credentials = { aws_access_key_id: "t", aws_secret_access_key: "t" };
    await sealed.request({ type: "master_key.init", enclave_id: 1, ...credentials });
    const verify = (document: Uint8Array, expected: Parameters<typeof rig.nsm.verify>[1]) =>
      rig.nsm.verify(document, expected);
    const client = new ReceiptClient(sealed, { pcrs: { 0: PCR0 }, verify });
    const { receipt, document, salts, result } = await client.sign({ digest: new Uint8Array(32) });
    const proof = JSON.stringify({
      receipt: encodeBase64(receipt),
      document: encodeBase64(document),
      salt: encodeBase64(salts?.result ?? new Uint8Array(0)),
      result: encodeBase64(result),
    });
    await bundleForBrowser("tests/helpers/browser_page.ts", `${folder.path}/page.js`);
    const given = { pcr0: PCR0, root: encodeBase64(rig.nsm.root) };
    await using page = servePage(await Deno.readTextFile(`${folder.path}/page.js`));
    await using bridge = await Bridge.start({
      listen: parseBridgeListen("http://127.0.0.1:0", parseAddress),
      target: rig.address,
      allowOrigins: [page.origin],
    });
    const query = new URLSearchParams({ ...given, bridge: bridge.address });
    const child = new Deno.Command(chromium ?? "", {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
        ...["--disable-background-networking", "--remote-debugging-port=0"],
        `--user-data-dir=${folder.path}/profile`,
        `${page.origin}/?${query}#${encodeURIComponent(proof)}`,
      ],
      env: { HOME: folder.path },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      assertEquals(await within(page.result, "the page's result", 60_000), {
        hasFromBase64: false,
        module: rig.nsm.moduleId,
        ping: "pong",
        otherBuild: "attestation_pcr",
        receipt: ["master_key.sign ok", "receipt_result"],
        awsRoot: "attestation_root",
      });
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  },
});
