/** A finding can be reproduced from a fuzz run's seed: inputs are derived from it, documents with their keys and signatures too. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { withSeededCrypto } from "../../../helpers/seeded_crypto.ts";
import { Inputs } from "../../../fuzz/inputs.ts";
import { TARGETS } from "../../../fuzz/targets.ts";

const SEEDS = [0, 1, 4095, 4096, 0xffff_ffff];

for (const target of TARGETS) {
  Deno.test(`the seeds of ${target.name} give the same inputs in another run`, async () => {
    const inputs = async () => {
      const run = new Inputs(target);
      const all: Uint8Array[] = [];
      for (const seed of SEEDS) all.push((await run.of(seed)).input);
      return all;
    };
    assertEquals(await inputs(), await inputs());
  });
}

Deno.test("seeded documents differ by seed, verify, and leave WebCrypto unchanged", async () => {
  const target = TARGETS.find(({ name }) => name === "document");
  assert(target !== undefined);
  const { generateKey, sign } = crypto.subtle;
  const [first, second] = [await target.open(0), await target.open(1)];
  assertNotEquals(first.examples, second.examples);
  await withSeededCrypto(7, async () => {
    using nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
    await nsm.verify(await nsm.attest());
  });
  assertEquals([crypto.subtle.generateKey, crypto.subtle.sign], [generateKey, sign]);
  assertNotEquals(crypto.getRandomValues(new Uint8Array(16)), crypto.getRandomValues(new Uint8Array(16)));
});
