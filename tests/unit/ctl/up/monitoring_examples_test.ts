/** The files of examples/monitoring name metrics that there are. */
import { assert, assertEquals } from "@std/assert";
import { METRIC_NAMES } from "../../../../lib/ctl/up/metrics.ts";

const MONITORING = new URL("../../../../examples/monitoring/", import.meta.url);

for (const file of ["alerts.yml", "dashboard.json", "README.md"]) {
  Deno.test(`every metric that examples/monitoring/${file} names is one of denclavectl up`, async () => {
    const named = (await Deno.readTextFile(new URL(file, MONITORING))).match(/\bdenclave_\w+/g) ?? [];
    assert(named.length > 0);
    assertEquals(named.filter((name) => !METRIC_NAMES.includes(name)), []);
  });
}

Deno.test("docs/operations.md explains every alert, and no other", async () => {
  const named = (text: string) => [...new Set(text.match(/\bDenclave[A-Z]\w+/g))].sort();
  const document = await Deno.readTextFile(new URL("../../docs/operations.md", MONITORING));
  assertEquals(named(document), named(await Deno.readTextFile(new URL("alerts.yml", MONITORING))));
});

Deno.test("the panels of the dashboard have ids of their own and do not overlap", async () => {
  const { panels } = JSON.parse(await Deno.readTextFile(new URL("dashboard.json", MONITORING)));
  const cells = panels.flatMap((
    { gridPos: { x, y, w, h } }: { gridPos: Record<"x" | "y" | "w" | "h", number> },
  ) => Array.from({ length: w * h }, (_, cell) => `${x + cell % w},${y + Math.floor(cell / w)}`));
  assertEquals(new Set(cells).size, cells.length);
  assertEquals(new Set(panels.map(({ id }: { id: number }) => id)).size, panels.length);
  assertEquals(
    panels.filter(({ gridPos }: { gridPos: { x: number; w: number } }) => gridPos.x + gridPos.w > 24),
    [],
  );
});
