/**
 * `denclavectl account create`.
 *
 * @module
 */
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { accountMaker } from "../client/accounts.ts";
import { verifyAccount } from "../client/verify_account.ts";
import { WalletClient } from "../client/wallet_client.ts";
import type { AccountRow } from "../stores/account_store.ts";
import { formatTable } from "../terminal/columns.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { connectEnclave, credentialSource, openStore } from "../terminal/io.ts";
import { ENCLAVE_OPTIONS, EXPECT_OPTIONS, KEY_OPTION, UNVERIFIED_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { Progress } from "../terminal/progress.ts";
import { LIST_OPTIONS, NAME_OPTION, rowFields } from "./account.ts";
import { enclaveToVerify } from "./attestation_options.ts";

const MAX_COUNT = 100_000;
const UNPROVEN =
  "There is no NSM, so there is no attestation document and nothing proves that these keys were made in an enclave.\n";

/** `account create` */
export const ACCOUNT_CREATE: Command = {
  path: "account create",
  summary: "make accounts in the enclave and store them",
  usage: "-n NAME [--attest -m FILE] [options]",
  about: "Stores each account before it prints the address. Existing accounts are never overwritten.",
  options: [
    { ...NAME_OPTION, help: "the account's name; repeat it or separate with commas for more" },
    { name: "create", help: "create the SQLite database, in an existing folder" },
    { name: "count", value: "N", help: "make N accounts: <name>-1 to <name>-N" },
    {
      name: "attest",
      help: "verify the attestation document of the address before storing it; fail if there is no NSM",
    },
    ...EXPECT_OPTIONS,
    UNVERIFIED_OPTION,
    { ...KEY_OPTION, help: "the KMS key, ARN or id; needed if the service allows several" },
    ...ENCLAVE_OPTIONS,
    ...LIST_OPTIONS,
  ],
  run: create,
};

function namesToCreate(options: Options): readonly string[] {
  const names = options.list("name");
  const [first] = names;
  if (first === undefined) throw new UsageError("Which name?", "Give --name.");
  if (options.text("count") === undefined) return [...new Set(names)];
  if (names.length > 1) {
    throw new UsageError("--count takes one --name", "The accounts are <name>-1 and so on.");
  }
  const count = options.number("count", { min: 1, max: MAX_COUNT });
  return Array.from({ length: count }, (_, index) => `${first}-${index + 1}`);
}

async function create(options: Options, io: CtlIo): Promise<number> {
  const names = namesToCreate(options);
  const expected = await enclaveToVerify(options, io, {
    wanted: options.on("attest") && !options.on("insecure-skip-verification"),
    needed: "--attest",
  });
  const credentials = credentialSource(options, io);
  await using store = await openStore(options, io, credentials, { create: options.on("create") });
  using client = await connectEnclave(options);
  const make = accountMaker({ store, wallet: new WalletClient(client, credentials) }, {
    keyId: options.text("key"),
    mustAttest: options.on("attest"),
    check: expected === undefined ? undefined : (row) => verifyAccount(row, { ...expected, at: new Date() }),
  });
  const made: AccountRow[] = [];
  let interruptedBy: string | undefined;
  if (names.length > 1) void io.untilSignal().then((signal) => interruptedBy = signal);
  try {
    using progress = new Progress("accounts", names.length, io);
    for (const name of names) {
      // The account under way is stored before that: its key exists nowhere else.
      if (interruptedBy !== undefined) break;
      made.push(await make(name));
      progress.at(made.length);
    }
  } finally {
    // Those that are stored are shown, also when a later one failed.
    if (made.length > 0 || options.on("json")) {
      printResult(options, io, {
        json: made.map(rowFields),
        text: formatTable(["NAME", "ADDRESS"], made.map(({ name, address }) => [name, address])),
      });
    }
    if (made.some(({ attestation }) => attestation === undefined)) io.stderr(UNPROVEN);
  }
  if (made.length === names.length) return EXIT.ok;
  io.stderr(
    `Interrupted (${interruptedBy}): ${made.length} of ${names.length} accounts were made and stored.\n`,
  );
  return EXIT.failed;
}
