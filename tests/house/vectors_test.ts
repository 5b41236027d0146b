/** tests/README.md: where the tests find data from outside this repository. */
import { assertEquals } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { VECTORS } from "../helpers/vectors.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const text = await Deno.readTextFile(`${ROOT}tests/README.md`);
const rows = [...text.matchAll(/^\| `([\w./-]+)` \| `([0-9a-f]{64})` \| \S/gm)]
  .map(([, path = "", hash = ""]) => ({ path, hash }));

/** Where paths of these files are in the tests, and what a name there stands for. */
const NAMED: readonly (readonly [string, RegExp, (name: string) => string])[] = [
  ["helpers/vectors.ts", /"(attestation\/[^"]+)"/g, (path) => path],
  ["helpers/vectors.ts", /"(\w+\.json)"/g, (name) => `typed_data/${name}`],
  ["helpers/eif_vectors.ts", /name: "(v[^"]+)"/g, (name) => `eif/${name}.eif`],
  ["unit/ctl/policy/policy_verdicts_test.ts", /"([0-9]+_\w+\.json)"/g, (name) => `policies/${name}`],
];
Deno.test("tests/README.md says where to find each of these files that a test reads", async () => {
  for (const [test, pattern, pathOf] of NAMED) {
    const source = await Deno.readTextFile(`${ROOT}tests/${test}`);
    const paths = [...source.matchAll(pattern)].map(([, name = ""]) => pathOf(name));
    assertEquals(paths.length > 1, true, test);
    assertEquals(paths.filter((path) => !rows.some((row) => row.path === path)), []);
  }
});

Deno.test("the files that are there are those that tests/README.md means", async () => {
  for (const { path, hash } of rows) {
    const bytes = await Deno.readFile(`${VECTORS}/${path}`).catch(() => undefined);
    if (bytes !== undefined) {
      assertEquals(encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))), hash, path);
    }
  }
});
