/**
 * Reads the fields of a section of a configuration, and collects their problems: types, ranges, unknown keys.
 *
 * @module
 */
import { nearest } from "../../shared/cli/options.ts";
import { messageOf } from "../../shared/errors.ts";
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

  /** The value of a field; null counts as none. */
  #value(name: string): ConfigValue | undefined {
    const value = this.#entries.get(name)?.value;
    return value?.kind === "scalar" && value.value === null ? undefined : value;
  }

  /** Undefined when it was refused. */
  #parse<T>(value: ConfigValue, path: string, parse: Parser<T>): Field<T> | undefined {
    const field = { path, at: value.at };
    const parsed = value.kind === "scalar" && value.value !== null
      ? parse(value.value)
      : new Mismatch("must be one value, not a list or a section");
    if (!(parsed instanceof Mismatch)) return { ...field, value: parsed };
    this.refuse(field, parsed.what);
    return undefined;
  }

  /** What is in a list of so many items at least; nothing if it is missing. */
  #list(name: string, min: number): readonly { readonly item: ConfigValue; readonly path: string }[] {
    const value = this.#value(name);
    if (value === undefined) return [];
    const field = { path: join(this.path, name), at: value.at };
    const items = value.kind === "list" ? value.items : undefined;
    if (items === undefined) this.refuse(field, "must be a list");
    else if (items.length < min) this.refuse(field, "must have one entry at least");
    return (items ?? []).map((item, index) => ({ item, path: `${field.path}[${index}]` }));
  }

  /** Whether the file has a value for a field; null counts as none. */
  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  /** An optional field. */
  optional<T>(name: string, parse: Parser<T>, missing: T): Field<T> {
    const value = this.#value(name);
    const path = join(this.path, name);
    const read = value === undefined ? undefined : this.#parse(value, path, parse);
    return read ?? { path, at: this.#entries.get(name)?.value.at ?? this.at, value: missing };
  }

  /** A required field. If it is missing, `instead` is the value, so that reading goes on. */
  required<T>(name: string, parse: Parser<T>, instead: T): Field<T> {
    const field = this.optional(name, parse, instead);
    if (!this.has(name)) this.refuse(field, "is missing");
    return field;
  }

  /** The values of a list; none if it is missing. */
  texts<T>(name: string, parse: Parser<T>): readonly Field<T>[] {
    return this.#list(name, 0).flatMap(({ item, path }) => this.#parse(item, path, parse) ?? []);
  }

  /** A section within this one; empty if it is missing. */
  section(name: string, known: readonly string[]): Section {
    const path = join(this.path, name);
    const value = this.#value(name) ?? { kind: "map", at: this.at, entries: new Map() };
    return Section.open(value, { path, known, problems: this.#problems });
  }

  /** The sections of a list; none if it is missing. */
  sections(name: string, known: readonly string[]): readonly Section[] {
    const problems = this.#problems;
    return this.#list(name, 1).map(({ item, path }) => Section.open(item, { path, known, problems }));
  }
}

/** Turns an exception into a mismatch. */
export function attempt<T>(run: () => T, what = (message: string) => message): T | Mismatch {
  try {
    return run();
  } catch (thrown) {
    return new Mismatch(what(messageOf(thrown)));
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
