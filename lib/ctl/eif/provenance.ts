/**
 * The provenance of an image, a file beside it that records its inputs: the same inputs give the same bytes, which can be compared.
 *
 * Needs read permission on the repository, and may run git there.
 *
 * @module
 */
import { isObject } from "../../shared/json.ts";
import { VERSION } from "../../shared/version.ts";
import type { BuiltEif } from "./build.ts";

const COMMIT = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/** Facts about the image that the build does not know. */
interface ProvenanceOptions {
  /** The image's file name, and its SHA-256. */
  readonly file: string;
  readonly sha256: string;
  readonly time: number;
  readonly compression: string | undefined;
  readonly commandLine: string;
  /** Of the repository that the program was built from. */
  readonly source: SourceState;
  /** What the compile task wrote beside the program; undefined when it was made in another way. */
  readonly program: ProgramRecord | undefined;
}

/** What git says of a folder: the commit, and whether the work tree has changes; null if unknown. */
interface SourceState {
  readonly git_commit: string | null;
  readonly dirty: boolean | null;
}

/** What a program was made from: the compile task writes it beside the binary, as `<binary>.build.json`. */
export interface ProgramRecord extends SourceState {
  readonly file: string;
  /** Of the binary, hex. */
  readonly sha256: string;
  /** The version of Deno that made it. */
  readonly deno: string;
  /** Of the JavaScript within it, hex. */
  readonly bundle_sha256: string;
  /** Options of the compile task. */
  readonly options: Readonly<Record<string, string | readonly string[]>>;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** Reads a program's record; undefined when it is not one. */
export function parseProgramRecord(value: unknown): ProgramRecord | undefined {
  if (!isObject(value)) return undefined;
  const { file, sha256, deno, bundle_sha256, git_commit, dirty, options } = value;
  if (!isText(file) || !isText(sha256) || !isText(deno) || !isText(bundle_sha256)) return undefined;
  if (!isObject(options)) return undefined;
  const isOption = (option: unknown): option is string | readonly string[] =>
    isText(option) || (Array.isArray(option) && option.every(isText));
  return {
    file,
    sha256,
    deno,
    bundle_sha256,
    git_commit: isText(git_commit) && COMMIT.test(git_commit) ? git_commit : null,
    dirty: typeof dirty === "boolean" ? dirty : null,
    options: Object.fromEntries(
      Object.entries(options).filter((entry): entry is [string, string] => isOption(entry[1])),
    ),
  };
}

/** The compile task's record of a program, if it matches that program. */
export async function programRecord(binary: string, sha256: string): Promise<ProgramRecord | undefined> {
  try {
    const record = parseProgramRecord(JSON.parse(await Deno.readTextFile(`${binary}.build.json`)));
    return record?.sha256 === sha256 ? record : undefined;
  } catch {
    return undefined;
  }
}

/** The provenance, as it is written. It contains no time and no place, so the same build gives the same text. */
export function provenanceOf(
  built: BuiltEif,
  options: ProvenanceOptions,
): Readonly<Record<string, unknown>> {
  return {
    image: {
      file: options.file,
      bytes: built.size,
      sha256: options.sha256,
      architecture: built.architecture,
    },
    measurements: built.measurements,
    built_by: {
      denclave: VERSION,
      deno: Deno.version.deno,
      git_commit: options.source.git_commit,
      dirty: options.source.dirty,
    },
    program: options.program ?? null,
    source_date_epoch: options.time,
    compression: options.compression ?? null,
    cmdline: options.commandLine,
    cmd: built.command ?? null,
    env: built.environment ?? null,
    metadata: built.metadata,
    inputs: built.inputs,
  };
}

/** What git says of a folder's repository. Files that git ignores do not count as changes. */
export async function sourceState(folder: string): Promise<SourceState> {
  const git = async (...args: readonly string[]) => {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["-C", folder, ...args],
      stdin: "null",
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  };
  try {
    const commit = await git("rev-parse", "--verify", "HEAD") ?? "";
    const changes = await git("status", "--porcelain", "--untracked-files=all");
    if (COMMIT.test(commit)) {
      return { git_commit: commit, dirty: changes === undefined ? null : changes !== "" };
    }
  } catch {
    // git is not installed.
  }
  return { git_commit: null, dirty: null };
}
