/**
 * The enclave's options. Each is one entry of a table: the help, the parsed value and the hash of the measured configuration are made from it.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import type { Options, OptionSpec } from "./options.ts";

/** An option of the enclave. */
export interface Setting<T> extends OptionSpec {
  readonly env: string;
  readonly refuseEmpty: boolean;
  /** The name of the value in the measured configuration. */
  readonly hashedAs: string;
  /**
   * Of an option that came later: without a value it is left out of the hash, which is then that of versions
   * before.
   */
  readonly isLater?: true;
  /** @throws {UsageError} that names the option. */
  readonly read: (options: Options) => T;
}

/** An entry of a table. Unless it says otherwise, the variable is the name in capitals, and must not be empty. */
type Entry = Omit<OptionSpec, "help" | "default"> & {
  readonly default?: string | number;
  /** By default the variable in lower case. */
  readonly hashedAs?: string;
  readonly isLater?: true;
};

/** An entry of a whole number. */
type NumberEntry = Entry & { readonly min: number; readonly max: number };

/** Options by the names of their values, in the order in which the values are hashed. */
type Table = Readonly<Record<string, Setting<unknown>>>;

/** The values of a table's options. */
export type Values<T extends Table> = {
  readonly [Name in keyof T]: T[Name] extends Setting<infer Value> ? Value : never;
};

/** An option. */
export function setting<T>(
  { read, default: preset, ...spec }: Entry & { readonly read: (options: Options, name: string) => T },
  help: string,
): Setting<T> {
  const env = spec.env ?? spec.name.toUpperCase().replaceAll("-", "_");
  return {
    refuseEmpty: true,
    hashedAs: env.toLowerCase(),
    ...spec,
    ...(preset === undefined ? {} : { default: String(preset) }),
    env,
    help,
    read: (options) => read(options, spec.name),
  };
}

/** A switch. */
export function toggle(name: string, help: string): Setting<boolean> {
  return setting({ name, read: (options) => options.on(name) }, help);
}

/** A whole number with a default. */
export function wholeNumber(
  { min, max, ...entry }: NumberEntry & { readonly default: number },
  help: string,
): Setting<number> {
  return setting({ ...entry, read: (options, name) => options.number(name, { min, max }) }, help);
}

/** A whole number that may be left out. */
export function optionalNumber(
  { min, max, ...entry }: NumberEntry,
  help: string,
): Setting<number | undefined> {
  const read = (options: Options, name: string) =>
    options.text(name) === undefined ? undefined : options.number(name, { min, max });
  return setting({ ...entry, read }, help);
}

/** An option with several distinct values. */
export function distinct<T>(
  { parse, ...entry }: Entry & { readonly parse: (text: string, option: string) => T },
  help: string,
): Setting<readonly T[]> {
  const read = (options: Options, name: string) =>
    options.distinct(name, (text) => parse(text, name), (value) => JSON.stringify(plain(value)));
  return setting({ ...entry, multiple: true, read }, help);
}

/** Reads all options of a table. */
export function readAll<T extends Table>(table: T, options: Options): Values<T> {
  const values = Object.entries(table).map(([name, { read }]) => [name, read(options)]);
  return Object.fromEntries(values);
}

/** A value as it is hashed. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return encodeBase64(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? String(value) : value ?? null;
}

/** A table's part of the measured configuration. */
export function measured<T extends Table>(table: T, values: Values<T>): Readonly<Record<string, unknown>> {
  const parts = Object.entries(table)
    .filter(([name, { isLater }]) => isLater === undefined || String(values[name] ?? "") !== "")
    .map(([name, { hashedAs }]) => [hashedAs, plain(values[name])]);
  return Object.fromEntries(parts);
}
