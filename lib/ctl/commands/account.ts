/**
 * `denclavectl account create|sign|list|show`.
 *
 * @module
 */
import {
  EXPECT_OPTIONS,
  type ExpectedEnclave,
  expectedEnclave,
  namesEnclave,
} from "./attestation_options.ts";
import {
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import { Progress } from "../terminal/progress.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { createTable } from "./table.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { accountMaker, findAccount, signAll } from "../client/accounts.ts";
import { Client } from "../client/client.ts";
import { verifyAccount } from "../client/verify_account.ts";
import type { AccountRow } from "../stores/account_store.ts";
import { type AccountSignature, type SigningPayload, WalletClient } from "../client/wallet_client.ts";
import {
  AWS_OPTIONS,
  credentialSource,
  type CtlIo,
  ENCLAVE_OPTIONS,
  enclaveAddress,
  KEY_OPTION,
  openStore,
  readInput,
  STORE_OPTIONS,
} from "../terminal/io.ts";

/** Commands of the group. */
export const ACCOUNT_COMMANDS = ["create", "sign", "list", "show", "create-table"] as const;

const JSON_OPTION = { name: "json", help: "print the result as JSON" } as const;
const NAME = { name: "name", short: "n", value: "NAME", multiple: true, help: "the account's name" } as const;
const KEY = {
  ...KEY_OPTION,
  value: "KEY",
  help: "KMS key, ARN or id; needed if the enclave allows several",
} as const;

const LIST_SPECS = [...STORE_OPTIONS, ...AWS_OPTIONS, JSON_OPTION, ...COMMON_OPTIONS] as const;

const CREATE_SPECS = [
  { ...NAME, help: "the account's name; repeat it or separate with commas for more" },
  { name: "create", help: "create the SQLite database, in an existing folder" },
  { name: "count", value: "N", help: "make N accounts: <name>-1 to <name>-N" },
  {
    name: "attest",
    help: "verify the attestation document of the address before storing it; fail if there is no NSM",
  },
  ...EXPECT_OPTIONS,
  { name: "insecure-skip-verification", help: "for development: with --attest, keep an unverified document" },
  KEY,
  ...ENCLAVE_OPTIONS,
  ...LIST_SPECS,
] as const satisfies readonly OptionSpec[];

const SIGN_SPECS = [
  NAME,
  { name: "message", value: "TEXT", help: "sign this text (EIP-191)" },
  { name: "digest", value: "HEX", help: "sign these 32 bytes" },
  { name: "typed-data", value: "FILE", help: "sign this JSON document (EIP-712)" },
  { name: "transaction", value: "FILE", help: "sign this JSON transaction (legacy, EIP-2930, EIP-1559)" },
  {
    name: "items",
    value: "FILE",
    help: 'sign all of a JSON array of {"message"|"typedData"|"transaction"|"digest": …}',
  },
  ...ENCLAVE_OPTIONS,
  ...LIST_SPECS,
] as const satisfies readonly OptionSpec[];

const SHOW_SPECS = [
  NAME,
  { name: "verify", help: "verify the account's attestation document up to AWS's root" },
  ...EXPECT_OPTIONS,
  ...LIST_SPECS,
] as const satisfies readonly OptionSpec[];

const MAX_COUNT = 100_000;

function help(command: string, about: string, specs: readonly OptionSpec[]): string {
  return `usage: denclavectl account ${command} [options]\n\n${about}\n\n${helpLines(specs)}\n`;
}

function oneName(options: Options): string {
  const [name, ...more] = options.list("name");
  if (name !== undefined && more.length === 0) return name;
  throw new UsageError("Which account?", "Give one --name.");
}

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

async function readJson(file: string, option: string): Promise<unknown> {
  try {
    return JSON.parse(await readInput(file));
  } catch (thrown) {
    if (thrown instanceof EnclaveError) throw thrown;
    throw new UsageError(`Cannot read --${option} ${file}: ${messageOf(thrown)}`, "It must be a JSON file.");
  }
}

/** What to sign, and whether it came as a batch. */
async function payloadsOf(
  options: Options,
): Promise<{ readonly payloads: readonly SigningPayload[]; readonly isBatch: boolean }> {
  const given = (["message", "digest", "typed-data", "transaction", "items"] as const).filter((name) =>
    options.text(name) !== undefined
  );
  const [kind] = given;
  const text = kind === undefined ? undefined : options.text(kind);
  if (kind === undefined || text === undefined || given.length > 1) {
    throw new UsageError(
      "Sign what?",
      "Give one of --message, --digest, --typed-data, --transaction, --items.",
    );
  }
  const one = (payload: SigningPayload) => ({ payloads: [payload], isBatch: false });
  switch (kind) {
    case "message":
      return one({ message: text });
    case "digest":
      return one({ digest: text });
    case "typed-data":
      return one({ typedData: await readJson(text, kind) });
    case "transaction":
      return one({ transaction: await readJson(text, kind) });
    case "items": {
      const items = await readJson(text, kind);
      if (!Array.isArray(items) || items.length === 0) {
        throw new UsageError(
          `Cannot use --items ${text}`,
          "It must be a JSON array with at least one payload.",
        );
      }
      return { payloads: items as SigningPayload[], isBatch: true };
    }
    default:
      return kind satisfies never;
  }
}

async function connect(options: Options): Promise<Client> {
  return await Client.connect(enclaveAddress(options), {
    timeoutMs: options.number("timeout-ms", { min: 1, max: 600_000 }),
  });
}

async function create(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(CREATE_SPECS, argv, io.env);
  if (options.on("help")) {
    return io.stdout(
      help(
        "create",
        "Stores each account before it prints the address. Existing accounts are never overwritten.",
        CREATE_SPECS,
      ),
    ),
      EXIT.ok;
  }
  const names = namesToCreate(options);
  const expected = await enclaveToVerify(options, io, "attest");
  const credentials = credentialSource(options, io);
  await using store = await openStore(options, io, credentials, { create: options.on("create") });
  using client = await connect(options);
  const make = accountMaker({ store, wallet: new WalletClient(client, credentials) }, {
    keyId: options.text("key"),
    mustAttest: options.on("attest"),
    check: expected === undefined ? undefined : (row) => verifyAccount(row, { ...expected, at: new Date() }),
  });
  const json = options.on("json");
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
    if (made.length > 0 || json) {
      io.stdout(
        json
          ? `${
            JSON.stringify(
              made.map(({ name, address, keyId, created }) => ({ name, address, keyId, created })),
              null,
              2,
            )
          }\n`
          : `${formatTable(["NAME", "ADDRESS"], made.map(({ name, address }) => [name, address]))}\n`,
      );
    }
    if (made.some(({ attestation }) => attestation === undefined)) {
      io.stderr(
        "There is no NSM, so there is no attestation document and nothing proves that these keys were made in an enclave.\n",
      );
    }
  }
  if (made.length < names.length) {
    io.stderr(
      `Interrupted (${interruptedBy}): ${made.length} of ${names.length} accounts were made and stored.\n`,
    );
    return EXIT.failed;
  }
  return EXIT.ok;
}

function showSignatures(signatures: readonly AccountSignature[], row: AccountRow, isBatch: boolean): string {
  if (isBatch) {
    return formatTable(
      ["#", "SIGNATURE"],
      signatures.map(({ signature }, index) => [String(index), signature]),
    );
  }
  const [signed] = signatures;
  return formatFields({
    account: row.name,
    address: row.address,
    signature: signed?.signature,
    v: signed?.v,
    transaction: signed?.signedTransaction,
    hash: signed?.transactionHash,
  });
}

async function sign(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SIGN_SPECS, argv, io.env);
  if (options.on("help")) {
    return io.stdout(
      help("sign", "The enclave decrypts the account's key, signs with it and wipes it.", SIGN_SPECS),
    ),
      EXIT.ok;
  }
  const name = oneName(options);
  const { payloads, isBatch } = await payloadsOf(options);
  const credentials = credentialSource(options, io);
  await using store = await openStore(options, io, credentials);
  const row = await findAccount(store, name);
  using client = await connect(options);
  const wallet = new WalletClient(client, credentials);
  using progress = new Progress("signatures", payloads.length, io);
  const [only] = payloads;
  const signatures = isBatch || only === undefined
    ? await signAll({ store, wallet }, row, payloads, (done) => progress.at(done))
    : [await wallet.sign(row, only)];
  progress[Symbol.dispose]();
  const [first] = signatures;
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ address: row.address, ...(isBatch ? { signatures } : first) }, null, 2)}\n`
      : `${showSignatures(signatures, row, isBatch)}\n`,
  );
  return EXIT.ok;
}

/** The enclave that a document is verified against, where the switch asks for that. @throws {UsageError} */
async function enclaveToVerify(
  options: Options,
  io: CtlIo,
  asked: "attest" | "verify",
): Promise<ExpectedEnclave | undefined> {
  if (!options.on(asked)) {
    if (namesEnclave(options)) throw new UsageError(`--pcr, --measurements and --root go with --${asked}`);
    return undefined;
  }
  return options.on("insecure-skip-verification") ? undefined : await expectedEnclave(options, io);
}

async function list(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(LIST_SPECS, argv, io.env);
  if (options.on("help")) {
    return io.stdout(help("list", "Lists the stored accounts.", LIST_SPECS)), EXIT.ok;
  }
  await using store = await openStore(options, io, credentialSource(options, io));
  const rows: AccountRow[] = [];
  for await (const row of store.list()) rows.push(row);
  rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (options.on("json")) {
    io.stdout(
      `${
        JSON.stringify(
          rows.map(({ name, address, keyId, created }) => ({ name, address, keyId, created })),
          null,
          2,
        )
      }\n`,
    );
  } else if (rows.length === 0) io.stderr(`No accounts in ${store.description}\n`);
  else {
    io.stdout(`${
      formatTable(
        ["NAME", "ADDRESS", "CREATED", "KEY"],
        rows.map((row) => [
          row.name,
          row.address,
          row.created === "" ? "-" : row.created,
          row.keyId.split("/").at(-1) ?? row.keyId,
        ]),
      )
    }\n`);
  }
  return EXIT.ok;
}

async function show(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SHOW_SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(help("show", "One account.", SHOW_SPECS)), EXIT.ok;
  const name = oneName(options);
  const expected = await enclaveToVerify(options, io, "verify");
  await using store = await openStore(options, io, credentialSource(options, io));
  const row = await findAccount(store, name);
  const verified = expected === undefined ? undefined : await verifyAccount(row, expected);
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ ...row, ...(verified === undefined ? {} : { verified }) }, null, 2)}\n`
      : `${
        formatFields({
          name: row.name,
          address: row.address,
          key: row.keyId,
          created: row.created === "" ? "-" : row.created,
          version: row.version,
          store: store.description,
          attested: verified === undefined
            ? row.attestation === undefined ? "no: its origin cannot be proven" : "not verified (--verify)"
            : `generated at ${verified.generatedAt} in ${verified.moduleId} (document of ${verified.at}: not fresh)`,
          ...verified?.pcrs,
        })
      }\n`,
  );
  return EXIT.ok;
}

/** Runs a command of the group. */
export async function runAccount(command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  switch (command) {
    case "create":
      return await create(argv, io);
    case "sign":
      return await sign(argv, io);
    case "list":
      return await list(argv, io);
    case "create-table":
      return await createTable(argv, io);
    default:
      return await show(argv, io);
  }
}
