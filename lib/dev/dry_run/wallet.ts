/**
 * The dry run's wallet section: accounts made in the service, stored, used after a restart; what must not be signed; an address that is attested.
 * SQLite stands for DynamoDB, the simulated NSM for the Nitro Security Module.
 *
 * @module
 */
import { encodeBase64, encodeHex } from "@std/encoding";
import { SimulatedNsm } from "../nsm/simulated.ts";
import type { Report } from "./report.ts";
import { createAccount, findAccount, signAll } from "../../ctl/client/accounts.ts";
import type { AccountRow } from "../../ctl/stores/account_store.ts";
import { openSqliteStore } from "../../ctl/stores/sqlite.ts";
import { verifyAccount } from "../../ctl/client/verify_account.ts";
import { WalletClient } from "../../ctl/client/wallet_client.ts";
import { LocalKms } from "../kms/local.ts";
import { type WalletGuards } from "../../shared/cli/wallet_options.ts";
import { NO_GUARDS } from "../defaults.ts";
import { expectRefusal, startWithClient } from "./service.ts";

const REGION = "us-east-1";
const FRIEND = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const STRANGER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const BATCH = 100;
const GUARDS: WalletGuards = { ...NO_GUARDS, chains: [1n], recipients: [FRIEND], maxValue: 10n ** 18n };

/** A transfer of a hundredth of an ether. */
const TRANSFER = {
  chainId: 1,
  nonce: 0,
  gasLimit: 21_000,
  maxFeePerGas: "30000000000",
  maxPriorityFeePerGas: "1000000000",
  to: FRIEND,
  value: "10000000000000000",
};

/** Runs the section. */
export async function dryRunWallet(report: Report): Promise<void> {
  report.section("Wallet (SQLite in memory for DynamoDB, a simulated NSM: stand-ins)");
  await using kms = await LocalKms.open({ region: REGION });
  using nsm = await SimulatedNsm.start();
  await using store = openSqliteStore(":memory:");
  const row = (name: string): Promise<AccountRow> => findAccount(store, name);
  {
    await using first = await startWithClient(kms, { attester: nsm });
    const wallet = new WalletClient(first.client, first.credentials);
    const tools = { store, wallet };
    await report.step("account create", async () => {
      const { address } = await createAccount(tools, "alice");
      return `${address}, its key sealed, the row stored`;
    });
    await report.step(
      "account create, the name again",
      () => expectRefusal("account_exists", () => createAccount(tools, "alice")),
    );
    await report.step("account create --attest", async () => {
      const nonce = encodeBase64(crypto.getRandomValues(new Uint8Array(32)));
      const made = await createAccount(tools, "treasury", { nonce });
      const { pcrs } = await verifyAccount(made, {
        pcrs: { 0: encodeHex(await nsm.pcr(0)) },
        verify: (document, expected) => nsm.verify(document, expected),
      });
      return `its key generated in the enclave with PCR0 ${pcrs["PCR0"]?.slice(0, 8)}…`;
    });
    await report.step("sign a message, its key opened by KMS", async () => {
      const { signature } = await wallet.sign(await row("alice"), { message: "hello" });
      return `${signature.slice(0, 18)}… (EIP-191)`;
    });
    await report.step(`sign ${BATCH} digests under one KMS call`, async () => {
      const payloads = Array.from(
        { length: BATCH },
        (_, index) => ({ digest: index.toString(16).padStart(64, "0") }),
      );
      const signed = await signAll(tools, await row("alice"), payloads);
      return `${new Set(signed.map(({ signature }) => signature)).size} signatures`;
    });
  }
  await using second = await startWithClient(kms, { guards: GUARDS, attester: nsm });
  const wallet = new WalletClient(second.client, second.credentials);
  await report.step("restart, with rules: sign a transfer", async () => {
    const { transactionHash = "" } = await wallet.sign(await row("alice"), { transaction: TRANSFER });
    return `EIP-1559, hash ${transactionHash.slice(0, 18)}…`;
  });
  const refused: readonly (readonly [string, Record<string, unknown>])[] = [
    ["rules: another chain", { transaction: { ...TRANSFER, chainId: 137 } }],
    ["rules: another recipient", { transaction: { ...TRANSFER, to: STRANGER } }],
    ["rules: more than the ceiling", { transaction: { ...TRANSFER, value: "1000000000000000000" } }],
    ["rules: a digest", { digest: "11".repeat(32) }],
  ];
  for (const [name, payload] of refused) {
    await report.step(
      name,
      () => expectRefusal("guard_refused", async () => wallet.sign(await row("alice"), payload)),
    );
  }
  await report.step(
    "a row with another's address",
    () =>
      expectRefusal("row_rejected", async () => {
        const { address } = await row("treasury");
        return await wallet.sign({ ...await row("alice"), address }, { transaction: TRANSFER });
      }),
  );
  await report.step(
    "a row under another name",
    () =>
      expectRefusal(
        "row_rejected",
        async () => wallet.sign({ ...await row("alice"), name: "treasury" }, { transaction: TRANSFER }),
      ),
  );
}
