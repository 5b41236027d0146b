/**
 * The dry run's wallet section: accounts made in the service, stored, used after a restart; what must not be signed; an address that is attested.
 * SQLite stands for DynamoDB, the simulated NSM for the Nitro Security Module.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { hashConfiguration } from "../../lib/attestation/statement.ts";
import { SimulatedNsm } from "../../lib/attestation/simulated.ts";
import type { Report } from "../../lib/cli/report.ts";
import { createAccount, findAccount, signAll } from "../../lib/host/accounts.ts";
import { Client, ServiceError } from "../../lib/host/client.ts";
import { CredentialSource } from "../../lib/host/credentials.ts";
import { type AccountRow, StoreError } from "../../lib/host/stores/account_store.ts";
import { openSqliteStore } from "../../lib/host/stores/sqlite.ts";
import { verifyAccount } from "../../lib/host/verify_account.ts";
import { WalletClient } from "../../lib/host/wallet_client.ts";
import { parseKeyArn } from "../../lib/kms/key_arn.ts";
import { LocalKms } from "../../lib/kms/local.ts";
import { EventLog } from "../../lib/service/events.ts";
import { DEFAULT_LIMITS } from "../../lib/service/limits.ts";
import { startService } from "../../lib/service/start.ts";
import { NO_GUARDS, type WalletGuards } from "../../lib/service/wallet_guards.ts";
import { VERSION } from "../../lib/version.ts";
import { listen } from "../../lib/wire/address.ts";
import { workflow } from "../../lib/workflow.ts";

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

/** The service, and a client of it. */
async function startWallet(kms: LocalKms, guards: WalletGuards, nsm: SimulatedNsm) {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  const service = startService({
    // The KMS outlives a restart.
    kms: {
      attested: kms.attested,
      decrypt: (access, request) => kms.decrypt(access, request),
      generateDataKey: (access, request) => kms.generateDataKey(access, request),
      generateRandom: (access, length) => kms.generateRandom(access, length),
      health: () => kms.health(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    acceptor: listener,
    transport: "tcp",
    limits: DEFAULT_LIMITS,
    events: new EventLog({ write: () => {}, level: "info" }),
    version: VERSION,
    session: {
      keys: kms.keyArns.map(parseKeyArn),
      region: REGION,
      context: undefined,
      configureOnce: false,
      requireEpoch: false,
      workflow,
    },
    wallet: { guards, cache: { entries: 16, maxAgeMs: 60_000 } },
    attester: nsm,
    configurationHash: await hashConfiguration({ dry_run: true }),
  });
  const client = await Client.connect(address, { timeoutMs: 10_000 });
  // The local KMS asks nobody who they are.
  const credentials = new CredentialSource(() =>
    Promise.resolve({ accessKeyId: "dry-run", secretAccessKey: "dry-run" })
  );
  return {
    client,
    wallet: new WalletClient(client, credentials),
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await service.stop(1_000);
    },
  };
}

async function expectRefusal(code: string, run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (thrown) {
    if ((thrown instanceof ServiceError || thrown instanceof StoreError) && thrown.code === code) {
      const [, why = ""] = /: (.*)$/.exec(thrown.message) ?? [];
      return `refused: ${code}${why === "" ? "" : ` (${why})`}`;
    }
    throw thrown;
  }
  throw new Error(`expected ${code}, but it was done`);
}

/** Runs the section. */
export async function dryRunWallet(report: Report): Promise<void> {
  report.section("Wallet (SQLite in memory for DynamoDB, a simulated NSM: stand-ins)");
  await using kms = await LocalKms.open({ region: REGION });
  using nsm = await SimulatedNsm.start();
  await using store = openSqliteStore(":memory:");
  const row = (name: string): Promise<AccountRow> => findAccount(store, name);
  {
    await using first = await startWallet(kms, NO_GUARDS, nsm);
    const tools = { store, wallet: first.wallet };
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
        verify: (document, expected) => nsm.verify(document, expected),
      });
      return `address vouched for by PCR0 ${pcrs["PCR0"]?.slice(0, 8)}…`;
    });
    await report.step("sign a message, its key opened by KMS", async () => {
      const { signature } = await first.wallet.sign(await row("alice"), { message: "hello" });
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
  await using second = await startWallet(kms, GUARDS, nsm);
  await report.step("restart, with rules: sign a transfer", async () => {
    const { transactionHash = "" } = await second.wallet.sign(await row("alice"), { transaction: TRANSFER });
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
      () => expectRefusal("guard_refused", async () => second.wallet.sign(await row("alice"), payload)),
    );
  }
  await report.step(
    "a row with another's address",
    () =>
      expectRefusal("row_rejected", async () => {
        const { address } = await row("treasury");
        return await second.wallet.sign({ ...await row("alice"), address }, { transaction: TRANSFER });
      }),
  );
  await report.step(
    "a row under another name",
    () =>
      expectRefusal(
        "row_rejected",
        async () =>
          second.wallet.sign({ ...await row("alice"), name: "treasury" }, { transaction: TRANSFER }),
      ),
  );
}
