/**
 * The parent's tools: accounts of the wallet and the table that they are in, KMS keys, policies, images, the doctor.
 *
 * @module
 */
import { EXIT, UsageError } from "../lib/cli/options.ts";
import { describeFailure } from "../lib/cli/run.ts";
import { takeCommand } from "../lib/cli/serve.ts";
import { AttestationError } from "../lib/attestation/errors.ts";
import { EifError } from "../lib/eif/errors.ts";
import { ServiceError } from "../lib/host/client.ts";
import { PolicyError } from "../lib/host/policies/errors.ts";
import { StoreError } from "../lib/host/stores/account_store.ts";
import { VERSION } from "../lib/version.ts";
import { ACCOUNT_COMMANDS, runAccount } from "./host/account.ts";
import { ATTEST_COMMANDS, runAttest } from "./host/attest.ts";
import { EIF_COMMANDS, runEif } from "./host/eif.ts";
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
  attest verify    check an attestation document, up to AWS's root
  gateway init     put the stored master keys into the enclaves; with --new, have them made
  gateway status   what is stored, and what the enclaves hold
  gateway sign     sign a digest with a master key
  gateway rewrap   move a master key under another KMS key
  gateway restore  go back to the row before a rewrap
  gateway verify   open every row, have every key sign, check the database
  table create     make the DynamoDB table of the accounts
  kms create-key   make a symmetric KMS key
  kms serve        play KMS's part, for development: policies on PCRs, attested answers
  policy iam       print the policy of the parent's role, ARNs filled in
  policy render    write a key policy for builds, from their measurements
  policy lint      find what defeats attestation in a key policy
  policy diff      show what changes from one key policy to another
  policy rollover  add a build beside those that a key policy has
  policy finalise  drop all builds but those that are kept
  policy apply     give a key its policy; shows the difference, and changes it with --yes
  eif describe     what an image is made of, and the PCRs of an enclave that runs it
  eif verify       whether an image is whole, its signature holds, its PCRs are the expected ones
  eif build        make an image, without Docker: the same bytes every time
  doctor           look at all that the enclave needs to get a key, and say what is wrong

exit codes: 0 done, 1 refused (by the enclave, the store or a check), or not what it should be, 2 usage,
            69 something that it needs is not there: the enclave, the store, AWS
`;

const encoder = new TextEncoder();
const io: HostIo = {
  stdout: (text) => void Deno.stdout.writeSync(encoder.encode(text)),
  stderr: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
  stdoutIsTerminal: Deno.stdout.isTerminal(),
  stderrIsTerminal: Deno.stderr.isTerminal(),
  env: (name) => Deno.env.get(name),
};

const GROUPS = {
  account: { commands: ACCOUNT_COMMANDS, run: runAccount },
  attest: { commands: ATTEST_COMMANDS, run: runAttest },
  gateway: { commands: GATEWAY_COMMANDS, run: runGateway },
  table: { commands: TABLE_COMMANDS, run: runTable },
  kms: { commands: KMS_COMMANDS, run: runKms },
  policy: { commands: POLICY_COMMANDS, run: runPolicy },
  eif: { commands: EIF_COMMANDS, run: runEif },
} as const satisfies Record<
  string,
  {
    readonly commands: readonly string[];
    readonly run: (command: string, argv: readonly string[], io: HostIo) => Promise<number>;
  }
>;

async function main(argv: readonly string[]): Promise<number> {
  const { command: group, rest } = takeCommand(argv, [
    "account",
    "attest",
    "gateway",
    "table",
    "kms",
    "policy",
    "eif",
    "doctor",
  ]);
  if (group === undefined) {
    if (rest[0] === "--version") return io.stdout(`denclave-host ${VERSION}\n`), EXIT.ok;
    if (rest.length === 0 || rest[0] === "--help" || rest[0] === "-h") return io.stdout(HELP), EXIT.ok;
    throw new UsageError(
      `Which group? ${rest[0] ?? ""} comes after it`,
      "deno task host --help shows the usage.",
    );
  }
  if (group === "doctor") {
    const { runDoctor } = await import("./host/doctor.ts");
    return await runDoctor(rest, io);
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
    return ["account_exists", "account_not_found", "store_row_damaged", "store_denied", "store_failed"]
      .includes(thrown.code);
  }
  if (thrown instanceof EifError) {
    return !["eif_unreadable", "library_missing", "blob_missing"].includes(thrown.code);
  }
  return [ServiceError, AttestationError, PolicyError].some((refusal) => thrown instanceof refusal);
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
