/**
 * What `denclavectl` prints. Replies, stores, images and policies come from others: a character in them that
 * a terminal does not show as itself could move the cursor, hide or turn text, or begin a line that looks
 * like the program's own. Such characters are escaped here, in everything that is printed, as `\u` and four
 * hex digits: within JSON the value stays the same.
 *
 * @module
 */
import type { Options } from "../../shared/cli/options.ts";

/**
 * Control and format characters, those without a meaning yet, halves of surrogate pairs; separators of lines;
 * what has no width.
 */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

function escape(character: string): string {
  return Array.from(
    { length: character.length },
    (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`,
  ).join("");
}

/** A text of several lines, without characters that a terminal does not show as themselves. */
export function printable(text: string): string {
  return text.replace(UNSEEN, (found) => found === "\n" || found === "\t" ? found : escape(found));
}

/** As {@link printable}, for a value that must not begin another line or column. */
export function oneLine(text: string): string {
  return text.replace(UNSEEN, escape);
}

const COLOURS = { bold: 1, red: 31, green: 32, yellow: 33, grey: 90 } as const;

/** Text in a colour. */
export interface Painted {
  readonly colour: keyof typeof COLOURS;
  readonly text: string;
}

/** What can be printed. */
export type Text = string | readonly (string | Painted)[];

/** The characters that are written for a text. */
export function render(text: Text, colours: boolean): string {
  return (typeof text === "string" ? [text] : text).map((piece) => {
    if (typeof piece === "string") return printable(piece);
    const shown = printable(piece.text);
    return colours ? `\x1b[${COLOURS[piece.colour]}m${shown}\x1b[0m` : shown;
  }).join("");
}

/** What the entry point provides. */
interface ProcessIo {
  readonly write: (to: "stdout" | "stderr", text: string) => void;
  readonly isTerminal: (stream: "stdout" | "stderr") => boolean;
  readonly env: (name: string) => string | undefined;
  /** Resolves with the signal's name when the process is told to end. */
  readonly untilSignal: () => Promise<string>;
  /** Has a function called at each SIGHUP, for programs that then read their configuration again. */
  readonly onReload?: (run: () => void) => void;
  /** Loads what `emulator serve` runs; undefined where that command is not served. */
  readonly loadEmulator?: () => Promise<
    { readonly serveEmulator: (options: Options, io: CtlIo) => Promise<number> }
  >;
}

/** What the commands use: all that they print goes through {@link render}. */
export interface CtlIo extends Pick<ProcessIo, "env" | "untilSignal" | "onReload" | "loadEmulator"> {
  readonly stdout: (text: Text) => void;
  readonly stderr: (text: Text) => void;
  /** Writes data to stdout: as they are, unless that is a terminal. */
  readonly data: (text: string) => void;
  /** Writes a line to stderr over the one before it; undefined when stderr is no terminal. */
  readonly overwrite: ((line: string) => void) | undefined;
}

/** Makes it. */
export function openIo({ write, isTerminal, ...given }: ProcessIo): CtlIo {
  const { env } = given;
  const print = (to: "stdout" | "stderr") => {
    const colours = isTerminal(to) && (env("NO_COLOR") ?? "") === "";
    return (text: Text) => write(to, render(text, colours));
  };
  return {
    stdout: print("stdout"),
    stderr: print("stderr"),
    data: (text) => write("stdout", isTerminal("stdout") ? printable(text) : text),
    overwrite: isTerminal("stderr") ? (line) => write("stderr", `\r${oneLine(line)}`) : undefined,
    ...given,
  };
}
