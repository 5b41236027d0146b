/**
 * `denclavectl completion bash`: completes groups, commands and options. Options are those that each command's `--help` prints, which is its
 * option table: there is no second list.
 *
 * @module
 */
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions } from "../../shared/cli/options.ts";
import type { CtlIo } from "../terminal/io.ts";

/** Commands of the group. */
export const COMPLETION_COMMANDS = ["bash"] as const;

/** A group of commands. One without commands stands for itself. */
export interface Group {
  readonly commands: readonly string[];
  /**
   * What the commands are, where they are not actions: an unknown one is then refused with their list, and
   * without a suggestion.
   */
  readonly kind?: string;
  readonly run: (command: string, argv: readonly string[], io: CtlIo) => Promise<number>;
}

const HELP = `usage: denclavectl completion bash

Prints the bash completion of denclavectl's groups, commands and options:
  source <(denclavectl completion bash)
  denclavectl completion bash >/etc/bash_completion.d/denclavectl

${helpLines(COMMON_OPTIONS)}
`;

/** An option, parsed from a line of help. */
interface HelpOption {
  readonly flags: readonly string[];
  /** Its placeholder; undefined for a switch. */
  readonly value: string | undefined;
}

const HELP_LINE = /^ {2}(?:-(\w), | {4})--([a-z0-9-]+)(?: (\S+))?(?: {2}|$)/;

/** The options in a command's help. */
async function optionsOf(group: Group, command: string, io: CtlIo): Promise<readonly HelpOption[]> {
  let text = "";
  await group.run(command, ["--help"], { ...io, stdout: (piece) => void (text += piece) });
  return text.split("\n").flatMap((line) => {
    const [, short, name, value] = HELP_LINE.exec(line) ?? [];
    if (name === undefined) return [];
    return [{ flags: [`--${name}`, ...(short === undefined ? [] : [`-${short}`])], value }];
  });
}

const FOLDERS = ["DIR"];
/** Placeholders of what may be a file, such as PATH=FILE or [KEY=]FILE. */
const FILE = /FILE/;

function caseOf(path: string, options: readonly HelpOption[]): string {
  const valued = options.filter(({ value }) => value !== undefined);
  const patterns = (chosen: readonly HelpOption[]) => chosen.flatMap(({ flags }) => flags).join(" ");
  const folders = valued.filter(({ value = "" }) => FOLDERS.includes(value));
  const files = valued.filter(({ value = "" }) => FILE.test(value));
  const others = valued.filter((option) => !folders.includes(option) && !files.includes(option));
  return [
    `    "${path}")`,
    `      options="${patterns(options)}"`,
    `      folders=" ${patterns(folders)} " files=" ${patterns(files)} " values=" ${patterns(others)} " ;;`,
  ].join("\n");
}

/**
 * The bash script.
 *
 * @param groups by name
 */
export async function bashCompletion(groups: Readonly<Record<string, Group>>, io: CtlIo): Promise<string> {
  const cases: string[] = [];
  const commands: string[] = [];
  for (const [name, group] of Object.entries(groups)) {
    if (group.commands.length > 0) commands.push(`      ${name}) words="${group.commands.join(" ")}" ;;`);
    for (const command of group.commands.length === 0 ? [""] : group.commands) {
      cases.push(caseOf(`${name} ${command}`, await optionsOf(group, command, io)));
    }
  }
  return `# bash completion of denclavectl
_denclavectl() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words="" options="" folders="" files="" values=""
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "help ${Object.keys(groups).join(" ")}" -- "$current")
    return
  fi
  local path="\${COMP_WORDS[1]} \${COMP_WORDS[2]}"
  if ((COMP_CWORD == 2)); then
    case \${COMP_WORDS[1]} in
      help) words="${Object.keys(groups).join(" ")}" ;;
${commands.join("\n")}
    esac
    if [[ -n $words ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
      return
    fi
  fi
  case \${COMP_WORDS[1]} in
    ${
    Object.entries(groups).filter(([, group]) => group.commands.length === 0).map(([name]) => name).join("|")
  }) path="\${COMP_WORDS[1]} " ;;
  esac
  case $path in
${cases.join("\n")}
  esac
  if [[ $folders == *" $previous "* ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
  elif [[ $files == *" $previous "* ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  elif [[ $values == *" $previous "* ]]; then
    return
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -o filenames -F _denclavectl denclavectl
`;
}

/** Prints the completion. */
export async function runCompletion(
  argv: readonly string[],
  io: CtlIo,
  groups: Readonly<Record<string, Group>>,
): Promise<number> {
  const options = parseOptions(COMMON_OPTIONS, argv);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  io.stdout(await bashCompletion(groups, io));
  return EXIT.ok;
}
