/**
 * The provenance of an image, a file beside it that records its inputs: the same inputs give the same bytes, which can be compared.
 *
 * Needs read permission on the repository, and may run git there.
 *
 * @module
 */
import { VERSION } from "../../shared/version.ts";
import type { BuiltEif } from "./build.ts";

const COMMIT = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/** Facts about the image that the build does not know. */
export interface ProvenanceOptions {
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

/** A repository's commit, and whether there were uncommitted changes; undefined if unknown. */
export interface SourceState {
  readonly commit: string | undefined;
  readonly dirty: boolean | undefined;
}

/** What a program was made from: the compile task writes it beside the binary, as `<binary>.build.json`. */
export interface ProgramRecord {
  readonly file: string;
  /** Of the binary, hex. */
  readonly sha256: string;
  /** The version of Deno that made it. */
  readonly deno: string;
  /** Of the JavaScript within it, hex. */
  readonly bundle_sha256: string;
  readonly git_commit: string | null;
  readonly dirty: boolean | null;
  /** Options of the compile task. */
  readonly options: Readonly<Record<string, string | readonly string[]>>;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** Reads a program's record; undefined when it is not one. */
export function parseProgramRecord(value: unknown): ProgramRecord | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { file, sha256, deno, bundle_sha256, git_commit, dirty, options } = value as Record<string, unknown>;
  if (!isText(file) || !isText(sha256) || !isText(deno) || !isText(bundle_sha256)) return undefined;
  if (typeof options !== "object" || options === null || Array.isArray(options)) return undefined;
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
      git_commit: options.source.commit ?? null,
      dirty: options.source.dirty ?? null,
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

/**
 * The state of a folder's repository: its commit, and what `git status` says of changes. Ignored files do not count as changes.
 *
 * @param folder absolute
 */
export async function sourceState(folder: string): Promise<SourceState> {
  const commit = await gitCommit(folder);
  if (commit === undefined) return { commit, dirty: undefined };
  try {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["-C", folder, "status", "--porcelain", "--untracked-files=all"],
      stdin: "null",
      stderr: "null",
    }).output();
    return { commit, dirty: success ? stdout.length > 0 : undefined };
  } catch {
    return { commit, dirty: undefined };
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return (await Deno.readTextFile(path)).trim();
  } catch {
    return undefined;
  }
}

/** Where a folder's repository keeps its files; in a work tree, `.git` is a file that says where. */
async function gitFolder(from: string): Promise<string | undefined> {
  for (let folder = from;; folder = folder.slice(0, folder.lastIndexOf("/"))) {
    const git = `${folder}/.git`;
    const info = await Deno.stat(git).catch(() => undefined);
    if (info?.isDirectory) return git;
    if (info?.isFile) {
      const [, to] = /^gitdir: (.+)$/.exec(await textOf(git) ?? "") ?? [];
      return to === undefined || to.startsWith("/") ? to : `${folder}/${to}`;
    }
    if (folder === "") return undefined;
  }
}

/**
 * The commit that a folder's repository is at, read from its files; undefined when there is none. Changes that are not committed are not seen.
 *
 * @param folder absolute
 */
export async function gitCommit(folder: string): Promise<string | undefined> {
  const git = await gitFolder(folder.replace(/\/+$/, ""));
  if (git === undefined) return undefined;
  const head = await textOf(`${git}/HEAD`) ?? "";
  const [, ref] = /^ref: (refs\/[A-Za-z0-9_./-]+)$/.exec(head) ?? [];
  const shared = await textOf(`${git}/commondir`);
  const common = shared === undefined ? git : shared.startsWith("/") ? shared : `${git}/${shared}`;
  const commit = ref === undefined
    ? head
    : await textOf(`${common}/${ref}`) ?? packedRef(await textOf(`${common}/packed-refs`) ?? "", ref);
  return COMMIT.test(commit) ? commit : undefined;
}

function packedRef(packed: string, ref: string): string {
  return packed.split("\n").find((line) => line.endsWith(` ${ref}`))?.split(" ")[0] ?? "";
}
