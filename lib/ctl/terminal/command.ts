/**
 * Commands as entries of a table. Help, suggestions, shell completion and the tables of docs/configuration.md are made from it.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  takeCommand,
  UsageError,
} from "../../shared/cli/options.ts";
import { VERSION } from "../../shared/version.ts";
import type { CtlIo, Text } from "./printing.ts";

/** A command. */
export interface Command {
  /** Its words, such as `policy lint`. The first is its group; a command of one word is its own. */
  readonly path: string;
  /** Its line in the help of the program. */
  readonly summary: string;
  /** The command lines that its help shows, without program and path. */
  readonly usage: string | readonly string[];
  /** What its help says beside the summary. */
  readonly about?: string;
  /** All but `--help` and `--version`. */
  readonly options: readonly OptionSpec[];
  /** Maximum number of arguments that are not options. */
  readonly positionals?: number;
  /** @returns the exit code */
  readonly run: (options: Options, io: CtlIo) => number | Promise<number>;
}

/** The help of a command. */
function commandHelp({ path, summary, usage, about, options }: Command, program: string): string {
  const lines = [usage].flat().map((line, index) =>
    `${index === 0 ? "usage:" : "      "} ${program} ${path} ${line}\n`
  );
  const sentence = `${summary[0]?.toUpperCase()}${summary.slice(1)}.`;
  return `${lines.join("")}\n${about ?? sentence}\n\n${helpLines([...options, ...COMMON_OPTIONS])}\n`;
}

/** Runs a command, or prints its help. */
async function runCommand(
  command: Command,
  argv: readonly string[],
  io: CtlIo,
  program: string,
): Promise<number> {
  const { options: specs, positionals = 0 } = command;
  const options = parseOptions([...specs, ...COMMON_OPTIONS], argv, io.env, { positionals });
  if (options.on("help")) return io.stdout(commandHelp(command, program)), EXIT.ok;
  if (options.on("version")) return io.stdout(`${program} ${VERSION}\n`), EXIT.ok;
  return await command.run(options, io);
}

/** The first words of commands, in order. */
export function groupsOf(commands: readonly Command[]): readonly string[] {
  return [...new Set(commands.map(({ path }) => path.split(" ")[0] ?? ""))];
}

/** The commands of a group, by their second word. */
export function membersOf(commands: readonly Command[], group: string): ReadonlyMap<string, Command> {
  return new Map(
    commands.map((command) => [command.path.split(" "), command] as const)
      .flatMap(([[first, second], command]) =>
        first === group && second !== undefined ? [[second, command]] : []
      ),
  );
}

/** A program, or the part of one whose commands are a table. */
interface Program {
  /** What its command lines begin with. */
  readonly name: string;
  readonly commands: readonly Command[];
  /** Its help, given the lines of its commands. */
  readonly help: (commands: string) => string;
}

const SUMMARY_COLUMN = 24;

/** A line for each command. */
function summaryLines(commands: Iterable<Command>): string {
  return Array.from(commands, ({ path, summary }) => `  ${path.padEnd(SUMMARY_COLUMN - 2)}${summary}\n`)
    .join("");
}

/**
 * Finds the command of a command line and runs it; prints help instead where that is asked for.
 *
 * @returns the exit code
 * @throws {UsageError} that names the nearest group, command or option; or what the command throws
 */
export async function runProgram(
  { name, commands, help }: Program,
  argv: readonly string[],
  io: CtlIo,
): Promise<number> {
  const words = argv[0] === "help" ? [...argv.slice(1), "--help"] : argv;
  const { command: group, rest } = takeCommand<string>(words, groupsOf(commands));
  const alone = commands.find(({ path }) => path === group);
  if (alone !== undefined) return await runCommand(alone, rest, io, name);
  const members = group === undefined ? undefined : membersOf(commands, group);
  const { command: word, rest: given } = members === undefined
    ? { command: undefined, rest }
    : takeCommand<string>(rest, [...members.keys()]);
  const command = members?.get(word ?? "");
  if (command !== undefined) return await runCommand(command, given, io, name);
  const [flag] = given;
  if (flag === "--version") return io.stdout(`${name} ${VERSION}\n`), EXIT.ok;
  if (flag === "--help" || flag === "-h" || (flag === undefined && group === undefined)) {
    const usage = `usage: ${name} ${group} <command> [options]      --help after a command lists its options`;
    const shown = members === undefined
      ? help(summaryLines(commands))
      : `${usage}\n\n${summaryLines(members.values())}`;
    return io.stdout(shown), EXIT.ok;
  }
  throw new UsageError(
    members === undefined ? `Which command? ${flag} comes after it` : `Which command of ${group}?`,
    members === undefined ? `${name} --help lists them.` : `One of: ${[...members.keys()].join(", ")}.`,
  );
}

/**
 * Prints a result, with `--json` as JSON.
 *
 * @returns the exit code: 1 when it is not ok
 */
export function printResult(
  options: Options,
  io: Pick<CtlIo, "stdout">,
  { json, text, ok = true }: { readonly json: unknown; readonly text: Text; readonly ok?: boolean },
): number {
  if (options.on("json")) io.stdout(`${JSON.stringify(json, null, 2)}\n`);
  else io.stdout(typeof text === "string" ? `${text}\n` : text);
  return ok ? EXIT.ok : EXIT.failed;
}

/** The value of an option that must be given. @throws {UsageError} */
export function required(options: Options, name: string, hint: string): string {
  const text = options.text(name);
  if (text !== undefined) return text;
  throw new UsageError(`--${name} must be given`, hint);
}

/** The one argument that a command takes. @throws {UsageError} */
export function onePositional(options: Options, question: string, hint: string): string {
  const [text] = options.positionals;
  if (text !== undefined) return text;
  throw new UsageError(question, hint);
}
