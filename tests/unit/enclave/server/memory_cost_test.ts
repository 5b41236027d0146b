/** What a document leaves in V8's heap once it is parsed is no more than half of its cost in the memory budget. */
import { assert } from "@std/assert";
import { requestCost } from "../../../../lib/enclave/server/memory_budget.ts";
import { measureJson } from "../../../../lib/shared/wire/json_shape.ts";
import { parseText } from "../../../../lib/shared/wire/messages.ts";
import { collectGarbage } from "../../../helpers/garbage.ts";

/** Items of a list, by index. V8 makes an array of 67 slots for an object of which the only key is 34. */
const KINDS: Readonly<Record<string, (index: number) => string>> = {
  "numbers": () => "0",
  "numbers with a fraction": () => "1.5",
  "empty strings": () => '""',
  "strings, each another": (index) => `"${index}"`,
  "empty objects": () => "{}",
  "empty lists": () => "[]",
  "lists in lists": () => "[[]]",
  "lists of one": () => "[0]",
  "objects with the same key": () => '{"a":0}',
  "objects with a key each": (index) => `{"k${index}":0}`,
  "objects with an index": () => '{"0":0}',
  "objects with index 9": () => '{"9":0}',
  "objects with index 34": () => '{"34":0}',
  "objects with index 34 in objects with index 34": () => `${'{"34":'.repeat(100)}0${"}".repeat(100)}`,
  "objects with index 99": () => '{"99":0}',
  "objects with two indices": () => '{"9":0,"34":0}',
  "objects with keys of an empty name": () => '{"":{}}',
  "objects with many keys each": (index) =>
    `{${Array.from({ length: 50 }, (_, key) => `"${index}_${key}":0`).join()}}`,
};

for (const [kind, item] of Object.entries(KINDS)) {
  Deno.test(`a list of ${kind} takes no more memory than half of what it counts`, async () => {
    const length = item(0).length;
    const items = Array.from({ length: Math.ceil(1_000_000 / length) }, (_, index) => item(index));
    const text = `{"x":[${items.join()}]}`;
    const cost = requestCost(text.length, measureJson(text));
    await collectGarbage();
    const before = Deno.memoryUsage().heapUsed;
    const kept = parseText(text);
    await collectGarbage();
    const held = Deno.memoryUsage().heapUsed - before;
    assert(held <= cost / 2, `${held} bytes are held, and ${cost} counted`);
    assert(Object.hasOwn(kept, "x"));
  });
}
