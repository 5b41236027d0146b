/** The end of a turn of the event loop. */
import { assertEquals } from "@std/assert";
import { createTurnEnd } from "../../../../lib/enclave/server/turn.ts";
import { within } from "../../../helpers/deadline.ts";

Deno.test("all callers in one turn wait for the same end, and those of the next turn for another", async () => {
  const turnEnd = createTurnEnd();
  const first = turnEnd();
  await Promise.resolve();
  assertEquals(turnEnd() === first, true);
  await within(first, "the end of the turn");
  const second = turnEnd();
  assertEquals(second === first, false);
  await within(second, "the end of the next turn");
});

Deno.test("what is ready in a turn runs before its end", async () => {
  const turnEnd = createTurnEnd();
  const order: string[] = [];
  const ended = turnEnd().then(() => order.push("end"));
  void Promise.resolve().then(() => Promise.resolve()).then(() => order.push("work"));
  await within(ended, "the end of the turn");
  assertEquals(order, ["work", "end"]);
});
