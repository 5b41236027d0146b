/**
 * The wallet's options: its rules and its cache. Part of the measured configuration, in every entry.
 *
 * @module
 */
import { parseAddress } from "../crypto/ethereum_address.ts";
import { messageOf } from "../errors.ts";
import { type MeasuredOptionSpec, type Options, UsageError } from "./options.ts";

/** The rules. An empty list means no rule. */
export interface WalletGuards {
  readonly chains: readonly bigint[];
  /** Addresses that may receive a plain transfer. With checksums. */
  readonly recipients: readonly string[];
  /** Contract functions that may be called. */
  readonly calls: readonly { readonly contract: string; readonly selector: string }[];
  /** Typed data that may be signed: the domain's contract, with its checksum, and the primary type. */
  readonly verifyingContracts: readonly { readonly contract: string; readonly primaryType: string }[];
  /** Allowed beginnings of a message. */
  readonly messagePrefixes: readonly string[];
  /** Maximum of value and gas cost together. Wei. */
  readonly maxValue: bigint | undefined;
}

/** No rule at all. */
export const NO_GUARDS: WalletGuards = {
  chains: [],
  recipients: [],
  calls: [],
  verifyingContracts: [],
  messagePrefixes: [],
  maxValue: undefined,
};

/** How long an opened key may be kept. Milliseconds. */
export const MAX_CACHE_MS = 300_000;

/** Options of `serve` that concern the wallet. */
export const WALLET_OPTIONS = [
  {
    name: "wallet-chain",
    env: "WALLET_CHAINS",
    refuseEmpty: true,
    value: "ID",
    multiple: true,
    help: "rule: sign for this chain id only; again or with commas for more",
  },
  {
    name: "wallet-recipient",
    env: "WALLET_RECIPIENTS",
    refuseEmpty: true,
    value: "ADDRESS",
    multiple: true,
    help: "rule: plain transfers to this address are allowed",
  },
  {
    name: "wallet-call",
    env: "WALLET_CALLS",
    refuseEmpty: true,
    value: "ADDRESS:0xSELECTOR",
    multiple: true,
    help: "rule: calls of this function of this contract are allowed",
  },
  {
    name: "wallet-max-value",
    env: "WALLET_MAX_VALUE",
    refuseEmpty: true,
    value: "WEI",
    help: "rule: maximum of value and gas cost of one transaction, together",
  },
  {
    name: "wallet-verifying-contract",
    env: "WALLET_VERIFYING_CONTRACTS",
    refuseEmpty: true,
    value: "ADDRESS:TYPE",
    multiple: true,
    help: "rule: typed data for this contract with this primary type is allowed (with --wallet-chain)",
  },
  {
    name: "wallet-message-prefix",
    env: "WALLET_MESSAGE_PREFIX",
    refuseEmpty: true,
    value: "TEXT",
    multiple: true,
    help: "rule: messages that begin with exactly this text are allowed; again for more",
  },
  {
    name: "wallet-cache",
    env: "WALLET_CACHE",
    refuseEmpty: true,
    value: "N",
    default: "0",
    help: "number of opened account keys to keep in memory",
  },
  {
    name: "wallet-cache-ms",
    env: "WALLET_CACHE_MS",
    refuseEmpty: true,
    value: "MS",
    default: "60000",
    help: `how long an opened key is kept, at most ${MAX_CACHE_MS}`,
  },
] as const satisfies readonly MeasuredOptionSpec[];

/** The parsed options of the wallet. */
export interface WalletConfig {
  readonly guards: WalletGuards;
  readonly cache: { readonly entries: number; readonly maxAgeMs: number };
}

const MAX_CACHE_ENTRIES = 10_000;

function refuse(option: string, text: string, hint: string): never {
  throw new UsageError(`Cannot use ${JSON.stringify(text)} for --${option}`, hint);
}

function address(option: string, text: string): string {
  try {
    return parseAddress(text, option).text;
  } catch (thrown) {
    return refuse(option, text, messageOf(thrown));
  }
}

function wholeNumber(option: string, text: string): bigint {
  return /^[0-9]{1,78}$/.test(text) ? BigInt(text) : refuse(option, text, "Give a whole number.");
}

/** A contract's address, a colon, and a name of this shape. The name of a type may contain further colons. */
function ofContract(option: string, text: string, shape: RegExp, hint: string) {
  const [, contract = "", name = ""] = /^([^:]*):(.*)$/.exec(text) ?? [];
  if (!shape.test(name)) refuse(option, text, hint);
  return { contract: address(option, contract), name };
}

function call(text: string): WalletGuards["calls"][number] {
  const hint = "Write <contract's address>:<selector>, as in 0x…:0xa9059cbb (transfer).";
  const { contract, name } = ofContract("wallet-call", text, /^0x[0-9a-fA-F]{8}$/, hint);
  return { contract, selector: name.toLowerCase() };
}

function verifyingContract(text: string): WalletGuards["verifyingContracts"][number] {
  const option = "wallet-verifying-contract";
  const hint = "Write <contract's address>:<primary type>, as in 0x…:Order.";
  const { contract, name } = ofContract(option, text, /^[A-Za-z_$][A-Za-z0-9_$:]*$/, hint);
  return { contract, primaryType: name };
}

/** The values unchanged, spaces and commas included. */
function messagePrefixes(options: Options): readonly string[] {
  const prefixes = options.each("wallet-message-prefix");
  for (const [index, text] of prefixes.entries()) {
    if (text === "") refuse("wallet-message-prefix", text, "An empty prefix would allow every message.");
    if (prefixes.indexOf(text) < index) refuse("wallet-message-prefix", text, "It is given twice.");
  }
  return prefixes;
}

/** @throws {UsageError} that names the option. */
export function readWalletConfig(options: Options): WalletConfig {
  const maxValue = options.text("wallet-max-value");
  return {
    guards: {
      chains: options.distinct("wallet-chain", (text) => wholeNumber("wallet-chain", text)),
      recipients: options.distinct("wallet-recipient", (text) => address("wallet-recipient", text)),
      calls: options.distinct("wallet-call", call, ({ contract, selector }) => `${contract}:${selector}`),
      verifyingContracts: options.distinct(
        "wallet-verifying-contract",
        verifyingContract,
        ({ contract, primaryType }) => `${contract}:${primaryType}`,
      ),
      messagePrefixes: messagePrefixes(options),
      maxValue: maxValue === undefined ? undefined : wholeNumber("wallet-max-value", maxValue),
    },
    cache: {
      entries: options.number("wallet-cache", { min: 0, max: MAX_CACHE_ENTRIES }),
      maxAgeMs: options.number("wallet-cache-ms", { min: 1, max: MAX_CACHE_MS }),
    },
  };
}
