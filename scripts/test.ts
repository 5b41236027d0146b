/**
 * Runs the tests, each folder under its own permissions, and counts them. A folder's permissions are what its
 * tests need, with the reason. What has to be built for a suite is built before it, after the suites that
 * need nothing.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { LIBC_PATHS } from "../ffi/libc.ts";
import { writeAll } from "../lib/shared/write_all.ts";

/** A folder of tests. */
interface Suite {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly why: string;
  /** What `deno task build` builds for its tests. */
  readonly needs?: readonly string[];
  /** Whether each test must have ended what it began. False where tests share libraries and processes: those tests count leaks themselves. */
  readonly sanitized?: boolean;
  /** Whether its files run side by side, a thread for each core: where they share nothing and measure no time. */
  readonly parallel?: boolean;
}

export const SUITES: readonly Suite[] = [
  {
    name: "house",
    permissions: ["--allow-read", "--allow-env=DENCLAVE_VECTORS"],
    why: "the sources, the documents, and the vectors' folder",
    sanitized: true,
    parallel: true,
  },
  {
    name: "unit",
    permissions: [
      "--allow-read",
      "--allow-write",
      `--allow-ffi=${LIBC_PATHS.join(",")}`,
      "--allow-net=127.0.0.1",
      "--allow-env=WS_NO_BUFFER_UTIL,WS_NO_UTF_8_VALIDATE,LOG_STREAM,LOG_TOKENS,DENCLAVE_VECTORS",
    ],
    why:
      "files of the local KMS, access(2) through libc, a deadline on a loopback connect; variables that ethers and the YAML parser look at, and the vectors' folder",
    sanitized: true,
    parallel: true,
  },
  { name: "property", permissions: [], why: "nothing", sanitized: true, parallel: true },
  {
    name: "contract",
    permissions: [
      "--allow-ffi=tests/native/build",
      "--allow-read",
      "--allow-write",
      "--allow-run",
      "--allow-env",
    ],
    why:
      "the stand-ins for the SDK and the NSM's device, the real aws-c-common and AWS-LC; SDK processes as children; control files, named by environment variables",
    needs: ["native", "aws-lc", "eif-peer"],
  },
  {
    name: "e2e",
    permissions: [
      "--allow-net", // a Unix socket is one of the net permissions, by its path, which is made on the spot
      "--allow-run",
      "--allow-read",
      "--allow-write",
      `--allow-ffi=${LIBC_PATHS.join(",")}`, // the local KMS and plain KMS look for /dev/nsm
      "--allow-env", // the AWS SDK and dynalite look at many variables
      "--allow-sys", // the AWS SDK names the system in its requests
    ],
    why:
      "services, clients and other people's servers as processes of their own, over loopback and Unix sockets",
    needs: ["native", "peers"],
    parallel: true,
  },
  {
    name: "kms_e2e",
    permissions: [
      "--allow-net",
      "--allow-run",
      "--allow-read",
      "--allow-write",
      "--allow-env",
      "--allow-sys",
    ],
    why: "enclave app, gateway and moto's KMS as processes of their own, SQLite on disk",
    needs: ["peers"],
  },
  {
    name: "binary",
    permissions: [
      "--allow-net=127.0.0.1",
      "--allow-run",
      "--allow-read",
      "--allow-write",
      "--allow-env=DENCLAVE_VECTORS,DENO",
    ],
    why:
      "the compiled binary as a process (scripts/build_test_binary.sh makes it); the vectors' folder; bundles by the Deno that DENO names",
    needs: ["native"],
  },
];
const DEFAULT_SUITES = ["house", "unit", "property", "contract", "e2e", "kms_e2e"];

const SPECS = [
  { name: "filter", value: "TEXT", help: "only tests whose name contains this" },
  { name: "soak", help: "full counts of kills, faults and random inputs, instead of the shortened ones" },
  {
    name: "compiled",
    help: "e2e and kms_e2e start the compiled binaries (scripts/build_test_binary.sh) instead of the sources",
  },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `usage: deno task test [suite...] [options]

suites (by default all but the last):
${SUITES.map(({ name, why }) => `  ${name.padEnd(10)}${why}`).join("\n")}
options:
${helpLines(SPECS)}

exit codes: 0 all passed, 1 some failed, 2 usage
`;

interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** Names, with their places; the steps of one test each have one. */
  readonly failures: readonly string[];
  readonly skipped: readonly string[];
}

/** How a run was asked for. */
interface Run {
  readonly filter: string | undefined;
  readonly soak: boolean;
  readonly compiled: boolean;
}

/** Builds side by side, and says which builds are still running. */
async function build(names: readonly string[]): Promise<Outcome> {
  console.log(`\n== builds for the suites that follow, kept for other clones: ${names.join(", ")}`);
  const begun = performance.now();
  const running = new Set(names);
  const say = (what: string) => console.log(`${Math.round((performance.now() - begun) / 1_000)} s: ${what}`);
  const timer = setInterval(() => say(`still building ${[...running].join(", ")}`), 30_000);
  const failures: string[] = [];
  await Promise.all(names.map(async (name) => {
    const args = ["task", "--quiet", "build", name];
    const { success } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).spawn().status;
    running.delete(name);
    say(`${name} ${success ? "is ready" : "failed"}`);
    if (!success) failures.push(`${name}, so the suites that need it were not run`);
  }));
  clearInterval(timer);
  return { passed: 0, failed: failures.length, failures, skipped: [] };
}

/** Runs a suite with its output as it comes. */
async function runSuite(suite: Suite, { filter, soak, compiled }: Run): Promise<Outcome> {
  console.log(`\n== ${suite.name}: ${suite.why}`);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--no-prompt",
      "--quiet",
      "--lock=tests/deno.lock",
      "--frozen",
      // What a test leaves open is a leak: since 2.9 Deno looks only when told to.
      ...(suite.sanitized ? ["--sanitize-ops", "--sanitize-resources"] : []),
      ...(suite.parallel ? ["--parallel"] : []),
      ...suite.permissions,
      ...(filter === undefined ? [] : [`--filter=${filter}`]),
      `tests/${suite.name}/`,
      // What tests/helpers/effort.ts and tests/helpers/ctl_process.ts read.
      "--",
      ...(soak ? ["--soak"] : []),
      ...(compiled ? ["--compiled"] : []),
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    writeAll((bytes) => Deno.stdout.writeSync(bytes), new TextEncoder().encode(chunk));
    text += chunk;
  }
  const { success } = await child.status;
  // deno-lint-ignore no-control-regex
  return outcomeOf(text.replace(/\x1b\[[0-9;]*m/g, ""), success);
}

/** Reads what Deno printed: the tests that it ignored, its last section and its last line. */
function outcomeOf(text: string, success: boolean): Outcome {
  const [, failures = "", passed = "0", failed = "0"] =
    /(?:^ FAILURES \n\n([^]*?)\n\n)?^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed.*\n*$/m.exec(
      text.slice(Math.max(0, text.lastIndexOf("\n FAILURES \n"))),
    ) ?? [];
  const names = failures.split("\n").filter((name) => name !== "");
  const skipped = [...text.matchAll(/^(.*) \.\.\. ignored \(/gm)].map(([, name = ""]) => name);
  // A suite that fails without a failed test did not run to its end: that counts.
  if (!success && names.length === 0) names.push("the suite did not run to its end");
  return {
    passed: Number(passed),
    failed: success ? 0 : Math.max(1, Number(failed)),
    failures: names,
    skipped,
  };
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv, undefined, { positionals: Infinity });
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const wanted = options.positionals.length === 0 ? DEFAULT_SUITES : options.positionals;
  const suites = wanted.map((name) => {
    const suite = SUITES.find((candidate) => candidate.name === name);
    if (suite === undefined) {
      throw new UsageError(
        `Unknown suite ${JSON.stringify(name)}`,
        `Suites: ${SUITES.map((known) => known.name).join(", ")}.`,
      );
    }
    return suite;
  });
  const run = { filter: options.text("filter"), soak: options.on("soak"), compiled: options.on("compiled") };
  const ready = suites.filter(({ needs }) => needs === undefined);
  const waiting = suites.filter(({ needs }) => needs !== undefined);
  const needed = [...new Set(waiting.flatMap(({ needs = [] }) => needs))];
  const step = (suite: Suite) => ({ name: suite.name, work: () => runSuite(suite, run) });
  const steps = [...ready.map(step), { name: "builds", work: () => build(needed) }, ...waiting.map(step)];
  let [passed, failed] = [0, 0];
  const [times, failures, skipped]: [string[], string[], string[]] = [[], [], []];
  for (const { name, work } of waiting.length === 0 ? steps.slice(0, -1) : steps) {
    const begun = performance.now();
    const outcome = await work();
    times.push(`${name} ${Math.round((performance.now() - begun) / 1_000)} s`);
    passed += outcome.passed;
    failed += outcome.failed;
    failures.push(...outcome.failures.map((failure) => `failed: ${name}: ${failure}`));
    skipped.push(...outcome.skipped.map((test) => `skipped: ${name}: ${test}`));
    if (name === "builds" && outcome.failed > 0) break;
  }
  console.log(`\nwall time: ${times.join(", ")}`);
  if (skipped.length > 0) console.log(`\n${skipped.join("\n")}\n${skipped.length} skipped`);
  if (failures.length > 0) console.log(`\n${failures.join("\n")}`);
  // The last line, alone: .ci/run reads it.
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

if (import.meta.main) await runEntry(main);
