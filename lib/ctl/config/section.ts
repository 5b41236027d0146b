/**
 * Reads the fields of a section of a configuration, and collects their problems: types, ranges, unknown keys.
 *
 * @module
 */
import { nearest } from "../../shared/cli/options.ts";
import { type ConfigEntry, type ConfigValue, join, type Scalar } from "./document.ts";
import type { ConfigProblem, Position } from "./errors.ts";

/** A field that was read. If it is missing or invalid, `value` is the fallback, and the problem is reported. */
export interface Field<T> {
  readonly value: T;
  readonly at: Position;
  /** Such as `kms.key_id`. */
  readonly path: string;
}

/** Describes what is wrong with a value. */
export class Mismatch {
  readonly what: string;
  constructor(what: string) {
    this.what = what;
  }
}

/** Parses a value of the file. */
export type Parser<T> = (value: Exclude<Scalar, null>) => T | Mismatch;

/** A section: a map with known keys. */
export class Section {
  readonly at: Position;
  readonly path: string;
  #entries: ReadonlyMap<string, ConfigEntry>;
  #problems: ConfigProblem[];

  private constructor(
    value: { readonly at: Position; readonly entries: ReadonlyMap<string, ConfigEntry> },
    path: string,
    problems: ConfigProblem[],
  ) {
    this.at = value.at;
    this.path = path;
    this.#entries = value.entries;
    this.#problems = problems;
  }

  /** Opens a value as a section; reports when it is not one, and unknown keys. */
  static open(
    value: ConfigValue,
    options: {
      readonly path: string;
      readonly known: readonly string[];
      readonly problems: ConfigProblem[];
    },
  ): Section {
    const { path, known, problems } = options;
    if (value.kind !== "map") {
      problems.push({ ...value.at, field: path, what: `must have fields: ${known.join(", ")}` });
      return new Section({ at: value.at, entries: new Map() }, path, []);
    }
    for (const [name, { at }] of value.entries) {
      if (known.includes(name)) continue;
      const near = nearest(name, known);
      problems.push({
        ...at,
        field: join(path, name.slice(0, 64)),
        what: near === undefined
          ? `there is no such field: ${known.join(", ")}`
          : `there is no such field: did you mean ${near}?`,
      });
    }
    return new Section(value, path, problems);
  }

  /** Reports a problem of a field. */
  refuse({ at, path }: Pick<Field<unknown>, "at" | "path">, what: string): void {
    this.#problems.push({ ...at, field: path, what });
  }

  /** Whether the file has a value for a field; null counts as none. */
  has(name: string): boolean {
    const entry = this.#entries.get(name);
    return entry !== undefined && !(entry.value.kind === "scalar" && entry.value.value === null);
  }

  /** An optional field. */
  optional<T>(name: string, parse: Parser<T>, missing: T): Field<T> {
    const entry = this.#entries.get(name);
    const field = { path: join(this.path, name), at: entry?.value.at ?? this.at };
    if (entry === undefined || !this.has(name)) return { ...field, value: missing };
    const parsed = entry.value.kind === "scalar" && entry.value.value !== null
      ? parse(entry.value.value)
      : new Mismatch("must be one value, not a list or a section");
    if (!(parsed instanceof Mismatch)) return { ...field, value: parsed };
    this.refuse(field, parsed.what);
    return { ...field, value: missing };
  }

  /** A required field. If it is missing, `instead` is the value, so that reading goes on. */
  required<T>(name: string, parse: Parser<T>, instead: T): Field<T> {
    const field = this.optional(name, parse, instead);
    if (!this.has(name)) this.refuse(field, "is missing");
    return field;
  }

  /** The values of a list; none if it is missing. */
  texts<T>(name: string, parse: Parser<T>): readonly Field<T>[] {
    const value = this.has(name) ? this.#entries.get(name)?.value : undefined;
    const path = join(this.path, name);
    if (value === undefined) return [];
    if (value.kind !== "list") {
      this.refuse({ at: value.at, path }, "must be a list");
      return [];
    }
    return value.items.flatMap((item, index) => {
      const field = { path: `${path}[${index}]`, at: item.at };
      const parsed = item.kind === "scalar" && item.value !== null
        ? parse(item.value)
        : new Mismatch("must be one value");
      if (!(parsed instanceof Mismatch)) return [{ ...field, value: parsed }];
      this.refuse(field, parsed.what);
      return [];
    });
  }

  /** A section within this one; empty if it is missing. */
  section(name: string, known: readonly string[]): Section {
    const path = join(this.path, name);
    const value = this.has(name) ? this.#entries.get(name)?.value : undefined;
    if (value !== undefined) return Section.open(value, { path, known, problems: this.#problems });
    return new Section({ at: this.at, entries: new Map() }, path, this.#problems);
  }

  /** The sections of a list; none if it is missing. */
  sections(name: string, known: readonly string[]): readonly Section[] {
    const value = this.has(name) ? this.#entries.get(name)?.value : undefined;
    const path = join(this.path, name);
    if (value === undefined) return [];
    if (value.kind === "list") {
      if (value.items.length === 0) this.refuse({ at: value.at, path }, "must have one entry at least");
      return value.items.map((item, index) =>
        Section.open(item, { path: `${path}[${index}]`, known, problems: this.#problems })
      );
    }
    this.refuse({ at: value.at, path }, "must be a list");
    return [];
  }
}

/** A text that is not empty. */
export function text(max: number): Parser<string> {
  return (value) =>
    typeof value !== "string" || value === ""
      ? new Mismatch("must be a text")
      : value.length > max || value.includes("\0")
      ? new Mismatch(`must be a text of at most ${max} characters`)
      : value;
}

/** `true` or `false`. */
export const truth: Parser<boolean> = (value) =>
  typeof value === "boolean" ? value : new Mismatch("must be true or false");

/** A whole number in a range. */
export function whole(min: number, max: number): Parser<number> {
  return (value) =>
    typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
      ? value
      : new Mismatch(`must be a whole number from ${min} to ${max}`);
}

/** One of some words. */
export function word<T extends string>(words: readonly T[]): Parser<T> {
  return (value) => {
    const found = words.find((candidate) => candidate === value);
    if (found !== undefined) return found;
    const near = typeof value === "string" ? nearest(value, words) : undefined;
    return new Mismatch(
      `must be one of ${words.join(", ")}${near === undefined ? "" : `: did you mean ${near}?`}`,
    );
  };
}
