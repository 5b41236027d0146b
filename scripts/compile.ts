/**
 * Makes the one binary: `deno compile` with its permissions written out, each with its reason. Prints size and start time.
 *
 * @module
 */
import {
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/cli/options.ts";
import { runEntry } from "../lib/cli/entry.ts";
import { COMMON_OPTIONS } from "../lib/cli/options.ts";
import { NITRO_OPTIONS, SERVE_OPTIONS } from "../lib/cli/serve.ts";
import { LIBRARY_FILES } from "../ffi/constants.ts";
import { LIBC_PATHS } from "../ffi/libc.ts";
import { compiledPathArgument } from "../lib/compiled_path.ts";
import { EnclaveError } from "../lib/errors.ts";
import { VERSION } from "../lib/version.ts";

const SPECS = [
  {
    name: "flavour",
    value: "NAME",
    default: "production",
    help: "production: main.ts, attested KMS alone; dev: scripts/dev.ts",
  },
  {
    name: "output",
    short: "o",
    value: "FILE",
    help: "the binary (default dist/denclave, dist/denclave-dev)",
  },
  {
    name: "install-dir",
    value: "DIR",
    default: "/app",
    help:
      "absolute folder where the binary will be: it may open the SDK's libraries there, and start itself from there",
  },
  { name: "port", value: "PORT", default: "5000", help: "the vsock port that it may listen on" },
  {
    name: "target",
    value: "TRIPLE",
    help: "x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu; this machine's by default",
  },
  {
    name: "test-net",
    value: "HOST:PORT",
    multiple: true,
    help: "for tests only: may also listen here; such a binary says so in its name (-test)",
  },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `denclave compile: makes the one binary

usage: deno task compile [options]          the enclave's entrypoint
       deno task compile:dev [options]      the same service with development backends, for a host
options:
${helpLines(SPECS)}
`;

/** A permission, and why the binary has it. */
interface Permission {
  readonly flag: string;
  readonly why: string;
}

function environmentNames(specs: readonly OptionSpec[]): string {
  return specs.flatMap((spec) => spec.env ?? []).join(",");
}

/** What the production binary may do. Nothing else: no files, no other hosts, no other programs. */
function productionPermissions(options: Options, binary: string): readonly Permission[] {
  const directory = options.text("install-dir") ?? "/app";
  const port = options.number("port", { min: 1, max: 0xffff_ffff });
  const libraries = Object.values(LIBRARY_FILES).map((file) => `${directory}/${file}`);
  return [
    {
      flag: `--allow-net=${[`vsock:-1:${port}`, ...options.list("test-net")].join(",")}`,
      why: "listens on vsock",
    },
    {
      flag: `--allow-ffi=${[...libraries, ...LIBC_PATHS].join(",")}`,
      why: "calls the AWS Nitro Enclaves SDK; looks at /dev/nsm through libc, which it gives up then",
    },
    {
      flag: `--allow-run=${directory}/${binary}`,
      why: "starts this binary again as an SDK process, and no other",
    },
    { flag: `--allow-env=${environmentNames([...SERVE_OPTIONS, ...NITRO_OPTIONS])}`, why: "its own options" },
  ];
}

/** What the development binary may do. */
function developmentPermissions(): readonly Permission[] {
  return [
    { flag: "--allow-net", why: "listens where --listen says, and calls the KMS of --kms-endpoint-url" },
    { flag: "--allow-read", why: "Unix sockets, the local KMS's file" },
    { flag: "--allow-write", why: "Unix sockets, the local KMS's file" },
    { flag: `--allow-ffi=${LIBC_PATHS.join(",")}`, why: "looks for /dev/nsm, where it must not run" },
    {
      flag: `--allow-env=${environmentNames(SERVE_OPTIONS)},KMS,KMS_LOCAL_FILE,KMS_ENDPOINT_URL`,
      why: "its own options",
    },
  ];
}

async function run(
  command: string,
  args: readonly string[],
): Promise<{ readonly ok: boolean; readonly stderr: string }> {
  const { success, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdout: "null",
    stderr: "piped",
  }).output();
  return { ok: success, stderr: new TextDecoder().decode(stderr) };
}

async function startTime(file: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    const { ok, stderr } = await run(file, ["--version"]);
    if (!ok) throw new EnclaveError(`The binary does not start: ${stderr}`, { code: "compile_failed" });
    times.push(performance.now() - started);
  }
  return Math.round(Math.min(...times));
}

async function compile(options: Options): Promise<number> {
  const dev = options.choice("flavour", ["production", "dev"]) === "dev";
  const directory = options.text("install-dir") ?? "";
  if (!directory.startsWith("/")) {
    throw new UsageError(`Cannot use ${JSON.stringify(directory)} for --install-dir`, "It must be absolute.");
  }
  const isTest = options.list("test-net").length > 0;
  const output = options.text("output") ?? `dist/denclave${dev ? "-dev" : ""}${isTest ? "-test" : ""}`;
  const name = output.replace(/^.*\//, "");
  const permissions = dev ? developmentPermissions() : productionPermissions(options, name);
  const target = options.text("target");
  const args = [
    "compile",
    "--quiet",
    "--no-prompt",
    // Deno puts every package of the lock file into the binary: so the enclave has one of its own, with what it uses.
    `--lock=${dev ? "deno.lock" : "enclave.lock"}`,
    "--frozen",
    ...permissions.map(({ flag }) => flag),
    ...(target === undefined ? [] : ["--target", target]),
    "--output",
    output,
    ...(dev ? ["scripts/dev.ts"] : ["main.ts", compiledPathArgument(`${directory}/${name}`)]),
  ];
  const { ok, stderr } = await run(Deno.execPath(), args);
  if (!ok) {
    throw new EnclaveError(`deno compile failed:\n${stderr.trim()}`, {
      code: "compile_failed",
      hint: /denort|download|dl\.deno\.land/.test(stderr)
        ? "It needs Deno's base binary (denort): where its release host cannot be reached, set DENORT_BIN to a file of this very version."
        : undefined,
    });
  }
  const { size } = await Deno.stat(output);
  const native = target === undefined || target.startsWith(Deno.build.arch);
  const startMs = native ? await startTime(output) : undefined;
  if (options.on("json")) {
    console.log(
      JSON.stringify({
        output,
        bytes: size,
        start_ms: startMs,
        deno: Deno.version.deno,
        version: VERSION,
        permissions,
      }),
    );
    return EXIT.ok;
  }
  console.log(
    `${output}: ${(size / 1e6).toFixed(1)} MB${
      startMs === undefined ? "" : `, starts in ${startMs} ms`
    } (Deno ${Deno.version.deno})`,
  );
  const width = Math.max(...permissions.map(({ why }) => why.length));
  for (const { flag, why } of permissions) console.log(`  ${why.padEnd(width)}  ${flag}`);
  return EXIT.ok;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  if (options.on("version")) return console.log(VERSION), EXIT.ok;
  const [unexpected] = options.positionals;
  if (unexpected !== undefined) {
    throw new UsageError(`Unexpected argument ${JSON.stringify(unexpected)}`, "--help shows the usage.");
  }
  return await compile(options);
}

if (import.meta.main) await runEntry(main);
