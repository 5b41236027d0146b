/**
 * `denclavectl account rewrap`.
 *
 * @module
 */
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { accountMover, findAccount } from "../client/accounts.ts";
import { verifyAccount } from "../client/verify_account.ts";
import { WalletClient } from "../client/wallet_client.ts";
import type { AccountRow, AccountStore } from "../stores/account_store.ts";
import { formatTable } from "../terminal/columns.ts";
import { type Command, printResult, required } from "../terminal/command.ts";
import { connectEnclave, credentialSource, openStore } from "../terminal/io.ts";
import { ENCLAVE_OPTIONS, EXPECT_OPTIONS } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { Progress } from "../terminal/progress.ts";
import { LIST_OPTIONS, NAME_OPTION, rowFields } from "./account.ts";
import { enclaveToVerify } from "./attestation_options.ts";

/** `account rewrap` */
export const ACCOUNT_REWRAP: Command = {
  path: "account rewrap",
  summary: "move accounts to another KMS key",
  usage: "--to KEY (-n NAME | --all) [--attest -m FILE] [options]",
  about:
    `The enclave opens the private key, wraps it under the other KMS key and opens the new row once; then the new
row replaces the stored one, if that has not changed meanwhile. Address and name stay the same. Accounts that are
under the key already are skipped, so an interrupted command can be repeated.`,
  options: [
    { name: "to", value: "KEY", help: "the new KMS key, ARN or id, which the enclave must allow" },
    { ...NAME_OPTION, help: "the account's name; repeat it or separate with commas for more" },
    { name: "all", help: "all stored accounts" },
    {
      name: "attest",
      help: "verify the attestation documents, old and new, before storing; fail if there are none",
    },
    ...EXPECT_OPTIONS,
    ...ENCLAVE_OPTIONS,
    ...LIST_OPTIONS,
  ],
  run: rewrap,
};

async function rowsToMove(options: Options, store: AccountStore): Promise<readonly AccountRow[]> {
  const names = [...new Set(options.list("name"))];
  if (options.on("all") === names.length > 0) {
    throw new UsageError("Which accounts?", "Give --name, or --all.");
  }
  if (options.on("all")) return await Array.fromAsync(store.list());
  return await Promise.all(names.map((name) => findAccount(store, name)));
}

/** Errors of one row. Others would also occur with the next. */
function isOfRow(thrown: unknown): thrown is EnclaveError {
  return thrown instanceof EnclaveError &&
    ["row_rejected", "account_changed", "store_row_damaged"].includes(thrown.code);
}

async function rewrap(options: Options, io: CtlIo): Promise<number> {
  const keyId = required(options, "to", "It names the KMS key that should wrap the accounts.");
  const expected = await enclaveToVerify(options, io, { wanted: options.on("attest"), needed: "--attest" });
  const credentials = credentialSource(options, io);
  await using store = await openStore(options, io, credentials);
  const rows = await rowsToMove(options, store);
  using client = await connectEnclave(options);
  const move = accountMover({ store, wallet: new WalletClient(client, credentials) }, {
    keyId,
    mustAttest: options.on("attest"),
    check: expected === undefined ? undefined : (row) => verifyAccount(row, { ...expected, at: new Date() }),
  });
  const moved: AccountRow[] = [];
  const failed: { readonly name: string; readonly code: string; readonly message: string }[] = [];
  let [done, interruptedBy]: [number, string | undefined] = [0, undefined];
  if (rows.length > 1) void io.untilSignal().then((signal) => interruptedBy = signal);
  try {
    using progress = new Progress("accounts", rows.length, io);
    for (const row of rows) {
      if (interruptedBy !== undefined) break;
      try {
        const made = await move(row);
        if (made !== undefined) moved.push(made);
      } catch (thrown) {
        if (!isOfRow(thrown)) throw thrown;
        failed.push({ name: row.name, code: thrown.code, message: thrown.message });
      }
      progress.at(++done);
    }
  } finally {
    const skipped = done - moved.length - failed.length;
    printResult(options, io, {
      json: { moved: moved.map(rowFields), skipped, failed },
      text: formatTable(
        ["NAME", "ADDRESS", "KEY"],
        moved.map(({ name, address, keyId }) => [name, address, keyId]),
      ),
    });
    for (const { name, message } of failed) io.stderr(`${JSON.stringify(name)} was not moved: ${message}\n`);
    if (skipped > 0) io.stderr(`${skipped} accounts are under ${keyId} already\n`);
    if (done < rows.length) {
      io.stderr(`${done} of ${rows.length} accounts were tried: repeat the command for the rest\n`);
    }
  }
  return done === rows.length && failed.length === 0 ? EXIT.ok : EXIT.failed;
}
