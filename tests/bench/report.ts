/**
 * The benchmark's figures as tables, and their places in README.md and docs/benchmarks.md.
 *
 * @module
 */
import { EnclaveError } from "../../lib/shared/errors.ts";

/** What one service did with requests of one size. */
export interface Measured {
  readonly per_second: number;
  readonly p50_us: number;
  readonly p99_us: number;
  /** Processor time of all processes of the service, by request. */
  readonly cpu_us: number;
}

/** One size and number of connections: what each service did, by name; `ours` is always there. */
export interface Row {
  readonly bytes: number;
  readonly connections: number;
  readonly services: Readonly<Record<string, Measured>>;
}

/** Rates relative to Rust's that we aim for, by the size of the plaintext. */
const TARGETS = { small: 0.3, large: 0.35, largeFrom: 65_536 } as const;
/** The rows that README shows. */
const IN_README: readonly (readonly [bytes: number, connections: number, name: string])[] = [
  [64, 8, "64 B, 8 connections"],
  [1024, 8, "1 KiB, 8 connections"],
  [65_536, 8, "64 KiB, 8 connections"],
  [1_048_576, 1, "1 MiB, 1 connection"],
];
const TITLES: Readonly<Record<string, string>> = {
  ours: "ours",
  before: "before",
  rust: "Rust",
  python: "Python",
};

function title(name: string): string {
  return TITLES[name] ?? name;
}

/** @throws {EnclaveError} if the service was not measured */
function measured({ bytes, connections, services }: Row, name: string): Measured {
  const found = services[name];
  if (found !== undefined) return found;
  throw new EnclaveError(`${name} was not measured with ${bytes} bytes, ${connections} connections`, {
    code: "bench",
  });
}

/** Our rate relative to that of another service. */
export function ratio(row: Row, name: string): number {
  return measured(row, "ours").per_second / measured(row, name).per_second;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  // Words on the left, numbers on the right.
  const align = head.map((_, column) =>
    rows.some((row) => /[a-z]/i.test(row[column] ?? "")) ? "---" : "---:"
  );
  return [line(head), `|${align.join("|")}|`, ...rows.map(line)].join("\n");
}

/** Names of the services that every row has, ours first. */
function namesOf(rows: readonly Row[]): readonly string[] {
  return Object.keys(rows[0]?.services ?? {});
}

function targetOf({ bytes }: Row): number {
  return bytes < TARGETS.largeFrom ? TARGETS.small : TARGETS.large;
}

/** The table of docs/benchmarks.md, and how it compares with the targets. */
export function serviceReport(rows: readonly Row[]): string {
  const names = namesOf(rows);
  const others = names.filter((name) => name !== "ours");
  const head = [
    "bytes",
    "conn.",
    ...names.flatMap((name) =>
      name === "ours" ? ["ours/s", "p99 µs", "CPU µs"] : [`${title(name)}/s`, "CPU µs"]
    ),
    ...others.map((name) => `ours : ${title(name)}`),
  ];
  const cells = rows.map((row) => [
    String(row.bytes),
    String(row.connections),
    ...names.flatMap((name) => {
      const { per_second, p99_us, cpu_us } = measured(row, name);
      const p99 = name === "ours" ? [p99_us.toFixed(0)] : [];
      return [per_second.toFixed(0), ...p99, cpu_us.toFixed(0)];
    }),
    ...others.map((name) => ratio(row, name).toFixed(2)),
  ]);
  const text = [table(head, cells)];
  if (others.includes("rust")) {
    const missed = rows.filter((row) => ratio(row, "rust") < targetOf(row));
    const list = missed.map((row) => `${row.bytes} × ${row.connections} (${ratio(row, "rust").toFixed(2)})`);
    text.push(
      `Targets relative to Rust: ${TARGETS.small} up to 1 KiB, ${TARGETS.large} from 64 KiB. ${
        list.length === 0 ? "All are reached." : `Not reached: ${list.join(", ")}.`
      }`,
    );
  }
  return text.join("\n\n");
}

/** README's table. */
export function readmeTable(rows: readonly Row[]): string {
  const head = ["`process`", "relative to Rust", "relative to Python", "CPU µs: ours", "Rust", "Python"];
  return table(
    head,
    IN_README.map(([bytes, connections, name]) => {
      const row = rows.find((row) => row.bytes === bytes && row.connections === connections);
      if (row === undefined) throw new EnclaveError(`${name} was not measured`, { code: "bench" });
      return [
        name,
        ratio(row, "rust").toFixed(2),
        ratio(row, "python").toFixed(2),
        ...["ours", "rust", "python"].map((service) => measured(row, service).cpu_us.toFixed(0)),
      ];
    }),
  );
}

const mark = (which: "begin" | "end") => `<!-- ${which}: deno task bench --docs -->\n`;

/**
 * A document with another generated part.
 *
 * @throws {EnclaveError} if it has no such part
 */
export function withGenerated(document: string, text: string): string {
  const [begin, end] = [document.indexOf(mark("begin")), document.indexOf(mark("end"))];
  if (begin < 0 || end < begin) throw new EnclaveError("The document lacks its marks", { code: "bench" });
  return `${document.slice(0, begin)}${mark("begin")}\n${text}\n\n${document.slice(end)}`;
}

/** The generated part of a document. */
export function generatedPart(document: string): string {
  const [begin, end] = [document.indexOf(mark("begin")), document.indexOf(mark("end"))];
  return document.slice(begin + mark("begin").length, end);
}
