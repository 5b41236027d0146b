/**
 * Writes the option tables of docs/configuration.md from the option tables of the programs. With `--check`, it only says whether the file is
 * up to date.
 *
 * @module
 */
import { KMSTOOL_OPTIONS } from "../lib/enclave/cli/kmstool.ts";
import { COMMANDS } from "../lib/ctl/commands/main.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { NITRO_OPTIONS, SERVE_OPTIONS } from "../lib/shared/cli/serve_options.ts";
import { DEV_OPTIONS } from "../lib/dev/service/mod.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const FILE = `${ROOT}docs/configuration.md`;
const BEGIN = "<!-- begin: deno task docs -->\n";
const END = "<!-- end: deno task docs -->\n";
/** An option that so many commands of a program have is described once. */
const SHARED_BY = 3;

/** Options as they are documented, without `--help` and `--version`. */
function documented(specs: readonly OptionSpec[]): readonly OptionSpec[] {
  return specs.filter(({ name }) => !COMMON_OPTIONS.some((common) => common.name === name));
}

/** The text of a row, which is the same for the same option. */
function row({ name, short, value, env = "", default: byDefault = "", help }: OptionSpec): string {
  const code = (text: string) => text === "" ? "" : `\`${text.replaceAll("|", "\\|")}\``;
  const flags = `${short === undefined ? "" : `-${short}, `}--${name}${
    value === undefined ? "" : ` ${value}`
  }`;
  const words = help.replaceAll("|", "\\|").replaceAll("<", "\\<");
  return `| ${code(flags)} | ${code(env)} | ${code(byDefault)} | ${words} |`;
}

function table(specs: readonly OptionSpec[]): string {
  return ["| option | variable | default | |", "|---|---|---|---|", ...documented(specs).map(row)].join("\n");
}

/** Commands with the same options. */
interface Section {
  readonly title: string;
  readonly options: readonly OptionSpec[];
}

function sectionsOf(commands: readonly { readonly path: string; readonly options: readonly OptionSpec[] }[]) {
  const alike = new Map<string, { readonly paths: string[]; readonly options: readonly OptionSpec[] }>();
  for (const { path, options: all } of commands) {
    const options = documented(all);
    const key = `${path.split(" ")[0]} ${options.map(row).join()}`;
    const found = alike.get(key) ?? { paths: [], options };
    alike.set(key, found);
    found.paths.push(found.paths.length === 0 ? path : path.split(" ")[1] ?? path);
  }
  return [...alike.values()].map(({ paths, options }): Section => ({ title: paths.join(", "), options }));
}

/** The tables of a program's commands: first what several share, then what each has of its own. */
function commandTables(sections: readonly Section[]): string {
  const all = sections.flatMap(({ options }) => options);
  const users = (spec: OptionSpec) => all.filter((other) => row(other) === row(spec)).length;
  // Where an option is worded in several ways, the one that most commands have is the shared one.
  const shared = new Map<string, OptionSpec>();
  for (const spec of all) {
    const rival = shared.get(spec.name);
    if (users(spec) >= SHARED_BY && (rival === undefined || users(spec) > users(rival))) {
      shared.set(spec.name, spec);
    }
  }
  const isShared = (spec: OptionSpec) => {
    const found = shared.get(spec.name);
    return found !== undefined && row(found) === row(spec);
  };
  const parts = sections.filter(({ options }) => options.length > 0).map(({ title, options }) => {
    const own = options.filter((spec) => !isShared(spec));
    const also = options.filter(isShared).map(({ name }) => `\`--${name}\``).join(", ");
    return [
      `#### ${title}`,
      ...(own.length === 0 ? [] : [table(own)]),
      ...(also === "" ? [] : [`${own.length === 0 ? "Shared" : "Also the shared"} options ${also}.`]),
    ].join("\n\n");
  });
  return ["Shared options:", table([...shared.values()]), ...parts].join("\n\n");
}

/** The generated part of the document. */
function optionTables(): string {
  const served = SERVE_OPTIONS.map(row);
  return [
    "### denclave serve",
    table(SERVE_OPTIONS),
    "Production binary only:",
    table(NITRO_OPTIONS),
    "### deno task dev",
    "The options of `serve`, with these differences:",
    table(DEV_OPTIONS.filter((spec) => !served.includes(row(spec)))),
    "### denclave decrypt, genkey, genrandom",
    commandTables(
      Object.entries(KMSTOOL_OPTIONS).map(([title, options]) => ({
        title,
        options: documented(options),
      })),
    ),
    "### denclavectl",
    commandTables(sectionsOf(COMMANDS)),
    "",
  ].join("\n\n");
}

/** The document with an up-to-date generated part. */
export async function configurationDocument(): Promise<string> {
  const text = await Deno.readTextFile(FILE);
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new UsageError(`${FILE} lacks the marks of its generated part`);
  return `${text.slice(0, begin)}${BEGIN}\n${optionTables().trim()}\n\n${text.slice(end)}`;
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
