/**
 * `denclavectl`: the command line for use outside the enclave. Finds the group and the command, and runs it.
 *
 * @module
 */
import { EXIT, UsageError } from "../../shared/cli/options.ts";
import { failureLines, namedFailure } from "../terminal/failure.ts";
import { takeCommand } from "../../shared/cli/options.ts";
import { AttestationError } from "../../shared/attestation/errors.ts";
import { ConfigError } from "../config/errors.ts";
import { EifError } from "../eif/errors.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { KeyAdminError } from "../client/key_admin.ts";
import { ServiceError } from "../client/client.ts";
import { KeyPolicyError } from "../aws/key_policy.ts";
import { PolicyError } from "../policy/errors.ts";
import { SealedError } from "../client/sealed_client.ts";
import { StoreError } from "../stores/account_store.ts";
import { runKmsTsk } from "./tsk_kms.ts";
import { TSK_COMMANDS } from "./tsk.ts";
import { VERSION } from "../../shared/version.ts";
import { ACCOUNT_COMMANDS, runAccount } from "./account.ts";
import { ATTEST_COMMANDS, runAttest } from "./attest.ts";
import { runBridge } from "./bridge.ts";
import { CLIENT_COMMANDS, runClient } from "./client.ts";
import { COMPLETION_COMMANDS, type Group, runCompletion } from "./completion.ts";
import { EIF_COMMANDS, runEif } from "./eif.ts";
import { EMULATOR_COMMANDS, runEmulator } from "./emulator.ts";
import { runDoctor } from "./doctor.ts";
import { GATEWAY_COMMANDS, runGateway } from "./gateway.ts";
import type { CtlIo } from "../terminal/io.ts";
import { oneLine, printable } from "../terminal/printing.ts";
import { KMS_COMMANDS, runKms } from "./kms.ts";
import { POLICY_COMMANDS, runPolicy } from "./policy.ts";

/** What each command does, in the order of the help. A group without commands stands for itself. */
const SUMMARIES: Readonly<Record<string, string>> = {
  "client ping|health|attest|logs|metrics|configure|process": "talk to the service",
  "account create": "make accounts in the enclave and store them",
  "account sign": "sign messages, typed data, transactions or digests with an account",
  "account list": "list the stored accounts",
  "account show": "show an account; --verify checks that it was made in the enclave",
  "account create-table": "create the DynamoDB table of the accounts",
  "attest verify": "verify an attestation document up to AWS's root certificate",
  "gateway init": "send the stored master keys to the enclaves; --new makes them",
  "gateway status": "show which keys are stored and which the enclaves hold",
  "gateway sign": "sign a digest with a master key",
  "gateway rewrap": "move a master key to another KMS key",
  "gateway restore": "go back to the row before a rewrap",
  "gateway verify": "open every row, sign with every key, check the database",
  "kms create-key": "create a symmetric KMS key",
  "tsk create": "make a trusted session key, wrapped for the enclave (run by the owner of the data)",
  "tsk wrap": "wrap an existing session key for another KMS key or epoch",
  "tsk show": "print a session key's fingerprint",
  "policy init": "write denclave-policy.yaml, which the other policy commands read",
  "policy iam": "print the IAM policy of the parent's role",
  "policy render": "write a key policy from the measurements of builds",
  "policy lint": "find statements of a key policy that defeat attestation",
  "policy diff": "compare two key policies",
  "policy rollover": "add a build to a key policy",
  "policy finalise": "remove all other builds from a key policy",
  "policy apply": "set the policy of a key; without --yes, only show the difference",
  "eif describe": "show the parts of an image and its PCRs",
  "eif verify": "check an image: checksum, signature, expected PCRs",
  "eif build": "build an image without Docker, reproducibly",
  "eif reproduce": "build an image again from its commit and inputs, and compare",
  "eif trust-store": "reduce a bundle of CA certificates to those of KMS",
  "sdk check":
    "check a folder of the SDK's libraries: versions, what they need, whether an image can use them",
  doctor: "check everything that an enclave needs to get a key",
  bridge: "connect a Unix socket, a TCP port or HTTP to the enclave",
  "emulator serve": "run a local KMS emulator for development, with attestation",
  "completion bash": "print the bash completion script",
};

const SUMMARY_COLUMN = 24;

/** The lines of the help: of all groups, or of one. */
function summaryLines(group?: string): string {
  return Object.entries(SUMMARIES)
    .filter(([command]) => group === undefined || command.split(" ")[0] === group)
    .map(([command, does]) =>
      command.length < SUMMARY_COLUMN - 2
        ? `  ${command.padEnd(SUMMARY_COLUMN - 2)}${does}`
        : `  ${command}\n${" ".repeat(SUMMARY_COLUMN)}${does}`
    ).join("\n");
}

const HELP = `denclavectl ${VERSION}: the tools for everything outside the enclave

usage: denclavectl <group> <command> [options]      --help after a group lists its commands, after a command its options
       (from source: deno task ctl <group> <command> [options])

${summaryLines()}

With --json, an error is JSON on stderr: {"error":{"code":"...","message":"...","hint":"..."}}.
exit codes: 0 done, 1 refused by the enclave, the store, AWS or a check, 2 usage,
            69 the enclave, the store or AWS cannot be reached
`;

function groupHelp(name: string): string {
  return `usage: denclavectl ${name} <command> [options]      --help after a command lists its options\n\n${
    summaryLines(name)
  }\n`;
}

const GROUPS: Readonly<Record<string, Group>> = {
  client: { commands: CLIENT_COMMANDS, run: runClient },
  account: { commands: ACCOUNT_COMMANDS, run: runAccount },
  attest: { commands: ATTEST_COMMANDS, run: runAttest },
  gateway: { commands: GATEWAY_COMMANDS, run: runGateway },
  kms: { commands: KMS_COMMANDS, run: runKms },
  tsk: { commands: TSK_COMMANDS, run: runKmsTsk },
  policy: { commands: POLICY_COMMANDS, run: runPolicy },
  eif: { commands: EIF_COMMANDS, run: runEif },
  sdk: {
    commands: ["check"],
    run: async (_command, argv, io) => await (await import("./sdk_check.ts")).sdkCheck(argv, io),
  },
  doctor: { commands: [], run: (_command, argv, io) => runDoctor(argv, io) },
  bridge: { commands: [], run: (_command, argv, io) => runBridge(argv, io) },
  emulator: { commands: EMULATOR_COMMANDS, run: (_command, argv, io) => runEmulator(argv, io) },
  completion: {
    commands: COMPLETION_COMMANDS,
    kind: "shell",
    run: (_command, argv, io) => runCompletion(argv, io, GROUPS),
  },
};

/**
 * Runs one command line.
 *
 * @returns the exit code
 * @throws {EnclaveError} what failed; {@link ctlExitCode} has its exit code.
 */
export async function runCtl(argv: readonly string[], io: CtlIo): Promise<number> {
  if (argv[0] === "help") {
    const { command: about } = takeCommand(argv.slice(1), Object.keys(GROUPS));
    return io.stdout(about === undefined ? HELP : groupHelp(about)), EXIT.ok;
  }
  const { command: name, rest } = takeCommand(argv, Object.keys(GROUPS));
  const group = name === undefined ? undefined : GROUPS[name];
  if (group === undefined) {
    if (rest[0] === "--version") return io.stdout(`denclavectl ${VERSION}\n`), EXIT.ok;
    if (rest.length === 0 || rest[0] === "--help" || rest[0] === "-h") return io.stdout(HELP), EXIT.ok;
    throw new UsageError(
      `Which group? ${rest[0] ?? ""} comes after it`,
      "denclavectl --help shows the usage.",
    );
  }
  if (group.commands.length === 0) return await group.run("", rest, io);
  const [word = "-"] = rest;
  if (group.kind !== undefined && !word.startsWith("-") && !group.commands.includes(word)) {
    throw new UsageError(
      `Unknown ${group.kind} ${JSON.stringify(word)}`,
      `${name} knows: ${group.commands.join(", ")}.`,
    );
  }
  const { command, rest: options } = takeCommand<string>(rest, group.commands);
  if (command === undefined) {
    if (options[0] === "--help" || options[0] === "-h") return io.stdout(groupHelp(name ?? "")), EXIT.ok;
    throw new UsageError(`Which command of ${name}?`, `One of: ${group.commands.join(", ")}.`);
  }
  return await group.run(command, options, io);
}

/** Codes that mean that the enclave, the store or a check refused, as opposed to something missing. */
function isRefusal(thrown: unknown): boolean {
  if (thrown instanceof StoreError) {
    return ["account_exists", "account_not_found", "store_row_damaged", "store_denied", "store_failed"]
      .includes(thrown.code);
  }
  if (thrown instanceof KeyAdminError) return !["kms_not_found", "kms_unavailable"].includes(thrown.code);
  if (thrown instanceof EifError) {
    return !["eif_unreadable", "library_missing", "blob_missing"].includes(thrown.code);
  }
  return [ServiceError, AttestationError, SealedError, KeyPolicyError, PolicyError].some((refusal) =>
    thrown instanceof refusal
  );
}

/** Formats what {@link runCtl} threw for stderr: text, or JSON with `--json`. */
export function describeCtlFailure(
  failed: unknown,
  argv: readonly string[],
): { readonly text: string; readonly exitCode: number } {
  // Standard output: errors of sockets come wrapped. `head` has read what it wanted, so there is nothing to say.
  if (failed instanceof Deno.errors.BrokenPipe) return { text: "", exitCode: EXIT.closedPipe };
  const thrown = namedFailure(failed);
  const exitCode = ctlExitCode(thrown);
  if (!argv.includes("--json")) {
    // The errors of a configuration file are lines; all others are one.
    const show = thrown instanceof ConfigError ? printable : oneLine;
    return { text: failureLines(thrown).lines.map((line) => `${show(line)}\n`).join(""), exitCode };
  }
  const error = {
    code: thrown instanceof EnclaveError ? thrown.code : "internal_error",
    message: messageOf(thrown),
    hint: thrown instanceof EnclaveError ? thrown.hint : undefined,
  };
  return { text: `${printable(JSON.stringify({ error }))}\n`, exitCode };
}

/** The exit code of what {@link runCtl} threw. */
export function ctlExitCode(thrown: unknown): number {
  return isRefusal(thrown) ? EXIT.failed : failureLines(thrown).exitCode;
}
