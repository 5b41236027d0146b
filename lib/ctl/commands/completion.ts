/**
 * `denclavectl completion bash|zsh|fish`: completes groups, commands and options, from the table of commands.
 *
 * @module
 */
import { COMMON_OPTIONS, EXIT, type OptionSpec } from "../../shared/cli/options.ts";
import { type Command, groupsOf, membersOf } from "../terminal/command.ts";

type Commands = readonly Command[];

/** What the value of an option is: a folder, a file (also in PATH=FILE), other text, or none. */
function valueKind({ value }: OptionSpec): "folder" | "file" | "text" | "none" {
  if (value === undefined) return "none";
  return value === "DIR" ? "folder" : value.includes("FILE") ? "file" : "text";
}

function optionsOf({ options }: Command): readonly OptionSpec[] {
  return [...options, ...COMMON_OPTIONS];
}

function flagsOf(options: readonly OptionSpec[]): string {
  return options.flatMap(({ name, short }) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])])
    .join(" ");
}

/** A word in single quotes, as all three shells read it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function bash(commands: Commands): string {
  const groups = groupsOf(commands);
  const words = groups.flatMap((group) => {
    const members = [...membersOf(commands, group).keys()];
    return members.length === 0 ? [] : [`      ${group}) words="${members.join(" ")}" ;;`];
  });
  const alone = commands.filter(({ path }) => !path.includes(" ")).map(({ path }) => path);
  const cases = commands.map((command) => {
    const options = optionsOf(command);
    const of = (kind: string) => flagsOf(options.filter((option) => valueKind(option) === kind));
    return `    "${command.path}")
      options="${flagsOf(options)}"
      folders=" ${of("folder")} " files=" ${of("file")} " values=" ${of("text")} " ;;`;
  });
  return `# bash completion of denclavectl
_denclavectl() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words="" options="" folders="" files="" values=""
  COMPREPLY=()
  if ((COMP_CWORD == 1)) || { ((COMP_CWORD == 2)) && [[ \${COMP_WORDS[1]} == help ]]; }; then
    mapfile -t COMPREPLY < <(compgen -W "help ${groups.join(" ")}" -- "$current")
    return
  fi
  local path="\${COMP_WORDS[1]} \${COMP_WORDS[2]}"
  if ((COMP_CWORD == 2)); then
    case \${COMP_WORDS[1]} in
${words.join("\n")}
    esac
    if [[ -n $words ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
      return
    fi
  fi
  case \${COMP_WORDS[1]} in
    ${alone.join("|")}) path=\${COMP_WORDS[1]} ;;
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

/** An option for `_arguments`: flags, help in brackets, and what completes its value. */
function zshOption(option: OptionSpec): string {
  const { name, short, value = "", multiple, help } = option;
  const actions = { folder: ":DIR:_files -/", file: ":FILE:_files", text: `:${value}: `, none: "" };
  const rest = `[${help.replace(/[[\]:]/g, "\\$&")}]${actions[valueKind(option)]}`;
  const flags = short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];
  return flags.map((flag) => `      ${quote(`${multiple === true ? "*" : ""}${flag}${rest}`)}`).join(" \\\n");
}

function zsh(commands: Commands): string {
  const described = (entries: Iterable<readonly [string, string]>) =>
    Array.from(entries, ([name, does]) => quote(`${name}:${does}`)).join(" ");
  const groups = groupsOf(commands).map((group) =>
    [group, commands.find(({ path }) => path === group)?.summary ?? `the commands of ${group}`] as const
  );
  const members = groups.flatMap(([group]) => {
    const found = membersOf(commands, group);
    if (found.size === 0) return [];
    const names = described([...found].map(([name, { summary }]) => [name, summary]));
    return [`    ${group}) names=(${names}) ;;`];
  });
  const cases = commands.map((command) => {
    const end = command.positionals === undefined ? "" : ` \\\n      '*:file:_files'`;
    return `    ${quote(command.path)}) _arguments -s \\\n${
      optionsOf(command).map(zshOption).join(" \\\n")
    }${end} ;;`;
  });
  return `#compdef denclavectl
_denclavectl() {
  local place=$words[2]
  local -a names
  if ((CURRENT == 2)); then
    names=(${described([["help", "show the usage"], ...groups])})
    _describe command names
    return
  fi
  case $place in
${members.join("\n")}
  esac
  if (($#names)); then
    if ((CURRENT == 3)); then
      _describe command names
      return
    fi
    place="$words[2] $words[3]"
    shift words
    ((CURRENT--))
  fi
  shift words
  ((CURRENT--))
  case $place in
${cases.join("\n")}
  esac
}
if [[ $funcstack[1] == _denclavectl ]]; then _denclavectl "$@"; else compdef _denclavectl denclavectl; fi
`;
}

function fish(commands: Commands): string {
  const lines = groupsOf(commands).flatMap((group) => {
    const does = commands.find(({ path }) => path === group)?.summary ?? `the commands of ${group}`;
    const members = [...membersOf(commands, group)].map(([name, { summary }]) =>
      `complete -c denclavectl -n '__denclavectl_at ${group}' -a ${name} -d ${quote(summary)}`
    );
    return [`complete -c denclavectl -n '__denclavectl_at' -a ${group} -d ${quote(does)}`, ...members];
  });
  const options = commands.flatMap((command) =>
    optionsOf(command).map((option) => {
      const { name, short, help } = option;
      const takes = {
        folder: " -x -a '(__fish_complete_directories)'",
        file: " -r -F",
        text: " -x",
        none: "",
      };
      const flags = `${short === undefined ? "" : ` -s ${short}`} -l ${name}${takes[valueKind(option)]}`;
      return `complete -c denclavectl -n '__denclavectl_in ${command.path}'${flags} -d ${quote(help)}`;
    })
  );
  const files = commands.filter(({ positionals }) => positionals !== undefined)
    .map(({ path }) => `complete -c denclavectl -n '__denclavectl_in ${path}' -F`);
  return `# fish completion of denclavectl
function __denclavectl_words
  set -l words (commandline -opc)
  string join ' ' -- $words[2..-1]
end
function __denclavectl_at
  test (__denclavectl_words | string collect --allow-empty) = "$argv"
end
function __denclavectl_in
  string match -q -- "$argv *" (__denclavectl_words)" "
end
complete -c denclavectl -f
complete -c denclavectl -n '__denclavectl_at' -a help -d 'show the usage'
${[...lines, ...options, ...files].join("\n")}
`;
}

const SHELLS = {
  bash: {
    script: bash,
    about: `  source <(denclavectl completion bash)
  denclavectl completion bash >/etc/bash_completion.d/denclavectl`,
  },
  zsh: {
    script: zsh,
    about: `  denclavectl completion zsh >"\${fpath[1]}/_denclavectl"`,
  },
  fish: {
    script: fish,
    about: `  denclavectl completion fish >~/.config/fish/completions/denclavectl.fish`,
  },
} as const;

/** The commands of the group. @param commands all commands of the program */
export function completionCommands(commands: () => Commands): Commands {
  return Object.entries(SHELLS).map(([shell, { script, about }]) => ({
    path: `completion ${shell}`,
    summary: `print the completion script for ${shell}`,
    usage: "",
    about: `Prints the completion of denclavectl's groups, commands and options:\n${about}`,
    options: [],
    run: (_options, io) => {
      io.data(script(commands()));
      return EXIT.ok;
    },
  }));
}
