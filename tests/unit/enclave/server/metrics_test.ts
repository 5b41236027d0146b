/** Metrics: counts and quantiles. */
import { assertEquals } from "@std/assert";
import { Metrics } from "../../../../lib/enclave/server/metrics.ts";

Deno.test("metrics count by type and outcome, with quantiles as upper bounds", () => {
  const metrics = new Metrics();
  for (let n = 0; n < 99; n++) metrics.count("process", true, 0.9);
  metrics.count("process", false, 100);
  const process = metrics.snapshot()["process"];
  assertEquals([process?.ok, process?.error, process?.p50_ms, process?.p99_ms, process?.max_ms], [
    99,
    1,
    1,
    1,
    100,
  ]);
  metrics.count("fast", true, 0);
  metrics.count("slow", true, 1e9);
  assertEquals([metrics.snapshot()["fast"]?.p50_ms, metrics.snapshot()["slow"]?.p99_ms], [0.0625, 65_536]);
});
