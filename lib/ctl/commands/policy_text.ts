/**
 * Findings of the linter and differences of policies, for a person.
 *
 * @module
 */
import type { DiffLine } from "../policy/diff.ts";
import type { LintReport } from "../policy/lint.ts";
import { oneLine, type Painted } from "../terminal/printing.ts";

/** Formats findings: what, where, what to do. */
export function formatLint({ findings, ok }: LintReport): readonly (string | Painted)[] {
  const lines = findings.flatMap(({ severity, rule, statement, message, remedy }) => {
    const mark: Painted = severity === "fail"
      ? { colour: "red", text: "FAIL" }
      : { colour: "yellow", text: "warn" };
    const where = statement === undefined ? "" : ` in ${oneLine(statement)}`;
    return [mark, ` ${rule}${where}\n     ${oneLine(message)}\n     ${remedy}\n`];
  });
  const failed = findings.filter(({ severity }) => severity === "fail").length;
  return [...lines, `${ok ? "ok" : "not ok"}: ${failed} failed, ${findings.length - failed} to look at\n`];
}

/** Formats what makes a later lock-out likelier. */
export function formatRisks(risks: readonly string[]): readonly (string | Painted)[] {
  return risks.flatMap((risk) => [{ colour: "yellow", text: "warn" } as const, ` ${oneLine(risk)}\n`]);
}

function paintedLine({ kind, text }: DiffLine): string | Painted {
  const shown = oneLine(text);
  switch (kind) {
    case "heading":
      return { colour: "bold", text: shown };
    case "added":
      return { colour: "green", text: `+ ${shown}` };
    case "removed":
      return { colour: "red", text: `- ${shown}` };
    case "same":
      return `  ${shown}`;
    default:
      return kind satisfies never;
  }
}

/** Formats a difference, a line each. */
export function formatDiff(lines: readonly DiffLine[]): readonly (string | Painted)[] {
  return lines.length === 0 ? ["no difference\n"] : lines.flatMap((line) => [paintedLine(line), "\n"]);
}
