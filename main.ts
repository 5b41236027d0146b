/**
 * The enclave's binary: reads the command line and the environment, builds the ports, starts the service. It imports only the attested
 * backend; `scripts/dev.ts` composes the same service for development.
 *
 * @module
 */
import { dirname } from "node:path/posix";
import { LIBC_PATHS } from "./ffi/libc.ts";
import { protectProcess } from "./ffi/confine.ts";
import { openWallClock } from "./ffi/clock.ts";
import { openAead } from "./ffi/aead.ts";
import { LIBRARY_FILES } from "./ffi/constants.ts";
import { DEFAULT_LIBRARY_DIRS } from "./ffi/library.ts";
import { openSdk } from "./ffi/sdk.ts";
import { checkOwnPath, takeCompiledPath } from "./lib/enclave/cli/compiled_path.ts";
import { runKmstool } from "./lib/enclave/cli/kmstool.ts";
import { openNsmPorts } from "./lib/enclave/cli/nsm_ports.ts";
import { checkLibraries, chooseAead, formatChecks } from "./lib/enclave/cli/self_test.ts";
import { replaceGlobalGenerator } from "./lib/shared/crypto/random.ts";
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions, takeCommand } from "./lib/shared/cli/options.ts";
import { runEntry, untilSignal } from "./lib/shared/cli/entry.ts";
import { openFeatures } from "./lib/enclave/features.ts";
import { giveUpPermissions } from "./lib/enclave/cli/permissions.ts";
import { runService } from "./lib/enclave/cli/run.ts";
import { KMSTOOL_COMMANDS, NITRO_OPTIONS, SERVE_OPTIONS } from "./lib/shared/cli/serve_options.ts";
import { readNitroConfig, readServeConfig } from "./lib/shared/cli/serve_options.ts";
import { openNitroKms } from "./lib/enclave/kms/sdk_process/nitro.ts";
import { runSdkProcess } from "./lib/enclave/kms/sdk_process/process_main.ts";
import { EventLog } from "./lib/enclave/server/events.ts";
import { workflowLimitsFor } from "./lib/shared/cli/limits.ts";
import { openWorkflows } from "./lib/enclave/session_key/workflow/open.ts";
import { workflowProcess } from "./lib/enclave/cli/workflow_process.ts";
import { VERSION } from "./lib/shared/version.ts";
import { writeAll } from "./lib/shared/write_all.ts";

const COMMANDS = ["serve", "self-test", "sdk-process", "workflow-process", ...KMSTOOL_COMMANDS] as const;
const SPECS = [...SERVE_OPTIONS, ...NITRO_OPTIONS, ...COMMON_OPTIONS];

const HELP = `denclave ${VERSION}: session keys, accounts and a master key in an AWS Nitro Enclave

usage: denclave [serve] [options]     serve the features that --features names (default)
       denclave self-test             check the enclave: NSM, debug mode, clock, libraries, …
       denclave decrypt|genkey|genrandom [options]
                                      same options and output as kmstool_enclave_cli
options of serve (a flag wins over the environment):
${helpLines(SPECS)}

requests are JSON on the socket: docs/protocol.md
exit codes: 0 stopped by a signal, 2 usage, 69 libraries or address not available, 70 fatal internal error;
            decrypt, genkey, genrandom: 0, 1 usage, 255 failed
`;

const encoder = new TextEncoder();
const stdout = (text: string) => writeAll((bytes) => Deno.stdout.writeSync(bytes), encoder.encode(text));
const stderr = (text: string) => writeAll((bytes) => Deno.stderr.writeSync(bytes), encoder.encode(text));

/** The permissions that this program is run or compiled with, one descriptor for each value. */
function grantsOf(): readonly Deno.PermissionDescriptor[] {
  const folders = [dirname(Deno.execPath()), ...DEFAULT_LIBRARY_DIRS];
  const files = Object.values(LIBRARY_FILES);
  const libraries = folders.flatMap((folder) => files.map((file) => `${folder}/${file}`));
  return [
    { name: "run", command: Deno.execPath() },
    ...[...LIBC_PATHS, ...libraries].map((path) => ({ name: "ffi", path }) as const),
    ...SPECS.flatMap((spec) => "env" in spec ? [{ name: "env", variable: spec.env } as const] : []),
  ];
}

const SELF_TEST_SPECS = [
  ...NITRO_OPTIONS.filter(({ name }) => name === "library-dir"),
  { name: "json", help: "print the checks as JSON" },
  ...COMMON_OPTIONS,
];

/** The checks that `health` shows, and the SDK opened and asked for random numbers. */
async function selfTestCommand(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SELF_TEST_SPECS, argv, (name) => Deno.env.get(name));
  if (options.on("help")) {
    return stdout(`usage: denclave self-test [options]\n\n${helpLines(SELF_TEST_SPECS)}\n`), EXIT.ok;
  }
  const libraryDir = options.text("library-dir");
  const libraries = checkLibraries(() => openSdk({ libraryDir }), () => openAead({ libraryDir }));
  using ports = await openNsmPorts();
  const checks = [...await ports.selfTest(), ...libraries];
  const ok = checks.every(({ state }) => state !== "fail");
  stdout(options.on("json") ? `${JSON.stringify({ ok, checks }, null, 2)}\n` : `${formatChecks(checks)}\n`);
  return ok ? EXIT.ok : EXIT.failed;
}

async function main(argv: readonly string[]): Promise<number> {
  const { compiledFor, rest: own } = takeCompiledPath(argv);
  const { command, rest } = takeCommand(own, COMMANDS);
  if (command === "sdk-process") {
    // The SDK opens its own connections, outside of Deno: this process needs only FFI.
    giveUpPermissions(["net", "run", "env"]);
    await runSdkProcess({ stdin: Deno.stdin.readable, stdout: Deno.stdout }, Number(rest[0]));
    return EXIT.ok;
  }
  if (command === "workflow-process") {
    await workflowProcess(Number(rest[0]), { load: () => import("./lib/workflow.ts"), exit: Deno.exit });
    return EXIT.ok;
  }
  if (command === "self-test") return await selfTestCommand(rest);
  if (command !== undefined && command !== "serve") {
    // kmstool has no option for it, and its callers pass none.
    const libraryDir = Deno.env.get("DENCLAVE_LIBRARY_DIR");
    return runKmstool(command, rest, { stdout, stderr, openSdk: () => openSdk({ libraryDir }) });
  }

  const options = parseOptions(SPECS, rest, (name) => Deno.env.get(name));
  if (options.on("help")) return stdout(HELP), EXIT.ok;
  if (options.on("version")) return stdout(`denclave ${VERSION}\n`), EXIT.ok;
  const config = readServeConfig(options);
  const nitro = readNitroConfig(options, config.limits.requestMs);
  checkOwnPath(compiledFor);
  const signalled = untilSignal(() => Deno.exit(EXIT.software));
  const events = new EventLog({ write: stdout, level: config.logLevel });
  // Before any child is started, which inherits it.
  protectProcess();
  // The service listens before they have opened the SDK.
  const kms = openNitroKms({ ...nitro, log: events.log });
  // Must happen while FFI is allowed: the permission is revoked once the NSM and these libraries are open. A missing file or symbol of the SDK ends
  // the service here, with the reason.
  const { aead, check } = chooseAead(openAead({ libraryDir: options.text("library-dir") }));
  using ports = await openNsmPorts(openWallClock);
  replaceGlobalGenerator(ports.entropy.random.fill);
  // This process has opened all libraries that it needs; only its children load the SDK. It keeps the run permission to restart them.
  giveUpPermissions(["ffi"]);
  const workflow = workflowLimitsFor(config.workflow, {
    memory: ports.memory,
    sdkProcesses: nitro.processes,
    maxMessage: config.limits.maxMessage,
    processors: navigator.hardwareConcurrency,
  });
  const workflows = openWorkflows({
    ...workflow,
    maxResult: config.limits.maxMessage,
    requireWall: ports.attester !== undefined,
    permissions: [`--allow-ffi=${LIBC_PATHS.join(",")}`],
    isDevelopment: false,
  });
  return await runService(config, {
    events,
    signalled,
    kms,
    features: (ports) => openFeatures({ ...config, workflows }, ports),
    aead,
    sdkProcesses: nitro.processes,
    workflowProcesses: workflow.processes,
    ...ports,
    selfTest: async () => [...await ports.selfTest(), check],
    warnings: [...ports.warnings, ...(check.state === "ok" ? [] : [`${check.check}: ${check.seen}`])],
    grants: grantsOf(),
    // The listener is open, the service makes no outgoing connections, and the options have been read.
    onListening: () => giveUpPermissions(["net", "env"]),
  });
}

if (import.meta.main) await runEntry(main);
