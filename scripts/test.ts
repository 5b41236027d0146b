/**
 * Runs the tests, each folder under its own permissions, and counts them. A folder's permissions are what its tests need, with the reason.
 *
 * @module
 */
import { EXIT, helpLines, type OptionSpec, parseOptions, UsageError } from "../lib/cli/options.ts";
import { runEntry } from "../lib/cli/entry.ts";
import { COMMON_OPTIONS } from "../lib/cli/options.ts";
import { LIBC_PATHS } from "../ffi/libc.ts";
import { LIBRARY_FILES } from "../ffi/constants.ts";
import { writeAll } from "../lib/write_all.ts";

const NATIVE = new URL("../tests/native/build", import.meta.url).pathname;
const STAND_INS = [
  ...Object.values(LIBRARY_FILES),
  "aws-crt-nodejs.node",
  "libnsm-libc-stub.so",
  "libaws_lc_plain.so",
].map((
  file,
) => `${NATIVE}/${file}`);

/** A folder of tests. */
interface Suite {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly why: string;
  /** Whether each test must have ended what it began. False where tests share libraries and processes: those tests count leaks themselves. */
  readonly sanitized?: boolean;
  /** Whether its files run side by side, a thread for each core: where they share nothing and measure no time. */
  readonly parallel?: boolean;
}

const SUITES: readonly Suite[] = [
  {
    name: "unit",
    permissions: [
      "--allow-read",
      "--allow-write",
      `--allow-ffi=${LIBC_PATHS.join(",")}`,
      "--allow-net=127.0.0.1",
      "--allow-env=WS_NO_BUFFER_UTIL,WS_NO_UTF_8_VALIDATE,LOG_STREAM,LOG_TOKENS",
    ],
    why:
      "files of the local KMS, access(2) through libc, a deadline on a loopback connect; variables that ethers and the YAML parser look at",
    sanitized: true,
    parallel: true,
  },
  { name: "property", permissions: [], why: "nothing", sanitized: true, parallel: true },
  {
    name: "contract",
    permissions: [
      `--allow-ffi=${STAND_INS.join(",")}`,
      "--allow-read",
      "--allow-write",
      "--allow-run",
      "--allow-env",
    ],
    why:
      "the stand-ins for the SDK and the NSM's device, the real aws-c-common and AWS-LC; SDK processes as children; control files, named by environment variables",
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
  },
  {
    name: "binary",
    permissions: [
      "--allow-net=127.0.0.1",
      "--allow-run",
      "--allow-read",
      "--allow-write",
      "--allow-env=DENO",
    ],
    why:
      "the compiled binary as a process (made by scripts/build_test_binary.sh, in .ci/run); bundles by the Deno that DENO names",
  },
];
const DEFAULT_SUITES = ["unit", "property", "contract", "e2e", "kms_e2e"];

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

interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** How a run was asked for. */
interface Run {
  readonly filter: string | undefined;
  readonly soak: boolean;
  readonly compiled: boolean;
}

/** Runs a suite with its output as it comes, and reads the counts of its last line. */
async function runSuite(suite: Suite, { filter, soak, compiled }: Run): Promise<Count> {
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
  const plain = text.replace(/\x1b\[[0-9;]*m/g, "");
  const [, passed = "0", failed = "0", ignored = "0"] =
    /(\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed(?: \(\d+ steps?\))?(?: \| (\d+) ignored)?/.exec(
      plain,
    ) ?? [];
  for (const [, name] of plain.matchAll(/^(?:\S+ => )?(.*) \.\.\. ignored \(/gm)) {
    console.log(`skipped: ${name}`);
  }
  // A suite that fails without a failed test did not run to its end: that counts.
  const failures = Number(failed) === 0 && !success ? 1 : Number(failed);
  return { passed: Number(passed), failed: failures, skipped: Number(ignored) };
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
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
  const total = { passed: 0, failed: 0, skipped: 0 };
  const run = { filter: options.text("filter"), soak: options.on("soak"), compiled: options.on("compiled") };
  const times: string[] = [];
  for (const suite of suites) {
    const begun = performance.now();
    const count = await runSuite(suite, run);
    times.push(`${suite.name} ${Math.round((performance.now() - begun) / 1_000)} s`);
    total.passed += count.passed;
    total.failed += count.failed;
    total.skipped += count.skipped;
  }
  console.log(`\nwall time: ${times.join(", ")}`);
  console.log(
    `\n${total.passed} passed, ${total.failed} failed${
      total.skipped === 0 ? "" : `, ${total.skipped} skipped`
    }`,
  );
  return total.failed === 0 ? EXIT.ok : EXIT.failed;
}

if (import.meta.main) await runEntry(main);
