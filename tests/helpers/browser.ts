/**
 * A page in a headless browser: its script, bundled, and what it reports.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Bridge, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { parseAddress } from "../../lib/shared/wire/address.ts";
import { within } from "./deadline.ts";
import { Folder } from "./folder.ts";
import { PCR0, sealedRig } from "./sealed_rig.ts";
import { findTool, runTool } from "./tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PAGE_MS = 60_000;

/** A browser, if there is one. @param what is skipped without it */
export function findBrowser(what: string): string | undefined {
  return findTool([
    ["chromium-headless-shell", "--version"],
    ["chromium", "--version"],
  ], `${what} in a browser, since there is no chromium (Debian: chromium-headless-shell)`);
}

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

/** Bundles a page's script. @param options flags of Deno's, where the script is not this repository's */
export async function bundleForBrowser(
  entry: string,
  output: string,
  { cwd = ROOT, flags = ["--lock=tests/deno.lock", "--frozen"] }: {
    readonly cwd?: string;
    readonly flags?: readonly string[];
  } = {},
): Promise<string> {
  const args = ["bundle", "--quiet", "--platform", "browser", ...flags, "--output", output, entry];
  const { code, stderr } = await runTool(Deno.execPath(), args, { cwd });
  assertEquals(code, 0, stderr);
  return await Deno.readTextFile(output);
}

/**
 * Runs the script of browser_page.ts in a browser, behind the HTTP bridge of a service that takes sealed
 * requests only.
 */
export async function pageWorks(browser: string, script: string): Promise<void> {
  await using rig = await sealedRig({ sealed: { required: true } });
  await using folder = await Folder.make();
  const key = new Uint8Array(32).fill(7);
  const given = {
    pcr0: PCR0,
    root: encodeBase64(rig.nsm.root),
    key: encodeHex(key),
    wrapped: encodeBase64(await rig.kms.encrypt(rig.keyArn, key)),
  };
  await using page = servePage(script);
  await using bridge = await Bridge.start({
    listen: parseBridgeListen("http://127.0.0.1:0", parseAddress),
    target: rig.address,
    allowOrigins: [page.origin],
  });
  const query = new URLSearchParams({ ...given, bridge: bridge.address });
  const child = new Deno.Command(browser, {
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
      ...["--disable-background-networking", "--remote-debugging-port=0"],
      `--user-data-dir=${folder.path}/profile`,
      `${page.origin}/?${query}`,
    ],
    env: { HOME: folder.path },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    assertEquals(await within(page.result, "the page's result", PAGE_MS), {
      hasFromBase64: false,
      module: rig.nsm.moduleId,
      processed: 100_000,
      v: true,
      scheme: "ecdsa",
      receipt: ["process ok", "receipt_result"],
      unsealed: "sealed_required",
      noBridge: "connect_failed",
      otherBuild: "attestation_pcr",
      awsRoot: "attestation_root",
    });
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}
