/**
 * Options of a command line: declared in a table, read from flags and environment, flags first. The table is also the help.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { EnclaveError } from "../errors.ts";

/** One option. Without `value` it is a switch. */
export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  readonly env?: string;
  /** Placeholder for the help, such as `PORT`. */
  readonly value?: string;
  /** May be repeated; commas separate values in the environment and within one value. */
  readonly multiple?: boolean;
  readonly default?: string;
  /** An empty value is an error, instead of counting as none; so is a single-valued flag given twice. For options that must not be lost by mistake. */
  readonly refuseEmpty?: boolean;
  readonly help: string;
}

/** Exit codes of every command but the kmstool drop-in. */
export const EXIT = {
  ok: 0,
  /** The command ran, and a check failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** Something required is unavailable: libraries, an address, a service. */
  unavailable: 69,
  /** Fatal internal error. */
  software: 70,
  /** Whatever read its output has closed it: as of a program that SIGPIPE ended. */
  closedPipe: 141,
} as const;

/** The command line or an environment variable is wrong. */
export class UsageError extends EnclaveError {
  override name = "UsageError";
  constructor(message: string, hint?: string) {
    super(message, { code: "usage", hint });
  }
}

/** @throws {UsageError} about the value of an option. */
export function refuseValue(option: string, text: string, hint: string): never {
  throw new UsageError(`Cannot use ${JSON.stringify(text)} for --${option}`, hint);
}

/** Values by the names of options. */
type Given = ReadonlyMap<string, readonly string[]>;

/** The parsed options. */
export class Options {
  #values: Given;
  #flags: ReadonlySet<string>;
  readonly positionals: readonly string[];

  /** @param flags names of the options given on the command line, as opposed to the environment or a default */
  constructor(values: Given, positionals: readonly string[], flags: ReadonlySet<string>) {
    this.#values = values;
    this.#flags = flags;
    this.positionals = positionals;
  }

  /** Whether the option was given on the command line: it then takes precedence over the environment. */
  isFlag(name: string): boolean {
    return this.#flags.has(name);
  }

  /** A copy of these options with defaults for names without a value. */
  filled(values: Given): Options {
    return new Options(new Map([...values, ...this.#values]), this.positionals, this.#flags);
  }

  /** The value, or its default; undefined when there is neither. */
  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  /**
   * All values of a repeatable option; commas separate values.
   *
   * @throws {UsageError} when it was given without any value, which is a mistake.
   */
  list(name: string): readonly string[] {
    const given = this.#values.get(name);
    const parts = (given ?? []).join().split(",").map((part) => part.trim()).filter((part) => part !== "");
    if (given === undefined || parts.length > 0) return parts;
    throw new UsageError(`--${name} was given without a value`, "Give a value, or leave it out.");
  }

  /**
   * As {@link list}, each parsed.
   *
   * @param identity the same text for the same value, however it was written
   * @throws {UsageError} when a value is repeated, which is a mistake.
   */
  distinct<T>(
    name: string,
    parse: (text: string) => T,
    identity: (value: T) => string = String,
  ): readonly T[] {
    const texts = this.list(name);
    const values = texts.map((text) => parse(text));
    const ids = values.map(identity);
    const again = ids.findIndex((id, index) => ids.indexOf(id) < index);
    if (again === -1) return values;
    throw new UsageError(
      `Cannot use ${JSON.stringify(texts[again])} for --${name}: it is given twice`,
      "Name each value once.",
    );
  }

  /** As {@link list}, for values that may contain commas: they are not split. */
  each(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** Whether a switch is on. */
  on(name: string): boolean {
    return this.text(name) === "true";
  }

  /**
   * A whole number.
   *
   * @throws {UsageError} when it is none, or out of range.
   */
  number(name: string, { min, max }: { readonly min: number; readonly max: number }): number {
    const text = this.text(name) ?? "";
    const number = Number(text);
    if (/^[0-9]+$/.test(text) && number >= min && number <= max) return number;
    return refuseValue(name, text, `Give a whole number from ${min} to ${max}.`);
  }

  /**
   * One of a few words.
   *
   * @throws {UsageError} when it is none of them.
   */
  choice<T extends string>(name: string, choices: readonly T[]): T {
    const text = this.text(name) ?? "";
    return choices.find((choice) => choice === text) ??
      refuseValue(name, text, `Give one of: ${choices.join(", ")}.`);
  }
}

/**
 * Reads options.
 *
 * @param env reads an environment variable; called only for those of the table
 * @param positionals how many arguments that are no options the command takes at most
 * @throws {UsageError} that names an unknown option and the nearest known one, or an argument too many.
 */
export function parseOptions(
  specs: readonly OptionSpec[],
  argv: readonly string[],
  env: (name: string) => string | undefined = () => undefined,
  { positionals: most = 0 }: { readonly positionals?: number } = {},
): Options {
  const config = specs.map(({ name, short, value }) =>
    [name, { type: value === undefined ? "boolean" : "string", ...(short && { short }) }] as const
  );
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(config),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, readonly string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    const spec = specs.find((one) => one.name === name);
    if (spec === undefined) {
      const near = nearest(name, specs.map((one) => one.name));
      const hint = `${near === undefined ? "" : `Did you mean --${near}? `}--help lists the options.`;
      throw new UsageError(`Unknown option ${rawName}`, hint);
    }
    if (spec.value === undefined) {
      if (value !== undefined) throw new UsageError(`Option ${rawName} takes no value`);
    } else if (value === undefined || (/^-./s.test(value) && inlineValue !== true)) {
      // A value that starts with "-" is probably the next option; "--name=-x" makes it explicit.
      throw new UsageError(`Option ${rawName} needs a value`, `${rawName} ${spec.value}`);
    }
    if (value === "" && spec.refuseEmpty === true) {
      throw new UsageError(`${rawName} is given without a value`, "Give it a value, or leave it out.");
    }
    values.set(name, [...values.get(name) ?? [], value ?? "true"]);
  }
  const flags = new Set(values.keys());
  const positionals = tokens.flatMap((token) => token.kind === "positional" ? [token.value] : []);
  const unexpected = positionals[most];
  if (unexpected !== undefined && !flags.has("help")) {
    throw new UsageError(`Unexpected argument ${JSON.stringify(unexpected)}`, "--help shows the usage.");
  }
  for (const spec of specs) {
    const given = values.get(spec.name)?.length ?? 0;
    if (given > 1 && spec.multiple !== true && spec.refuseEmpty === true) {
      throw new UsageError(`--${spec.name} is given ${given} times`, "Give it once.");
    }
    const value = given > 0 ? undefined : variableValue(spec, env);
    if (value !== undefined) values.set(spec.name, [value]);
  }
  return new Options(values, positionals, flags);
}

/** The value of an option's variable, or its default. */
function variableValue(spec: OptionSpec, env: (name: string) => string | undefined): string | undefined {
  const given = spec.env === undefined ? undefined : env(spec.env);
  if (given === "" && spec.refuseEmpty === true) {
    throw new UsageError(`${spec.env} is set, but empty`, "Give it a value, or unset it.");
  }
  if (given === undefined || given === "") return spec.default;
  if (spec.value !== undefined) return given;
  if (/^(1|true|yes)$/i.test(given)) return "true";
  if (/^(0|false|no)$/i.test(given)) return "false";
  throw new UsageError(`Cannot use ${JSON.stringify(given)} for ${spec.env}`, "Give 1 or 0.");
}

/** The candidate with the smallest edit distance, if it is near enough to be a suggestion. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const most = Math.max(2, Math.floor(word.length / 3));
  return candidates.map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .filter(({ distance }) => distance <= most).sort((a, b) => a.distance - b.distance)[0]?.candidate;
}

function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (above[j - 1] ?? 0) + Number(a[i - 1] !== b[j - 1]);
      row.push(Math.min(substitution, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    above = row;
  }
  return above[b.length] ?? 0;
}

/** The table as lines of help, two columns. */
export function helpLines(specs: readonly OptionSpec[]): string {
  const rows = specs.map(({ name, short, value, help, default: preset, env }) => {
    const notes = [preset && `default ${preset}`, env && `env ${env}`].filter(Boolean).join("; ");
    const left = `  ${short === undefined ? "    " : `-${short}, `}--${name}${value ? ` ${value}` : ""}`;
    return { left, right: notes === "" ? help : `${help} (${notes})` };
  });
  const width = Math.max(...rows.map(({ left }) => left.length)) + 2;
  return rows.map(({ left, right }) => left.padEnd(width) + right).join("\n");
}

/** `--help` and `--version`. */
export const COMMON_OPTIONS = [
  { name: "help", short: "h", help: "show this and end" },
  { name: "version", help: "show the version and end" },
] as const satisfies readonly OptionSpec[];

/**
 * Splits the command from a command line; `serve` by default.
 *
 * @throws {UsageError} with the nearest command.
 */
export function takeCommand<T extends string>(
  argv: readonly string[],
  commands: readonly T[],
): { readonly command: T | undefined; readonly rest: readonly string[] } {
  const [first, ...rest] = argv;
  if (first === undefined || first.startsWith("-")) return { command: undefined, rest: argv };
  const command = commands.find((candidate) => candidate === first);
  if (command !== undefined) return { command, rest };
  const near = nearest(first, commands);
  throw new UsageError(
    `Unknown command ${JSON.stringify(first)}`,
    near === undefined ? `Commands: ${commands.join(", ")}.` : `Did you mean ${near}?`,
  );
}
