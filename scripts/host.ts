/**
 * The parent's tools: accounts of the wallet and the table that they are in, KMS keys, policies.
 *
 * @module
 */
import { EXIT, UsageError } from "../lib/cli/options.ts";
import { describeFailure } from "../lib/cli/run.ts";
import { takeCommand } from "../lib/cli/serve.ts";
import { AttestationError } from "../lib/attestation/errors.ts";
import { ServiceError } from "../lib/host/client.ts";
import { StoreError } from "../lib/host/stores/account_store.ts";
import { VERSION } from "../lib/version.ts";
import { ACCOUNT_COMMANDS, runAccount } from "./host/account.ts";
import { GATEWAY_COMMANDS, runGateway } from "./host/gateway.ts";
import type { HostIo } from "./host/io.ts";
import { KMS_COMMANDS, runKms } from "./host/kms.ts";
import { POLICY_COMMANDS, runPolicy } from "./host/policy.ts";
import { runTable, TABLE_COMMANDS } from "./host/table.ts";

const HELP = `denclave-host ${VERSION}: the parent's side

usage: deno task host <group> <command> [options]      --help after a command lists its options

  account create   have the enclave make accounts, and store them
  account sign     sign messages, typed data, transactions or digests with one
  account list     the accounts that are stored
  account show     one of them; --verify checks that its address was made in the enclave
  gateway init     put the stored master keys into the enclaves; the first time, have them made
  gateway status   what is stored, and what the enclaves hold
  gateway sign     sign a digest with a master key
  gateway rewrap   move a master key under another KMS key
  gateway verify   open every row, have every key sign, check the database
  table create     make the DynamoDB table of the accounts
  kms create-key   make a symmetric KMS key
  kms serve        play KMS's part, for development: policies on PCRs, attested answers
  policy iam       print the policy of the parent's role, ARNs filled in

exit codes: 0 done, 1 refused (by the enclave, the store or a check), 2 usage,
            69 something that it needs is not there: the enclave, the store, AWS
`;

const encoder = new TextEncoder();
const io: HostIo = {
  stdout: (text) => void Deno.stdout.writeSync(encoder.encode(text)),
  stderr: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
  stderrIsTerminal: Deno.stderr.isTerminal(),
  env: (name) => Deno.env.get(name),
};

const GROUPS = {
  account: { commands: ACCOUNT_COMMANDS, run: runAccount },
  gateway: { commands: GATEWAY_COMMANDS, run: runGateway },
  table: { commands: TABLE_COMMANDS, run: runTable },
  kms: { commands: KMS_COMMANDS, run: runKms },
  policy: { commands: POLICY_COMMANDS, run: runPolicy },
} as const satisfies Record<
  string,
  {
    readonly commands: readonly string[];
    readonly run: (command: string, argv: readonly string[], io: HostIo) => Promise<number>;
  }
>;

async function main(argv: readonly string[]): Promise<number> {
  const { command: group, rest } = takeCommand(argv, ["account", "gateway", "table", "kms", "policy"]);
  if (group === undefined) {
    if (rest[0] === "--version") return io.stdout(`denclave-host ${VERSION}\n`), EXIT.ok;
    if (rest.length === 0 || rest[0] === "--help" || rest[0] === "-h") return io.stdout(HELP), EXIT.ok;
    throw new UsageError(
      `Which group? ${rest[0] ?? ""} comes after it`,
      "deno task host --help shows the usage.",
    );
  }
  const { commands, run } = GROUPS[group];
  const { command, rest: options } = takeCommand<string>(rest, commands);
  if (command === undefined) {
    if (options[0] === "--help" || options[0] === "-h") return io.stdout(HELP), EXIT.ok;
    throw new UsageError(`Which command of ${group}?`, `One of: ${commands.join(", ")}.`);
  }
  return await run(command, options, io);
}

/** The enclave, the store or a check said no: as opposed to something that is not there. */
function isRefusal(thrown: unknown): boolean {
  if (thrown instanceof StoreError) {
    return ["account_exists", "account_not_found", "store_row_damaged", "store_denied"].includes(thrown.code);
  }
  return thrown instanceof ServiceError || thrown instanceof AttestationError;
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (thrown) {
    const { text, exitCode } = describeFailure(thrown);
    io.stderr(text);
    Deno.exit(isRefusal(thrown) ? EXIT.failed : exitCode);
  }
}
