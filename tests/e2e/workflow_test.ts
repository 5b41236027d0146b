/** Workflows that misbehave leave the service serving and the key in place; those that hold its thread end it as documented. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ServiceError } from "../../lib/ctl/client/client.ts";
import { workflowRig } from "../helpers/workflow_rig.ts";

const MAIN = "tests/helpers/workflow_main.ts";

Deno.test("workflows that misbehave leave the service serving and the key in place", async (t) => {
  await using rig = await workflowRig({ entry: MAIN, flags: ["--request-ms=500"] });
  const configuredAt = (await rig.health())["configured_at"];
  const cases: readonly (readonly [string, string])[] = [
    ["throws", "error internal_error"],
    ["rejects late", "rejects late"],
    ["returns text", "error internal_error"],
    ["returns nothing", "error internal_error"],
    ["keeps a reference", "keeps a reference"],
    ["shows what it kept", "wiped"],
    ["returns the same again", "always the same"],
    ["returns the same again", "error internal_error"],
    ["changes its input", "A".repeat("changes its input".length)],
    ["calls exit", "error internal_error"],
    ["logs", "logs"],
    ["asks for a permission", Array(7).fill("denied").join(",")],
    ["reads a file", "error internal_error"],
    ["async", "async"],
  ];
  for (const [way, expected] of cases) {
    await t.step(way, async () => {
      assertEquals(await rig.ask(way), expected);
      assertEquals(await rig.ask("echo"), "echo");
    });
  }
  await t.step("never ends: answered timeout, and its signal aborted", async () => {
    using other = await rig.connect();
    assertEquals(await rig.ask("never ends", other), "error timeout");
    assertEquals(await rig.ask("was aborted"), "true");
  });
  await t.step("refuses: code and text reach the client", async () => {
    const reply = await rig.request("refuses");
    assertEquals([reply["msg"], reply["code"], reply["details"]], [
      "workflow_failed",
      "order.too_large",
      "Orders have at most 10 lines",
    ]);
    assertEquals(
      new ServiceError(reply).message,
      "The service answered workflow_failed (order.too_large): Orders have at most 10 lines",
    );
  });
  const health = await rig.health();
  assertEquals([health["configured"], health["configured_at"]], [true, configuredAt]);

  const { service } = rig;
  const [threw] = service.events("workflow_threw");
  assertEquals(threw?.["message"], "words that production keeps");
  assertStringIncludes(String(threw?.["stack"]), "workflow_main.ts");
  assertEquals(
    service.events("uncaught").map((line) => line["message"]).sort(),
    ["rejected when nobody waits", "thrown when nobody waits"],
  );
  const [said, odd] = service.events("workflow");
  assertEquals([said?.["level"], said?.["workflow_event"], said?.["length"]], ["warn", "seen", 4]);
  assertEquals(odd?.["level"], "info");
});

Deno.test("after its start dev holds no permission: it says so in the log and in health", async () => {
  await using rig = await workflowRig({ entry: "scripts/dev.ts" });
  assertEquals((await rig.health())["permissions"], []);
  assertEquals(rig.service.events("listening")[0]?.["permissions"], "");
});

Deno.test("a workflow that loops ends the service with 70 and a line in the log", async () => {
  await using rig = await workflowRig({ entry: MAIN, flags: ["--silence-ms=700"] });
  rig.ask("loops").catch(() => {});
  const { code, signal } = await rig.service.ended(30_000);
  assertEquals([code, signal], [70, null]);
  const [line] = rig.service.events("main_thread_silent");
  assertEquals(line?.["level"], "error");
  assert(Number(line?.["silent_ms"]) >= 700);
});

Deno.test("a workflow that allocates without end ends the service with 70 and a line in the log", async () => {
  await using rig = await workflowRig({ entry: MAIN, v8: "--v8-flags=--max-old-space-size=400" });
  rig.ask("allocates").catch(() => {});
  const { code, signal } = await rig.service.ended(60_000);
  assertEquals([code, signal], [70, null]);
  assertEquals(rig.service.events("out_of_memory").length, 1);
});

Deno.test("a watched service that is told to end ends with 0", async () => {
  await using rig = await workflowRig({ entry: MAIN, flags: ["--silence-ms=300"] });
  assertEquals((await rig.service.stop()).code, 0);
  assertEquals(rig.service.events("main_thread_silent"), []);
});
