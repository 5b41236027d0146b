/** Each example workflow in the service: what it gives, and what it refuses. */
import { assertEquals } from "@std/assert";
import { createHmac } from "node:crypto";
import { decode, encode } from "cborg";
import { workflowRig } from "../helpers/workflow_rig.ts";

const start = (example: string) =>
  workflowRig({ entry: new URL(`../helpers/example_main.ts?${example}`, import.meta.url).href });

Deno.test("json_order gives an order's total, and refuses an order with a code", async () => {
  await using rig = await start("json_order");
  assertEquals(
    await rig.ask('{"lines":[{"quantity":2,"price":150},{"quantity":1,"price":7}]}'),
    '{"total":307}',
  );
  for (
    const [order, code] of [
      ["no JSON", "not_json"],
      ['{"lines":[]}', "lines"],
      ['{"lines":[{"quantity":-1,"price":1}]}', "line"],
      ['{"lines":[{"quantity":9007199254740991,"price":2}]}', "total"],
    ] as const
  ) {
    const reply = await rig.request(order);
    assertEquals([reply["msg"], reply["code"]], ["workflow_failed", code]);
  }
  assertEquals(rig.service.events("workflow")[0]?.["lines"], 2);
});

Deno.test("cbor_package sorts names, again and again, and refuses what is no CBOR", async () => {
  await using rig = await start("cbor_package");
  for (let round = 0; round < 3; round++) {
    const names = new Uint8Array(encode(["b", "a", "b"]));
    assertEquals(decode(await rig.open(await rig.request(names))), ["a", "b"]);
  }
  assertEquals((await rig.request(new Uint8Array([0xff])))["code"], "not_cbor");
  assertEquals((await rig.request(new Uint8Array(encode(1))))["code"], "names");
});

Deno.test("async_rounds strengthens a password, and serves others meanwhile", async () => {
  await using rig = await start("async_rounds");
  const salt = new Uint8Array(16).fill(3);
  const password = new TextEncoder().encode("secret");
  let expected: Uint8Array = password;
  for (let round = 0; round < 1_000; round++) {
    expected = createHmac("sha256", salt).update(expected).digest();
  }
  const input = new Uint8Array([...salt, ...password]);
  using other = await rig.connect();
  const [first, health] = await Promise.all([rig.request(input), other.exchange({ type: "health" })]);
  assertEquals(new Uint8Array(await rig.open(first)), new Uint8Array(expected));
  assertEquals(health["status"], "ok");
  assertEquals((await rig.request("short"))["code"], "too_short");
});
