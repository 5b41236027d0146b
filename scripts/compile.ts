/**
 * Makes the binaries: `deno bundle`, then `deno compile` with the permissions written out, each with its reason. Beside a binary lie its
 * source map and a record of what it was made from. The same source gives the same bytes.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../lib/shared/cli/options.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { compiledPathArgument } from "../lib/enclave/cli/compiled_path.ts";
import { EnclaveError } from "../lib/shared/errors.ts";
import { VERSION } from "../lib/shared/version.ts";
import { buildRecord, bundle, checkWorkflow, run } from "./bundle.ts";
import { compiledPermissions, type Permission, productionPermissions } from "./permissions.ts";

const SPECS = [
  {
    name: "flavour",
    value: "NAME",
    default: "production",
    help:
      "production: the enclave's entrypoint; dev: the same service with development backends, for a host; ctl: denclavectl, for a machine without Deno",
  },
  {
    name: "output",
    short: "o",
    value: "FILE",
    help: "the binary (default dist/denclave, dist/denclave-dev, dist/denclavectl)",
  },
  {
    name: "install-dir",
    value: "DIR",
    default: "/app",
    help:
      "absolute folder that the binary will run from: it may load the SDK's libraries and start itself only there",
  },
  { name: "port", value: "PORT", default: "5000", help: "the vsock port that the binary may listen on" },
  {
    name: "target",
    value: "TRIPLE",
    help: "x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu; this machine's by default",
  },
  {
    name: "test-net",
    value: "HOST:PORT",
    multiple: true,
    help: "for tests only: an address that the binary may also listen on; its name then ends in -test",
  },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const HELP = `denclave compile: makes the binaries

usage: deno task compile [options]
options:
${helpLines(SPECS)}

Beside the binary: <binary>.map, the source map (scripts/source_position.ts reads it), and <binary>.build.json, what it
was made from.
`;

const FLAVOURS = ["production", "dev", "ctl"] as const;
type Flavour = typeof FLAVOURS[number];

/** What each flavour is made of. A lock file of its own holds the packages that the flavour may use. */
export const SOURCES: Readonly<
  Record<Flavour, { readonly entry: string; readonly lock: string; readonly name: string }>
> = {
  production: { entry: "main.ts", lock: "enclave.lock", name: "denclave" },
  dev: { entry: "scripts/dev.ts", lock: "deno.lock", name: "denclave-dev" },
  ctl: { entry: "scripts/ctl.ts", lock: "ctl.lock", name: "denclavectl" },
};

function permissionsOf(flavour: Flavour, options: Options, output: string): readonly Permission[] {
  if (flavour !== "production") return compiledPermissions(flavour, output);
  return productionPermissions({
    directory: options.text("install-dir") ?? "/app",
    binary: output.replace(/^.*\//, ""),
    port: options.number("port", { min: 1, max: 0xffff_ffff }),
    testNet: options.list("test-net"),
  });
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
  const flavour = options.choice("flavour", FLAVOURS);
  const directory = options.text("install-dir") ?? "";
  if (!directory.startsWith("/")) {
    throw new UsageError(`Cannot use ${JSON.stringify(directory)} for --install-dir`, "It must be absolute.");
  }
  const testNet = options.list("test-net");
  const source = SOURCES[flavour];
  const named = options.text("output") ?? `dist/${source.name}${testNet.length > 0 ? "-test" : ""}`;
  const output = named.startsWith("/") ? named : `${Deno.cwd()}/${named}`;
  const permissions = permissionsOf(flavour, options, output);
  const target = options.text("target");
  await Deno.mkdir(output.replace(/[^/]*$/, ""), { recursive: true });
  const folder = await Deno.makeTempDir({ prefix: "denclave-compile-" });
  try {
    const checking = flavour === "ctl" ? Promise.resolve() : checkWorkflow(source.lock);
    const [bundled, checked] = await Promise.allSettled([
      bundle({ ...source, name: `${source.name}.js`, folder }),
      checking,
    ]);
    // The bundler's error comes first: it says which package is missing.
    if (bundled.status === "rejected") throw bundled.reason;
    if (checked.status === "rejected") throw checked.reason;
    const made = bundled.value;
    const { ok, stderr } = await run(Deno.execPath(), [
      "compile",
      "--quiet",
      "--no-prompt",
      // Only the bundle is compiled: no configuration, no packages, no types.
      ...["--no-config", "--no-lock", "--no-check", "--unstable-vsock"],
      // Else it reads compiled code from a fixed name in the folder for temporary files, where any user of the machine may have put it.
      "--no-code-cache",
      ...permissions.map(({ flag }) => flag),
      ...(target === undefined ? [] : ["--target", target]),
      "--output",
      output,
      made.path,
      ...(flavour === "production"
        ? [compiledPathArgument(`${directory}/${output.replace(/^.*\//, "")}`)]
        : []),
    ]);
    if (!ok) {
      throw new EnclaveError(`deno compile failed:\n${stderr.trim()}`, {
        code: "compile_failed",
        hint: /denort|download|dl\.deno\.land/.test(stderr)
          ? "It needs Deno's base binary (denort): where its release host cannot be reached, set DENORT_BIN to a file of this very version."
          : undefined,
      });
    }
    const record = await buildRecord(output, made, {
      flavour,
      ...(flavour === "production"
        ? { "install-dir": directory, port: options.text("port") ?? "", "test-net": testNet }
        : {}),
      target: target ?? `${Deno.build.arch}-unknown-linux-gnu`,
    });
    await Deno.writeTextFile(
      `${output}.map`,
      `${JSON.stringify({ ...made.map, bundle_sha256: made.sha256, binary_sha256: record.sha256 })}\n`,
    );
    await Deno.writeTextFile(`${output}.build.json`, `${JSON.stringify(record, null, 2)}\n`);
  } finally {
    await Deno.remove(folder, { recursive: true });
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
  return await compile(options);
}

if (import.meta.main) await runEntry(main);
