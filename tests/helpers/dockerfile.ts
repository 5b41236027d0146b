/**
 * The Dockerfile, carried out without Docker: each stage in a folder that stands for its root, with its own
 * commands. An absolute path of a command is one in that folder.
 *
 * @module
 */
import { runTool } from "./tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A line of a stage. */
export interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** A stage, without its `FROM`. */
export interface Stage {
  /** After `AS`; `image` for the last one. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

/** Reads a Dockerfile. @returns its stages, and the defaults of the arguments before them */
export async function readDockerfile(path = "Dockerfile"): Promise<{
  readonly stages: readonly Stage[];
  readonly defaults: Readonly<Record<string, string>>;
}> {
  const text = (await Deno.readTextFile(ROOT + path)).replace(/^\s*#.*\n/gm, "").replace(/\\\n/g, "");
  const defaults: Record<string, string> = {};
  const stages: (Stage & { readonly instructions: Instruction[] })[] = [];
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const [, name = "", rest = ""] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    const stage = stages.at(-1);
    if (name === "FROM") stages.push({ name: / AS (\S+)$/.exec(rest)?.[1] ?? "image", instructions: [] });
    else if (stage !== undefined) stage.instructions.push({ name, text: rest });
    else {
      const [, argument = "", value = ""] = /^(\w+)(?:=(.*))?$/.exec(rest) ?? [];
      defaults[argument] = value;
    }
  }
  return { stages, defaults };
}

/** What a `COPY` names. */
export interface Copy {
  /** The stage that it copies from; undefined for the build context. */
  readonly from: string | undefined;
  readonly sources: readonly string[];
  readonly destination: string;
}

/** Reads a `COPY`'s text. */
export function parseCopy(text: string): Copy {
  const words = text.split(/\s+/);
  const from = words[0]?.startsWith("--from=") ? words.shift()?.slice("--from=".length) : undefined;
  return { from, sources: words.slice(0, -1), destination: words.at(-1) ?? "" };
}

/**
 * Whether the build context lacks a path, as `.dockerignore` says: the last pattern that fits the path, or a
 * folder above it, decides.
 */
export async function readIgnored(): Promise<(path: string) => boolean> {
  const lines = (await Deno.readTextFile(`${ROOT}.dockerignore`)).split("\n");
  const patterns = lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
    const glob = line.replace(/^!/, "").replace(/[.+^${}()|[\]\\]/g, "\\$&");
    const source = glob.replaceAll("**/", "(?:.*/)?").replace(/(?<![.)])\*/g, "[^/]*");
    return { ignores: !line.startsWith("!"), regExp: new RegExp(`^${source}(?:/.*)?$`) };
  });
  return (path) => patterns.findLast(({ regExp }) => regExp.test(path))?.ignores ?? false;
}

/** Copies a file, or what is in a folder. @param isKept is asked for each file's path below `from` */
async function copy(from: string, to: string, isKept: (below: string) => boolean, below = ""): Promise<void> {
  if (!(await Deno.stat(from + below)).isDirectory) {
    if (!isKept(below)) return;
    await Deno.mkdir((to + below).replace(/[^/]*$/, ""), { recursive: true });
    return await Deno.copyFile(from + below, to + below);
  }
  for await (const { name } of Deno.readDir(from + below)) await copy(from, to, isKept, `${below}/${name}`);
}

/** What a build is given. */
export interface Build {
  /** The Dockerfile; the repository's by default. */
  readonly file?: string;
  /** The folder that files are copied from, without a `.dockerignore`; the repository by default. */
  readonly context?: string;
  /** Holds a folder for each stage; what its base image has is there before. */
  readonly folder: string;
  /** Programs that come first on PATH. */
  readonly bin: string;
  readonly args: Readonly<Record<string, string>>;
  /** Stages to carry out; all by default. */
  readonly only?: readonly string[];
}

/**
 * Carries out stages, in order.
 *
 * @returns the variables of the last one
 * @throws {Error} when a command fails, or what is to be copied is not there.
 */
export async function buildStages(
  { file, context, folder, bin, args, only }: Build,
): Promise<Readonly<Record<string, string>>> {
  const { stages, defaults } = await readDockerfile(file);
  const isIgnored = context === undefined ? await readIgnored() : () => false;
  let variables: Record<string, string> = {};
  for (const { name: stage, instructions } of stages) {
    if (only !== undefined && !only.includes(stage)) continue;
    const root = `${folder}/${stage}`;
    const scope: Record<string, string> = {};
    const expand = (text: string) => text.replace(/\$\{(\w+)\}/g, (_, name) => scope[name] ?? "");
    let workdir = "/";
    variables = {};
    await Deno.mkdir(root, { recursive: true });
    for (const { name, text } of instructions) {
      switch (name) {
        case "ARG":
          scope[text] = args[text] ?? defaults[text] ?? "";
          break;
        case "ENV":
          for (const [, key = "", value = ""] of text.matchAll(/(\w+)=(\S*)/g)) {
            variables[key] = expand(value);
          }
          break;
        case "WORKDIR":
          await Deno.mkdir(root + (workdir = text), { recursive: true });
          break;
        case "COPY": {
          const { from, sources, destination } = parseCopy(text);
          const into = destination.startsWith("/") ? root + destination : `${root}${workdir}/${destination}`;
          for (const source of sources) {
            const path = from === undefined ? (context ?? ROOT) + source : `${folder}/${from}${source}`;
            const isFolder = (await Deno.stat(path)).isDirectory;
            const to = !isFolder && destination.endsWith("/") ? `${into}${source}` : into.replace(/\/$/, "");
            await copy(path, to, (below) => from !== undefined || !isIgnored(source + below));
            // As in Docker, a source of which everything is ignored is an error.
            await Deno.stat(to);
          }
          break;
        }
        case "RUN": {
          const command = text.replace(/(?<=^|[\s"'=])\/(?=[\w$])/g, `${root}/`);
          const args = ["-c", 'export PATH="$0:$PATH"; exec sh -c "$1"', bin, command];
          const options = { cwd: root + workdir, env: { ...scope, ...variables } };
          const { code, stdout, stderr } = await runTool("sh", args, options);
          if (code !== 0) throw new Error(`${text}: ${stdout}${stderr}`);
          break;
        }
        case "ENTRYPOINT":
          break;
        default:
          throw new Error(`${name}?`);
      }
    }
  }
  return variables;
}

/** All files of a stage, sorted, from its root. */
export async function filesOf(folder: string, below = ""): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder + below)) {
    const path = `${below}/${name}`;
    if (isDirectory) found.push(...await filesOf(folder, path));
    else found.push(path);
  }
  return found.sort();
}
