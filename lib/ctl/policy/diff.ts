/**
 * The difference of two key policies, statement by statement, for a person. Order of statements, of actions, of principals and of values does
 * not matter to KMS, and is no difference here.
 *
 * @module
 */
import { type KeyPolicy, type KeyPolicyStatement, statementName } from "../aws/key_policy.ts";

/** A line of a difference. */
export interface DiffLine {
  readonly kind: "same" | "added" | "removed" | "heading";
  readonly text: string;
}

function sorted(input: unknown): unknown {
  if (Array.isArray(input)) {
    const items: readonly unknown[] = input;
    const inOrder = items.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    // A list of one and the thing itself mean the same.
    return inOrder.length === 1 ? inOrder[0] : inOrder;
  }
  if (typeof input !== "object" || input === null) return input;
  return Object.fromEntries(
    Object.entries(input).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, sorted(value)]),
  );
}

const ORDER = ["Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource"];

function linesOf(statement: KeyPolicyStatement): readonly string[] {
  const { Sid: _, Condition, ...rest } = statement;
  const elements = Object.entries(rest).sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b));
  const ordered = [...elements, ...(Condition === undefined ? [] : [["Condition", Condition] as const])];
  return ordered.flatMap(([name, value]) =>
    `${name}: ${JSON.stringify(sorted(value), null, 2).replaceAll('"', "")}`.split("\n")
  );
}

/** Lines that only one of the two has are removed or added; common lines stay, as long as they come in the same order. */
function diffLines(before: readonly string[], after: readonly string[]): readonly DiffLine[] {
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  for (let [old, fresh] = [before[0], after[0]]; old !== undefined || fresh !== undefined;) {
    if (old !== undefined && old === fresh) {
      lines.push({ kind: "same", text: old });
      [i, j] = [i + 1, j + 1];
    } else if (old !== undefined && (fresh === undefined || !after.includes(old, j))) {
      lines.push({ kind: "removed", text: old });
      i++;
    } else if (fresh !== undefined && (old === undefined || !before.includes(fresh, i))) {
      lines.push({ kind: "added", text: fresh });
      j++;
    } else if (old !== undefined) {
      // Both come later in the other list.
      lines.push({ kind: "removed", text: old });
      i++;
    }
    [old, fresh] = [before[i], after[j]];
  }
  return lines;
}

interface Named {
  readonly name: string;
  readonly lines: readonly string[];
  readonly text: string;
}

function namedStatements(policy: KeyPolicy): readonly Named[] {
  return policy.Statement.map((statement, index) => {
    const lines = linesOf(statement);
    return { name: statementName(statement, index), lines, text: lines.join("\n") };
  });
}

/** The statement that another is the new version of: the same text first, then the same name. */
function counterpart(wanted: Named, among: readonly Named[]): Named | undefined {
  const byName = among.find((one) => one.name === wanted.name && !wanted.name.startsWith("#"));
  return byName ?? among.find((one) => one.text === wanted.text) ??
    among.find((one) => one.name === wanted.name);
}

/** What changes from one policy to another; empty when they mean the same. */
export function diffKeyPolicies(before: KeyPolicy, after: KeyPolicy): readonly DiffLine[] {
  const lines: DiffLine[] = [];
  const left = [...namedStatements(before)];
  for (const fresh of namedStatements(after)) {
    const old = counterpart(fresh, left);
    if (old !== undefined) left.splice(left.indexOf(old), 1);
    if (old?.text === fresh.text && old.name === fresh.name) continue;
    lines.push({ kind: "heading", text: `${old === undefined ? "new" : "changed"} statement ${fresh.name}` });
    if (old !== undefined && old.name !== fresh.name) {
      lines.push({ kind: "removed", text: `Sid: ${old.name}` }, {
        kind: "added",
        text: `Sid: ${fresh.name}`,
      });
    }
    lines.push(...diffLines(old?.lines ?? [], fresh.lines));
  }
  for (const gone of left) {
    lines.push({ kind: "heading", text: `dropped statement ${gone.name}` });
    lines.push(...gone.lines.map((text) => ({ kind: "removed" as const, text })));
  }
  for (const name of ["Version", "Id"] as const) {
    if (before[name] === after[name]) continue;
    lines.push({ kind: "heading", text: `changed ${name}` });
    if (before[name] !== undefined) lines.push({ kind: "removed", text: before[name] });
    if (after[name] !== undefined) lines.push({ kind: "added", text: after[name] });
  }
  return lines;
}
