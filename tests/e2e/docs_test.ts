/** The documents whose commands need nothing but a clone, run as their reader would run them, each in a copy of the source. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { configurationDocument } from "../../scripts/option_tables.ts";
import { freeAddress, runDocument } from "../helpers/documented.ts";
import { Folder } from "../helpers/folder.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What a clone has, but for its tests. */
const CLONE = ["config", "docs", "examples", "ffi", "lib", "scripts", "main.ts", "deno.json", "*.lock"];
/** Addresses of the documents: each run has ports of its own. */
const ADDRESSES = ["127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.1:4599", "127.0.0.1:8080"];

/** Follows a document in a copy of the source, and gives what its blocks printed. */
async function follow(document: string): Promise<string> {
  await using folder = await Folder.make();
  const copy = await new Deno.Command("/bin/bash", {
    args: ["-euc", `cp -r ${CLONE.join(" ")} "$0"`, folder.path],
    cwd: ROOT,
  }).output();
  assert(copy.success, new TextDecoder().decode(copy.stderr));
  const addresses = Object.fromEntries(ADDRESSES.map((address) => [address, freeAddress()]));
  const [service = "", emulator = ""] = [addresses["127.0.0.1:5000"], addresses["127.0.0.1:4599"]];
  const config = `${folder.path}/config/development.yaml`;
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(
    config,
    text.replace("127.0.0.1:4599", emulator).replace("port: 5000", `port: ${service.split(":")[1]}`),
  );
  const printed = await runDocument(document, {
    cwd: folder.path,
    placeholders: addresses,
    env: {
      LISTEN: `tcp:${service}`,
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_CONFIG_FILE: "/nonexistent/config",
      AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
    },
  });
  return printed.map(({ stdout }) => stdout).join("");
}

/** Documents, with what their commands must print. */
const FOLLOWED: readonly (readonly [string, readonly RegExp[]])[] = [
  ["docs/getting-started.md", [/^(\d+) of \1 steps as expected/m, /^hello$/m, /^HELLO$/m]],
  ["docs/workflows.md", [/^\{"lines":\[\]\}$/m, /"event": ?"configured"/]],
  ["docs/session_keys.md", [/"epoch": 2/, /^hello$/m]],
  ["docs/wallet.md", [/^alice +0x[0-9a-fA-F]{40}/m, /^signature +0x[0-9a-f]{130}$/m]],
  ["docs/master_key.md", [/generated/, /epoch 2|"key_epoch": 2| 2 /]],
  ["docs/clients.md", [/"pong"/]],
  ["docs/operations.md", [/"requests"/]],
];
for (const [document, expected] of FOLLOWED) {
  Deno.test(`${document} works as written`, async () => {
    const printed = await follow(document);
    for (const pattern of expected) assertMatch(printed, pattern);
  });
}

Deno.test("docs/configuration.md has the options that the programs have", async () => {
  assertEquals(
    await Deno.readTextFile(`${ROOT}docs/configuration.md`),
    await configurationDocument(),
    "run deno task docs",
  );
});
