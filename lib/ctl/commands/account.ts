/**
 * `denclavectl account list`, `show`, `sign` and `create-table`.
 *
 * @module
 */
import { EXIT, type Options, UsageError } from "../../shared/cli/options.ts";
import { findAccount, signAll } from "../client/accounts.ts";
import { verifyAccount } from "../client/verify_account.ts";
import { type AccountSignature, type SigningPayload, WalletClient } from "../client/wallet_client.ts";
import type { AccountRow } from "../stores/account_store.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { connectEnclave, credentialSource, openStore, readJson } from "../terminal/io.ts";
import {
  AWS_OPTIONS,
  ENCLAVE_OPTIONS,
  EXPECT_OPTIONS,
  JSON_OPTION,
  STORE_OPTIONS,
} from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import { Progress } from "../terminal/progress.ts";
import { enclaveToVerify } from "./attestation_options.ts";

/** The account. */
export const NAME_OPTION = {
  name: "name",
  short: "n",
  value: "NAME",
  multiple: true,
  help: "the account's name",
} as const;

/** Options of all commands that read the store. */
export const LIST_OPTIONS = [...STORE_OPTIONS, ...AWS_OPTIONS, JSON_OPTION] as const;

/** What a row shows without its keys. */
export function rowFields({ name, address, keyId, created }: AccountRow) {
  return { name, address, keyId, created };
}

function oneName(options: Options): string {
  const [name, ...more] = options.list("name");
  if (name !== undefined && more.length === 0) return name;
  throw new UsageError("Which account?", "Give one --name.");
}

const PAYLOADS = {
  message: "message",
  digest: "digest",
  "typed-data": "typedData",
  transaction: "transaction",
  authorization: "authorization",
  items: undefined,
} as const;

/** What to sign: one payload, or a batch of them. */
async function payloadsOf(options: Options): Promise<SigningPayload | readonly SigningPayload[]> {
  const given = (Object.keys(PAYLOADS) as (keyof typeof PAYLOADS)[])
    .filter((name) => options.text(name) !== undefined);
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    throw new UsageError(
      "Sign what?",
      "Give one of --message, --digest, --typed-data, --transaction, --authorization, --items.",
    );
  }
  const text = options.text(kind) ?? "";
  const value = kind === "message" || kind === "digest" ? text : await readJson(text, kind);
  const member = PAYLOADS[kind];
  const ignoring = options.on("ignore-undeclared");
  if (ignoring && kind !== "typed-data") throw new UsageError("--ignore-undeclared goes with --typed-data");
  if (member !== undefined) return { [member]: value, ...(ignoring ? { ignoreUndeclared: true } : {}) };
  if (Array.isArray(value) && value.length > 0) return value as SigningPayload[];
  throw new UsageError(`Cannot use --items ${text}`, "It must be a JSON array with at least one payload.");
}

function isBatch(
  payloads: SigningPayload | readonly SigningPayload[],
): payloads is readonly SigningPayload[] {
  return Array.isArray(payloads);
}

async function sign(options: Options, io: CtlIo): Promise<number> {
  const name = oneName(options);
  const payloads = await payloadsOf(options);
  const credentials = credentialSource(options, io);
  await using store = await openStore(options, io, credentials);
  const row = await findAccount(store, name);
  using client = await connectEnclave(options);
  const wallet = new WalletClient(client, credentials);
  if (!isBatch(payloads)) {
    const signed = await wallet.sign(row, payloads);
    return printResult(options, io, {
      json: { address: row.address, ...signed },
      text: formatFields({
        account: row.name,
        address: row.address,
        signature: signed.signature,
        v: signed.v,
        transaction: signed.signedTransaction,
        hash: signed.transactionHash,
        authorization: signed.authorization && JSON.stringify(signed.authorization),
      }),
    });
  }
  let signatures: readonly AccountSignature[];
  {
    using progress = new Progress("signatures", payloads.length, io);
    signatures = await signAll({ store, wallet }, row, payloads, (done) => progress.at(done));
  }
  const rows = signatures.map(({ signature }, index) => [String(index), signature]);
  return printResult(options, io, {
    json: { address: row.address, signatures },
    text: formatTable(["#", "SIGNATURE"], rows),
  });
}

async function list(options: Options, io: CtlIo): Promise<number> {
  await using store = await openStore(options, io, credentialSource(options, io));
  const rows = await Array.fromAsync(store.list());
  rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (rows.length === 0 && !options.on("json")) {
    io.stderr(`No accounts in ${store.description}\n`);
    return EXIT.ok;
  }
  const cells = rows.map(({ name, address, created, keyId }) => [
    name,
    address,
    created === "" ? "-" : created,
    keyId.split("/").at(-1) ?? keyId,
  ]);
  return printResult(options, io, {
    json: rows.map(rowFields),
    text: formatTable(["NAME", "ADDRESS", "CREATED", "KEY"], cells),
  });
}

async function show(options: Options, io: CtlIo): Promise<number> {
  const name = oneName(options);
  const expected = await enclaveToVerify(options, io, { wanted: options.on("verify"), needed: "--verify" });
  await using store = await openStore(options, io, credentialSource(options, io));
  const row = await findAccount(store, name);
  const verified = expected === undefined ? undefined : await verifyAccount(row, expected);
  const attested = verified !== undefined
    ? `generated at ${verified.generatedAt} in ${verified.moduleId} (document of ${verified.at}: not fresh)`
    : row.attestation === undefined
    ? "no: its origin cannot be proven"
    : "not verified (--verify)";
  return printResult(options, io, {
    json: { ...row, ...(verified === undefined ? {} : { verified }) },
    text: formatFields({
      name: row.name,
      address: row.address,
      key: row.keyId,
      created: row.created === "" ? "-" : row.created,
      version: row.version,
      store: store.description,
      attested,
      ...verified?.pcrs,
    }),
  });
}

async function createTable(options: Options, io: CtlIo): Promise<number> {
  await using store = await openStore(options, io, credentialSource(options, io));
  const outcome = await store.createTable();
  return printResult(options, io, {
    json: { store: store.description, outcome },
    text: `${store.description}: ${outcome === "created" ? "created" : "exists already"}`,
  });
}

/** The commands of the group, but for `create`. */
export const ACCOUNT_COMMANDS: readonly Command[] = [
  {
    path: "account sign",
    summary: "sign messages, typed data, transactions, authorizations or digests with an account",
    usage: "-n NAME --message TEXT [options]",
    about: "The enclave decrypts the account's key, signs with it and wipes it.",
    options: [
      NAME_OPTION,
      { name: "message", value: "TEXT", help: "sign this text (EIP-191)" },
      { name: "digest", value: "HEX", help: "sign these 32 bytes" },
      { name: "typed-data", value: "FILE", help: "sign this JSON document (EIP-712)" },
      {
        name: "ignore-undeclared",
        help: "with --typed-data: leave out members that its types do not declare, as other wallets do",
      },
      {
        name: "transaction",
        value: "FILE",
        help: "sign this JSON transaction (legacy, EIP-2930, EIP-1559, EIP-4844, EIP-7702)",
      },
      {
        name: "authorization",
        value: "FILE",
        help: "sign this JSON authorization {chainId, address, nonce} (EIP-7702)",
      },
      {
        name: "items",
        value: "FILE",
        help: 'sign all of a JSON array of {"message" | "typedData" | "transaction" | …: …}',
      },
      ...ENCLAVE_OPTIONS,
      ...LIST_OPTIONS,
    ],
    run: sign,
  },
  {
    path: "account list",
    summary: "list the stored accounts",
    usage: "[options]",
    options: LIST_OPTIONS,
    run: list,
  },
  {
    path: "account show",
    summary: "show an account; --verify checks that it was made in the enclave",
    usage: "-n NAME [--verify -m FILE] [options]",
    options: [
      NAME_OPTION,
      { name: "verify", help: "verify the account's attestation document up to AWS's root" },
      ...EXPECT_OPTIONS,
      ...LIST_OPTIONS,
    ],
    run: show,
  },
  {
    path: "account create-table",
    summary: "create the DynamoDB table of the accounts, if it does not exist",
    usage: "[options]",
    options: LIST_OPTIONS.map((spec) => spec.name === "store" ? { ...spec, default: "dynamodb" } : spec),
    run: createTable,
  },
];
