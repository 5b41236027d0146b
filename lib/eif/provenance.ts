/**
 * What an image was made from, as a file beside it: who has the same inputs can make the same bytes, and compare.
 *
 * Needs read permission on the repository.
 *
 * @module
 */
import { VERSION } from "../version.ts";
import type { BuiltEif } from "./build.ts";

/** What is told beside what the build knows. */
export interface ProvenanceOptions {
  /** The image's file name, and its SHA-256. */
  readonly file: string;
  readonly sha256: string;
  readonly time: number;
  readonly compression: string | undefined;
  readonly commandLine: string;
  /** Of the repository that the program was built from. */
  readonly commit: string | undefined;
}

/** The provenance, as it is written. It says nothing of when and where: the same build, the same text. */
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
    built_by: { denclave: VERSION, deno: Deno.version.deno, git_commit: options.commit ?? null },
    source_date_epoch: options.time,
    compression: options.compression ?? null,
    cmdline: options.commandLine,
    cmd: built.command ?? null,
    env: built.environment ?? null,
    metadata: built.metadata,
    inputs: built.inputs,
  };
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
  return /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(commit) ? commit : undefined;
}

function packedRef(packed: string, ref: string): string {
  return packed.split("\n").find((line) => line.endsWith(` ${ref}`))?.split(" ")[0] ?? "";
}
