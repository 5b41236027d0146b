/**
 * Writes the option tables of docs/configuration.md from the option tables of the programs. With `--check`, it only says whether the file is
 * up to date.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { runKmstool } from "../lib/enclave/cli/kmstool.ts";
import { KMSTOOL_COMMANDS } from "../lib/shared/cli/serve_options.ts";
import { NITRO_OPTIONS, SERVE_OPTIONS } from "../lib/shared/cli/serve_options.ts";
import { openIo } from "../lib/ctl/terminal/printing.ts";
import { runCtl } from "../lib/ctl/commands/main.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const FILE = `${ROOT}docs/configuration.md`;
const BEGIN = "<!-- begin: deno task docs -->\n";
const END = "<!-- end: deno task docs -->\n";
/** An option that so many commands of a program have is described once. */
const SHARED_BY = 3;

/** A row of a table. */
interface OptionRow {
  readonly flags: string;
  readonly env: string;
  readonly default: string;
  readonly help: string;
}

const HELP_LINE = /^ {2}(?:-(\w), | {4})--([a-z0-9-]+)(?: (\S+))? {2,}(.*)$/;
const NOTES = /^(.*?)(?: \((?:default ([^()]*?))?(?:; )?(?:env ([A-Z0-9_]+))?\))?$/;

/** The options in a text of help. */
function rowsOf(help: string): readonly OptionRow[] {
  return help.split("\n").flatMap((line) => {
    const [, short, name, value, rest = ""] = HELP_LINE.exec(line) ?? [];
    if (name === undefined || COMMON_OPTIONS.some((option) => option.name === name)) return [];
    const [, words = "", byDefault = "", env = ""] = NOTES.exec(rest) ?? [];
    const flags = `${short === undefined ? "" : `-${short}, `}--${name}${
      value === undefined ? "" : ` ${value}`
    }`;
    return [{ flags, env, default: byDefault, help: words }];
  });
}

const code = (text: string) => text === "" ? "" : `\`${text.replaceAll("|", "\\|")}\``;
const prose = (text: string) => text.replaceAll("|", "\\|").replaceAll("<", "\\<");

function table(rows: readonly OptionRow[]): string {
  return [
    "| option | variable | default | |",
    "|---|---|---|---|",
    ...rows.map((row) =>
      `| ${code(row.flags)} | ${code(row.env)} | ${
        row.default.includes(" ") ? prose(row.default) : code(row.default)
      } | ${prose(row.help)} |`
    ),
  ].join("\n");
}

const tableOf = (specs: readonly OptionSpec[]) => table(rowsOf(helpLines(specs)));

/** What denclavectl prints. */
async function ctlHelp(argv: readonly string[]): Promise<string> {
  let text = "";
  const io = openIo({
    write: (_to, piece) => void (text += piece),
    isTerminal: () => false,
    env: () => undefined,
    untilSignal: () => Promise.reject(new Error("no command is run here")),
  });
  await runCtl([...argv, "--help"], io);
  return text;
}

/** A command of denclavectl, or several that have the same options. */
interface Command {
  readonly name: string;
  readonly rows: readonly OptionRow[];
}

const COMMAND_LINE = /^ {2}([a-z]+)(?: ([a-z-]+(?:\|[a-z-]+)*))?(?: {2,}|$)/;

async function ctlCommands(): Promise<readonly Command[]> {
  const byHelp = new Map<string, string[]>();
  for (const line of (await ctlHelp([])).split("\n")) {
    const [, group, commands] = COMMAND_LINE.exec(line) ?? [];
    if (group === undefined) continue;
    for (const command of commands?.split("|") ?? [""]) {
      const argv = command === "" ? [group] : [group, command];
      const help = await ctlHelp(argv);
      byHelp.set(help, [...byHelp.get(help) ?? [], argv.join(" ")]);
    }
  }
  return [...byHelp].map(([help, [first = "", ...others]]) => ({
    name: [first, ...others.map((name) => name.split(" ")[1] ?? name)].join(", "),
    rows: rowsOf(help),
  }));
}

/** The tables of a program's commands: first what several share, then what each has of its own. */
function commandTables(commands: readonly Command[]): string {
  const all = commands.flatMap(({ rows }) => rows);
  const nameOf = (row: OptionRow) => row.flags.replace(/^-\w, /, "").replace(/ .*$/, "");
  const key = (row: OptionRow) => JSON.stringify(row);
  const users = (row: OptionRow) => all.filter((other) => key(other) === key(row)).length;
  // Where an option has several meanings, the one that most commands have is the shared one.
  const shared = new Map<string, OptionRow>();
  for (const row of all) {
    const rival = shared.get(nameOf(row));
    if (users(row) >= SHARED_BY && (rival === undefined || users(row) > users(rival))) {
      shared.set(nameOf(row), row);
    }
  }
  const isShared = (row: OptionRow) => key(shared.get(nameOf(row)) ?? { ...row, flags: "" }) === key(row);
  const name = (row: OptionRow) => code(nameOf(row));
  const parts = commands.filter(({ rows }) => rows.length > 0).map(({ name: title, rows }) => {
    const own = rows.filter((row) => !isShared(row));
    const also = rows.filter(isShared).map(name);
    return [
      `#### ${title}`,
      ...(own.length === 0 ? [] : [table(own)]),
      ...(also.length === 0
        ? []
        : [`${own.length === 0 ? "Shared" : "Also the shared"} options ${also.join(", ")}.`]),
    ].join("\n\n");
  });
  return ["Shared options:", table([...shared.values()]), ...parts].join("\n\n");
}

/** Options of the development service that `serve` does not have. */
async function devRows(): Promise<readonly OptionRow[]> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "-A", `${ROOT}scripts/dev.ts`, "--help"],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("deno task dev --help failed");
  const known = new Set(rowsOf(helpLines(SERVE_OPTIONS)).map((row) => JSON.stringify(row)));
  return rowsOf(new TextDecoder().decode(stdout)).filter((row) => !known.has(JSON.stringify(row)));
}

function kmstoolHelp(command: (typeof KMSTOOL_COMMANDS)[number]): string {
  let text = "";
  runKmstool(command, ["--help"], {
    stdout: () => {},
    stderr: (piece) => void (text += piece),
    openSdk: () => {
      throw new Error("no command is run here");
    },
  });
  return text;
}

/** The generated part of the document. */
export async function optionTables(): Promise<string> {
  return [
    "### denclave serve",
    tableOf(SERVE_OPTIONS),
    "Production binary only:",
    tableOf(NITRO_OPTIONS),
    "### deno task dev",
    "The options of `serve`, with these differences:",
    table(await devRows()),
    "### denclave decrypt, genkey, genrandom",
    commandTables(KMSTOOL_COMMANDS.map((name) => ({ name, rows: rowsOf(kmstoolHelp(name)) }))),
    "### denclavectl",
    commandTables(await ctlCommands()),
    "",
  ].join("\n\n");
}

/** The document with an up-to-date generated part. */
export async function configurationDocument(): Promise<string> {
  const text = await Deno.readTextFile(FILE);
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new UsageError(`${FILE} lacks the marks of its generated part`);
  return `${text.slice(0, begin)}${BEGIN}\n${(await optionTables()).trim()}\n\n${text.slice(end)}`;
}

const SPECS = [
  { name: "check", help: "change nothing; exit code 1 when the file is out of date" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) {
    return console.log(`usage: deno task docs [options]\n\n${helpLines(SPECS)}`), EXIT.ok;
  }
  const document = await configurationDocument();
  if (options.on("check")) {
    if (document === await Deno.readTextFile(FILE)) return EXIT.ok;
    return console.error(`${FILE} is out of date: run deno task docs`), EXIT.failed;
  }
  await Deno.writeTextFile(FILE, document);
  return EXIT.ok;
}

if (import.meta.main) await runEntry(main);
