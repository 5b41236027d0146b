/**
 * The benchmark's tables in the documents: README shows figures of docs/benchmarks.md, and both are written
 * by the benchmark.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { EnclaveError } from "../../lib/shared/errors.ts";
import {
  generatedPart,
  type Measured,
  readmeTable,
  type Row,
  serviceReport,
  withGenerated,
} from "../bench/report.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFile(`${ROOT}${path}`);

/** The rows of a document's generated table, by column. */
function rowsOf(document: string): readonly ReadonlyMap<string, string>[] {
  const lines = generatedPart(document).split("\n").filter((line) => line.startsWith("| "));
  const [head = [], ...rows] = lines.map((line) => line.slice(2, -2).split(" | "));
  return rows.map((row) => new Map(head.map((name, index) => [name, row[index] ?? ""])));
}

Deno.test("README's performance table has the figures of docs/benchmarks.md", async () => {
  const all = rowsOf(await read("docs/benchmarks.md"));
  const rows = rowsOf(await read("README.md"));
  assertEquals(rows.length, 4);
  for (const row of rows) {
    const [, size, unit, connections] =
      /^([0-9]+) (B|KiB|MiB), ([0-9]+) connections?$/.exec(row.get("`process`") ?? "") ?? [];
    const bytes = Number(size) * ({ KiB: 1024, MiB: 1_048_576 }[unit ?? ""] ?? 1);
    const found = all.find((one) => one.get("bytes") === String(bytes) && one.get("conn.") === connections);
    assertEquals(
      [found?.get("ours : Rust"), found?.get("ours : Python")],
      [row.get("relative to Rust"), row.get("relative to Python")],
      `${bytes} bytes`,
    );
  }
});

function figures(per_second: number, cpu_us: number): Measured {
  return { per_second, p50_us: 100, p99_us: 200, cpu_us };
}

const ROWS: readonly Row[] = [[64, 8], [1024, 8], [65_536, 8], [1_048_576, 1]].map((
  [bytes = 0, connections = 0],
) => ({
  bytes,
  connections,
  services: { ours: figures(320, 20), rust: figures(1000, 11), python: figures(300, 110) },
}));

Deno.test("the report compares with the targets of small and of large messages", () => {
  const report = serviceReport(ROWS);
  assert(report.includes("| 64 | 8 | 320 | 200 | 20 | 1000 | 11 | 300 | 110 | 0.32 | 1.07 |"), report);
  assert(report.endsWith("Not reached: 65536 × 8 (0.32), 1048576 × 1 (0.32)."), report);
});

Deno.test("README's table has each of its rows, or is refused", () => {
  assert(readmeTable(ROWS).includes("| 1 MiB, 1 connection | 0.32 | 1.07 | 20 | 11 | 110 |"));
  assertThrows(() => readmeTable(ROWS.slice(1)), EnclaveError, "64 B, 8 connections was not measured");
});

Deno.test("only the generated part of a document is replaced", async () => {
  const document = await read("README.md");
  const written = withGenerated(document, "| new |");
  assertEquals(generatedPart(written).trim(), "| new |");
  assertEquals(withGenerated(written, generatedPart(document).trim()), document);
  assertThrows(() => withGenerated("# Without marks", "x"), EnclaveError, "marks");
});
