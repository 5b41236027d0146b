/**
 * `denclavectl completion`: scripts for shells, and `completion words`, which they call. What completes a command line comes from the table of commands.
 *
 * @module
 */
import { COMMON_OPTIONS, EXIT, type OptionSpec } from "../../shared/cli/options.ts";
import { type Command, groupsOf, membersOf } from "../terminal/command.ts";

/** What a value is completed with. */
const [FILES, FOLDERS] = [":files", ":folders"] as const;

const SCRIPTS = {
  bash: {
    install: `  source <(denclavectl completion bash)
  denclavectl completion bash >/etc/bash_completion.d/denclavectl`,
    script: `# bash completion of denclavectl
_denclavectl() {
  local word about current=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  while IFS=$'\\t' read -r word about; do
    case $word in
      ${FILES}) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
      ${FOLDERS}) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
      *) COMPREPLY+=("$word") ;;
    esac
  done < <(denclavectl completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o filenames -F _denclavectl denclavectl
`,
  },
  zsh: {
    install: `  source <(denclavectl completion zsh)
  denclavectl completion zsh >"\${fpath[1]}/_denclavectl"`,
    script: `#compdef denclavectl
_denclavectl() {
  local word about
  local -a found
  while IFS=$'\\t' read -r word about; do
    case $word in
      ${FILES}) _files ;;
      ${FOLDERS}) _files -/ ;;
      *) found+=("$word:$about") ;;
    esac
  done < <(denclavectl completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (($#found)); then _describe command found; fi
}
if [[ $funcstack[1] == _denclavectl ]]; then _denclavectl "$@"; else compdef _denclavectl denclavectl; fi
`,
  },
  fish: {
    install: `  denclavectl completion fish | source
  denclavectl completion fish >~/.config/fish/completions/denclavectl.fish`,
    script: `# fish completion of denclavectl
function __denclavectl_words
  set -l words (commandline -opc) "$(commandline -ct)"
  for line in (denclavectl completion words -- $words[2..-1] 2>/dev/null)
    switch $line
      case ${FILES}
        __fish_complete_path "$(commandline -ct)"
      case ${FOLDERS}
        __fish_complete_directories "$(commandline -ct)" ''
      case '*'
        echo $line
    end
  end
end
complete -c denclavectl -f -a '(__denclavectl_words)'
`,
  },
} as const;

function flagsOf({ name, short }: OptionSpec): readonly string[] {
  return [`--${name}`, ...(short === undefined ? [] : [`-${short}`])];
}

/**
 * What completes a command line: words with what they mean, after a tab, or {@link FILES} or {@link FOLDERS}.
 *
 * @param words those after the program's name; the last is being typed
 */
function completions(commands: readonly Command[], words: readonly string[]): readonly string[] {
  const current = words.at(-1) ?? "";
  const given = words[0] === "help" && words.length > 1 ? words.slice(1, -1) : words.slice(0, -1);
  const matching = (found: Iterable<readonly [string, string]>) =>
    Array.from(found).filter(([word]) => word.startsWith(current)).map((pair) => pair.join("\t"));
  const [group, member] = given;
  const alone = commands.find(({ path }) => path === group);
  if (group === undefined) {
    const groups = groupsOf(commands).map((name) =>
      [name, commands.find(({ path }) => path === name)?.summary ?? `the commands of ${name}`] as const
    );
    return matching([...groups, ["help", "show the usage"]]);
  }
  const members = membersOf(commands, group);
  if (alone === undefined && member === undefined) {
    return matching(Array.from(members, ([name, { summary }]) => [name, summary]));
  }
  const command = alone ?? members.get(member ?? "");
  if (command === undefined) return [];
  const options: readonly OptionSpec[] = [...command.options, ...COMMON_OPTIONS];
  const value = options.find((option) => flagsOf(option).includes(given.at(-1) ?? ""))?.value;
  if (value !== undefined) return value === "DIR" ? [FOLDERS] : value.includes("FILE") ? [FILES] : [];
  if (!current.startsWith("-")) return [FILES];
  return matching(
    options.flatMap((option) => flagsOf(option).map((flag) => [flag, option.help] as const)),
  );
}

/** The commands of the group. @param commands all commands of the program */
export function completionCommands(commands: () => readonly Command[]): readonly Command[] {
  const scripts = Object.entries(SCRIPTS).map(([shell, { install, script }]): Command => ({
    path: `completion ${shell}`,
    summary: `print the completion script for ${shell}`,
    usage: "",
    about: `Prints the completion of denclavectl's groups, commands and options:\n${install}`,
    options: [],
    run: (_options, io) => {
      io.data(script);
      return EXIT.ok;
    },
  }));
  return [...scripts, {
    path: "completion words",
    summary: "print what completes a command line, for these scripts",
    usage: "-- <word>...",
    options: [],
    positionals: Infinity,
    run: ({ positionals }, io) => {
      io.stdout(completions(commands(), positionals).map((line) => `${line}\n`).join(""));
      return EXIT.ok;
    },
  }];
}
