/** The memory for messages, by the memory that there is. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { limitsFor, memoryWarnings } from "../../../../lib/shared/cli/limits.ts";
import { DEFAULT_LIMITS } from "../../../../lib/dev/defaults.ts";

const MIB = 1024 * 1024;
const OPTIONS = { ...DEFAULT_LIMITS, maxInFlight: undefined };

/** Memory as the kernel of an enclave states it, and what messages may take of it. MiB. */
const BUDGETS: readonly (readonly [string, number | undefined, number])[] = [
  ["an enclave of 320 MB, the least that boots", 295, 16],
  ["an enclave of 408 MB, the least that nitro-cli starts", 378, 49],
  ["an enclave of 512 MB", 480, 100],
  ["an enclave of 1024 MB", 985, 352],
  ["an enclave of 2048 MB", 1990, 512],
  ["a machine of 64 GB", 64_000, 512],
  ["a machine without memory to spare", 150, 16],
  ["a machine whose memory is not known", undefined, 512],
];
for (const [machine, memory, budget] of BUDGETS) {
  Deno.test(`on ${machine}, messages may take ${budget} MiB`, () => {
    const { maxInFlight } = limitsFor(OPTIONS, {
      memory: memory === undefined ? undefined : memory * MIB,
    });
    assertEquals(Math.floor(maxInFlight / MIB), budget);
  });
}

Deno.test("each SDK process after the first leaves messages less memory, and may leave too little", () => {
  const budgetOf = (sdkProcesses: number) =>
    limitsFor(OPTIONS, { memory: 480 * MIB, sdkProcesses }).maxInFlight;
  assertEquals([1, 2, 4].map(budgetOf).map((bytes) => bytes / MIB), [100, 72.5, 17.5]);
  const machine = { memory: 480 * MIB, sdkProcesses: 8 };
  assertStringIncludes(memoryWarnings(limitsFor(OPTIONS, machine), machine).join(), "has room for");
});

Deno.test("a given --max-in-flight is used, whatever the memory, and other limits are not changed", () => {
  const given = { ...DEFAULT_LIMITS, maxInFlight: 700 * MIB };
  assertEquals(limitsFor(given, { memory: 480 * MIB }), given);
});

Deno.test("there is no warning where the memory suffices, or is not known", () => {
  for (const memory of [600 * MIB, 1990 * MIB, 64_000 * MIB, undefined]) {
    assertEquals(memoryWarnings(limitsFor(OPTIONS, { memory }), { memory }), []);
  }
  const explicit = { ...DEFAULT_LIMITS, maxInFlight: 800 * MIB };
  assertEquals(memoryWarnings(explicit, { memory: 1990 * MIB }), []);
});

Deno.test("a given --max-in-flight that is too large for the memory is warned of, with both numbers", () => {
  const [warning = "", ...others] = memoryWarnings(DEFAULT_LIMITS, { memory: 480 * MIB });
  assertEquals(others, []);
  for (const part of ["512 MiB (--max-in-flight)", "100 MiB", "480 MiB"]) assertStringIncludes(warning, part);
});

Deno.test("memory in which the largest message has no room is warned of, with the length that has", () => {
  const memory = 445 * MIB;
  const [warning = "", ...others] = memoryWarnings(limitsFor(OPTIONS, { memory }), { memory });
  assertEquals(others, []);
  assertStringIncludes(warning, "--max-message 10485760: those of more than 6179108 bytes are refused");
});
