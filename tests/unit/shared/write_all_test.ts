/** Writing to standard streams. */
import { assertEquals, assertThrows } from "@std/assert";
import { writeAll } from "../../../lib/shared/write_all.ts";

Deno.test("a stream that takes a few bytes at a time gets all of them, in order", () => {
  for (const most of [1, 7, 1_000]) {
    const bytes = Uint8Array.from({ length: 300 }, (_, index) => index);
    const taken: number[] = [];
    writeAll((given) => {
      const some = given.subarray(0, most);
      taken.push(...some);
      return some.length;
    }, bytes);
    assertEquals(Uint8Array.from(taken), bytes);
  }
});

Deno.test("a stream that fails in the middle is an error, not a shorter text", () => {
  let room = 10;
  const write = (given: Uint8Array) => {
    if (room === 0) throw new Deno.errors.BrokenPipe("Broken pipe");
    const some = Math.min(room, given.length);
    room -= some;
    return some;
  };
  assertThrows(() => writeAll(write, new Uint8Array(11)), Deno.errors.BrokenPipe);
});
