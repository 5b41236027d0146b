/**
 * Rows in aligned columns, for a person.
 *
 * @module
 */

import { oneLine } from "./printing.ts";

/** Aligns rows under their headings. Every row has as many cells as there are headings. */
export function formatTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows].map((row) => row.map(oneLine));
  const widths = headings.map((_, column) => Math.max(...all.map((row) => [...row[column] ?? ""].length)));
  return all.map((row) =>
    row.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - [...cell].length)).join("  ")
      .trimEnd()
  ).join("\n");
}

/** Names and values, a line each, aligned. */
export function formatFields(fields: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...given.map(([name]) => name.length));
  return given.map(([name, value]) => `${name.padEnd(width)}  ${oneLine(String(value))}`).join("\n");
}
