/** Which requests an earlier build accepted, and what it replied to those that it refused. */
import { assertEquals } from "@std/assert";
import { type Answers, answers } from "./leniency.ts";
import { readGold } from "./product.ts";

const gold: Answers = await readGold("requests.json");

Deno.test("gold: requests with fields that are absent, null, of another kind or further are answered alike", async () => {
  assertEquals(await answers(), gold);
});
