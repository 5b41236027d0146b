/**
 * The shell scripts of the repository, by shellcheck; the least memory of an enclave, in the documents and in
 * the programs.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { MIN_MEMORY_MIB } from "../../lib/ctl/nitro/memory.ts";
import { FIRST_CONFIG } from "../../lib/ctl/up/config.ts";
import { shellcheckPath } from "../helpers/peers.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("the least memory of an enclave is the same in the programs and in the documents", async () => {
  const operations = await Deno.readTextFile(`${ROOT}docs/operations.md`);
  assertEquals(
    new Set(operations.match(/(?<=less than |at least )[0-9]+(?= MiB)/g)),
    new Set([`${MIN_MEMORY_MIB}`]),
  );
  const options = await Deno.readTextFile(`${ROOT}docs/configuration.md`);
  assertMatch(options, new RegExp(`memory that the enclave needs, at least ${MIN_MEMORY_MIB} `));
  assertMatch(FIRST_CONFIG, new RegExp(`MiB, at least ${MIN_MEMORY_MIB}$`, "m"));
});

const shellcheck = shellcheckPath();
if (shellcheck !== undefined) {
  Deno.test("shellcheck has nothing to say about any script", async () => {
    const scripts = Array.from(Deno.readDirSync(`${ROOT}scripts`), ({ name }) => name)
      .filter((name) => name.endsWith(".sh")).map((name) => `${ROOT}scripts/${name}`);
    const standIns = Array.from(Deno.readDirSync(`${ROOT}tests/helpers/stand_ins`), ({ name }) => name)
      .map((name) => `${ROOT}tests/helpers/stand_ins/${name}`);
    assertEquals(scripts.length >= 3 && standIns.length === 2, true);
    const { code, stdout } = await new Deno.Command(shellcheck, {
      args: ["--external-sources", "--source-path", "SCRIPTDIR", ...scripts, ...standIns],
      cwd: ROOT,
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, ""]);
  });
}
