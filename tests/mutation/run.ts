/**
 * Applies each mutant in a copy of the repository and runs the test file that must notice it. A mutant that
 * no test notices is a survivor, and so is one whose text is gone.
 *
 * Needs permission to run Deno and git, and to read and write the copies.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
} from "../../lib/shared/cli/options.ts";
import { runEntry } from "../../lib/shared/cli/entry.ts";
import { SUITES } from "../../scripts/test.ts";
import { type Mutant, MUTANTS } from "./mutants.ts";

const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const PRODUCT = /^(main\.ts|(ffi|lib)\/.*\.ts)$/;
/** What git ignores and the tests need: the stand-ins in C, the servers of other projects. */
const BUILT = ["tests/native/build", "tests/peers/build"];
const RUN_MS = 60_000;

const SPECS = [
  { name: "filter", value: "TEXT", help: "only mutants whose name contains this" },
  { name: "jobs", value: "N", default: String(navigator.hardwareConcurrency), help: "how many at a time" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: deno task mutants [options]

Changes one line of the product at a time, in a copy, and runs the test that must notice it.
options:
${helpLines(SPECS)}

exit codes: 0 all were noticed, 1 some were not, 2 usage
`;

/** The product's files, by path. */
async function readProduct(): Promise<ReadonlyMap<string, string>> {
  const paths = (await trackedFiles()).filter((path) => PRODUCT.test(path));
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await Deno.readTextFile(`${ROOT}/${path}`)] as const)),
  );
}

/** Files that git has or would take. */
async function trackedFiles(): Promise<readonly string[]> {
  const { success, stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error("git ls-files failed");
  const names = new TextDecoder().decode(stdout).split("\0").filter((name) => name !== "");
  const there = await Promise.all(
    names.map((name) => Deno.stat(`${ROOT}/${name}`).then(() => true, () => false)),
  );
  return names.filter((_, index) => there[index]);
}

/** Where a mutant's text is: the only file that has it, and its source with the change. */
export function applyMutant(
  { from, to }: Pick<Mutant, "from" | "to">,
  product: ReadonlyMap<string, string>,
): { readonly path: string; readonly source: string } | { readonly problem: string } {
  const places = [...product].flatMap(([path, source]) =>
    Array.from({ length: source.split(from).length - 1 }, () => ({ path, source }))
  );
  const [place] = places;
  if (from.includes("\n") || from === to) return { problem: "is not a change within one line" };
  if (place === undefined) return { problem: "its text is in no file of the product" };
  if (places.length > 1) {
    return {
      problem: `its text is ${places.length} times in the product: ${places.map(({ path }) => path)}`,
    };
  }
  return { path: place.path, source: place.source.replace(from, () => to) };
}

/** A copy of the repository that one job changes, at the same distance from `../shared` as the repository. */
async function makeCopy(folder: string): Promise<string> {
  const copy = `${folder}/repository`;
  for (const file of await trackedFiles()) {
    await Deno.mkdir(`${copy}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(`${ROOT}/${file}`, `${copy}/${file}`);
  }
  for (const path of BUILT) {
    // Copied, not linked: a permission names a file by its path.
    await new Deno.Command("cp", { args: ["-rL", `${ROOT}/${path}`, `${copy}/${path}`], stderr: "null" })
      .output();
  }
  await Deno.symlink(`${ROOT}/../shared`, `${folder}/shared`);
  return copy;
}

/** How a run of a test file ended: some test failed, all passed, or it did not run to its end. */
type Outcome = "failed" | "passed" | { readonly broken: string };

async function runTest(copy: string, test: string, filter: string | undefined): Promise<Outcome> {
  const suite = SUITES.find(({ name }) => test.startsWith(`${name}/`));
  if (suite === undefined) return { broken: `no suite has ${test}` };
  try {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "--no-prompt",
        "--no-check",
        "--fail-fast",
        "--lock=tests/deno.lock",
        "--frozen",
        ...suite.permissions.map((flag) => flag.replaceAll(ROOT, copy)),
        ...(filter === undefined ? [] : [`--filter=${filter}`]),
        `tests/${test}`,
      ],
      cwd: copy,
      env: { NO_COLOR: "1" },
      stdin: "null",
      signal: AbortSignal.timeout(RUN_MS),
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    // A file that does not load fails too, but no test of it: that proves nothing.
    if (!success && !text.includes(" ... FAILED")) {
      return { broken: text.trim().split("\n").slice(-6).join("\n") };
    }
    if (success && !/\| [1-9]\d* passed/.test(text)) return { broken: "no test ran" };
    return success ? "passed" : "failed";
  } catch (thrown) {
    return { broken: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** Runs tasks one after the other in each of the copies. */
async function inCopies<T>(
  copies: readonly string[],
  items: readonly T[],
  work: (copy: string, item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  await Promise.all(copies.map(async (copy) => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(copy, item);
  }));
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const wanted = options.text("filter") ?? "";
  const mutants = MUTANTS.filter(({ name }) => name.includes(wanted));
  const product = await readProduct();
  const folder = await Deno.makeTempDir({ prefix: "denclave-mutants-" });
  const survivors: string[] = [];
  const begun = performance.now();
  try {
    const jobs = Array.from({ length: options.number("jobs", { min: 1, max: 64 }) }, (_, index) => index);
    const copies = await Promise.all(jobs.map((job) => makeCopy(`${folder}/${job}`)));
    // A test that fails without the change proves nothing.
    const runs = new Map(mutants.map(({ test, filter }) => [`${test} ${filter}`, { test, filter }]));
    const unusable = new Set<string>();
    await inCopies(copies, [...runs], async (copy, [key, { test, filter }]) => {
      const outcome = await runTest(copy, test, filter);
      if (outcome === "passed") return;
      unusable.add(key);
      console.log(
        `${test} does not pass without a change: ${typeof outcome === "string" ? outcome : outcome.broken}`,
      );
    });
    await inCopies(copies, mutants, async (copy, mutant) => {
      const started = performance.now();
      const say = (word: string, why: string) =>
        console.log(
          `${word.padEnd(8)} ${mutant.name} (${why}) ${Math.round(performance.now() - started)} ms`,
        );
      const survives = (why: string) => {
        survivors.push(mutant.name);
        say("SURVIVED", why);
      };
      if (unusable.has(`${mutant.test} ${mutant.filter}`)) return survives(`${mutant.test} cannot be used`);
      const changed = applyMutant(mutant, product);
      if ("problem" in changed) return survives(changed.problem);
      await Deno.writeTextFile(`${copy}/${changed.path}`, changed.source);
      const outcome = await runTest(copy, mutant.test, mutant.filter);
      await Deno.writeTextFile(`${copy}/${changed.path}`, product.get(changed.path) ?? "");
      if (outcome === "failed") return say("killed", `${changed.path}, by ${mutant.test}`);
      survives(
        outcome === "passed" ? `${changed.path}: ${mutant.test} passes` : `does not run: ${outcome.broken}`,
      );
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  console.log(
    `\n${mutants.length - survivors.length} of ${mutants.length} mutants killed in ${
      Math.round((performance.now() - begun) / 1_000)
    } s`,
  );
  for (const name of survivors) console.log(`survived: ${name}`);
  return survivors.length === 0 && mutants.length > 0 ? EXIT.ok : EXIT.failed;
}

if (import.meta.main) await runEntry(main);
