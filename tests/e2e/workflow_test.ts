/** Workflows that misbehave cost their own request, and no key and no other client's right answer. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ServiceError } from "../../lib/ctl/client/client.ts";
import { ATTACKS } from "../helpers/workflow_attacks.ts";
import { workflowRig } from "../helpers/workflow_rig.ts";

const MAIN = "tests/helpers/workflow_main.ts";

Deno.test("whatever a workflow does, the next request is answered rightly, and the key stays", async (t) => {
  await using rig = await workflowRig({
    entry: MAIN,
    flags: ["--request-ms=5000", "--workflow-ms=1500"],
  });
  const configuredAt = (await rig.health())["configured_at"];
  for (const [way, ...expected] of ATTACKS) {
    await t.step(way, async () => {
      using other = await rig.connect();
      const [answer, beside] = await Promise.all([rig.ask(way), rig.ask("echo", other)]);
      // A request that had begun beside one that is lost is lost with it; none gets the answer of another.
      assertEquals([expected.includes(answer), ["echo", "error workflow_lost"].includes(beside)], [
        true,
        true,
      ]);
      assertEquals(await rig.ask("echo"), "echo");
    });
  }
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
  assertStringIncludes(String(threw?.["stack"]), "hostile_workflow.ts");
  const lines = service.events("workflow");
  const uncaught = lines.filter(({ workflow_event }) => workflow_event === "uncaught");
  assertEquals(uncaught.map((line) => line["class"]), ["Error", "Error"]);
  const printed = lines.filter(({ workflow_event }) => workflow_event === "console").map((
    line,
  ) => [line["level"], line["text"]]);
  assertEquals(printed, [["info", "seen { n: 1 }"], ["error", "also seen"]]);
  const seen = lines.find(({ workflow_event }) => workflow_event === "seen");
  assertEquals([seen?.["level"], seen?.["length"]], ["warn", 4]);
  const killed = service.events("workflow_process_killed").map(({ doing }) => doing);
  assertEquals([...new Set(killed)].toSorted(), ["something else than the protocol", "working on a request"]);
});

Deno.test("a workflow that takes the thread after its answer keeps no request of others", async () => {
  await using rig = await workflowRig({
    entry: MAIN,
    flags: ["--request-ms=10000", "--workflow-processes=1"],
  });
  // Twice, since either of the two processes may be the first one to be open.
  for (let turn = 0; turn < 2; turn++) {
    assertEquals(await rig.ask("loops after its answer"), "loops after its answer");
  }
  assertEquals(await rig.ask("echo"), "echo");
  const killed = rig.service.events("workflow_process_killed").map(({ doing }) => doing);
  assertEquals([...new Set(killed)], ["beginning a request"]);
});

Deno.test("a request that is answered timeout aborts the workflow's signal, which goes on until its own deadline", async () => {
  await using rig = await workflowRig({
    entry: MAIN,
    flags: ["--request-ms=2000", "--workflow-ms=60000"],
  });
  using other = await rig.connect();
  for (let tries = 0; tries < 20; tries++) {
    // The process is still starting.
    using early = await rig.connect();
    if (await rig.ask("echo", early) === "echo") break;
  }
  assertEquals(await rig.ask("never ends", other), "error timeout");
  // It is told within 100 ms.
  const deadline = performance.now() + 2_000;
  while (await rig.ask("was aborted") !== "true") assert(performance.now() < deadline, "it was not told");
});

Deno.test("after its start dev may only start its own program: it says so in the log and in health", async () => {
  await using rig = await workflowRig({ entry: "scripts/dev.ts" });
  assertEquals((await rig.health())["permissions"], ["run"]);
  assertEquals(rig.service.events("listening")[0]?.["permissions"], "run");
});
