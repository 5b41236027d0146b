/** Reports: steps, what is printed of them, and the data for scripts. */
import { assert, assertEquals } from "@std/assert";
import { Report, stepPrinter } from "../../../../lib/dev/dry_run/report.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";

Deno.test("a report continues after a failed step, gives the reason, and is not ok", async () => {
  const printed: string[] = [];
  const report = new Report(stepPrinter((text) => printed.push(text), false));
  report.section("Part");
  await report.step("works", () => "fine");
  await report.step(
    "fails",
    () => Promise.reject(new EnclaveError("It broke.", { code: "x", hint: "Mend it." })),
  );
  assertEquals([report.ok, report.results.map(({ ok, seen }) => [ok, seen])], [false, [[true, "fine"], [
    false,
    "It broke. Mend it.",
  ]]]);
  assertEquals(printed.join("").includes("\x1b"), false);
  assert(printed.join("").includes("FAIL fails"));
});

Deno.test("a report names each section once, in colour where that is wanted", async () => {
  const printed: string[] = [];
  const report = new Report(stepPrinter((text) => printed.push(text), true));
  assertEquals(report.ok, true);
  report.section("Part");
  await report.step("a", () => "");
  await report.step("b", () => "");
  assertEquals(printed.join("").match(/Part/g)?.length, 1);
  assert(printed.join("").includes("\x1b[32mok"));
});
