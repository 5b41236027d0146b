/**
 * The wallet's options: its rules and its cache.
 *
 * @module
 */
import { parseAddress } from "../crypto/ethereum_address.ts";
import { messageOf } from "../errors.ts";
import { type Options, refuseValue } from "./options.ts";
import { distinct, setting, type Values, wholeNumber } from "./settings.ts";

/** How long an opened key is kept. Milliseconds. */
export const CACHE_MS = 60_000;
/** How long an opened key may be kept at most. Milliseconds. */
export const MAX_CACHE_MS = 300_000;

function address(text: string, option: string): string {
  try {
    return parseAddress(text, option).text;
  } catch (thrown) {
    return refuseValue(option, text, messageOf(thrown));
  }
}

function bigNumber(text: string, option: string): bigint {
  return /^[0-9]{1,78}$/.test(text) ? BigInt(text) : refuseValue(option, text, "Give a whole number.");
}

/** A contract's address, a colon, and a name of this shape. The name of a type may contain further colons. */
function ofContract(text: string, option: string, { shape, hint }: { shape: RegExp; hint: string }) {
  const [, contract = "", name = ""] = /^([^:]*):(.*)$/.exec(text) ?? [];
  if (!shape.test(name)) refuseValue(option, text, hint);
  return { contract: address(contract, option), name };
}

function call(text: string, option: string) {
  const { contract, name } = ofContract(text, option, {
    shape: /^0x[0-9a-fA-F]{8}$/,
    hint: "Write <contract's address>:<selector>, as in 0x…:0xa9059cbb (transfer).",
  });
  return { contract, selector: name.toLowerCase() };
}

function verifyingContract(text: string, option: string) {
  const { contract, name } = ofContract(text, option, {
    shape: /^[A-Za-z_$][A-Za-z0-9_$:]*$/,
    hint: "Write <contract's address>:<primary type>, as in 0x…:Order.",
  });
  return { contract, primaryType: name };
}

/** The values unchanged, spaces and commas included. */
function messagePrefixes(options: Options, option: string): readonly string[] {
  const prefixes = options.each(option);
  for (const [index, text] of prefixes.entries()) {
    if (text === "") refuseValue(option, text, "An empty prefix would allow every message.");
    if (prefixes.indexOf(text) < index) refuseValue(option, text, "It is given twice.");
  }
  return prefixes;
}

function maxValue(options: Options, option: string): bigint | undefined {
  const text = options.text(option);
  return text === undefined ? undefined : bigNumber(text, option);
}

/** The rules. An empty list means no rule. */
export const WALLET_GUARDS = {
  chains: distinct(
    { name: "wallet-chain", env: "WALLET_CHAINS", value: "ID", parse: bigNumber },
    "rule: sign for this chain id only; again or with commas for more",
  ),
  /** Addresses, with checksums. */
  recipients: distinct(
    { name: "wallet-recipient", env: "WALLET_RECIPIENTS", value: "ADDRESS", parse: address },
    "rule: plain transfers to this address are allowed",
  ),
  calls: distinct(
    { name: "wallet-call", env: "WALLET_CALLS", value: "ADDRESS:0xSELECTOR", parse: call },
    "rule: calls of this function of this contract are allowed",
  ),
  /** Addresses, with checksums. */
  delegations: distinct(
    { name: "wallet-delegation", env: "WALLET_DELEGATIONS", value: "ADDRESS", isLater: true, parse: address },
    "rule: delegations (EIP-7702) to this contract, whose code then controls the account, are allowed",
  ),
  verifyingContracts: distinct(
    {
      name: "wallet-verifying-contract",
      env: "WALLET_VERIFYING_CONTRACTS",
      value: "ADDRESS:TYPE",
      parse: verifyingContract,
    },
    "rule: typed data for this contract with this primary type is allowed (with --wallet-chain)",
  ),
  messagePrefixes: setting(
    {
      name: "wallet-message-prefix",
      hashedAs: "wallet_message_prefixes",
      value: "TEXT",
      multiple: true,
      read: messagePrefixes,
    },
    "rule: messages that begin with exactly this text are allowed; again for more",
  ),
  /** Of value and gas cost together. Wei. */
  maxValue: setting(
    { name: "wallet-max-value", value: "WEI", read: maxValue },
    "rule: maximum of value and gas cost of one transaction, together",
  ),
};

/** The cache. */
export const WALLET_CACHE = {
  entries: wholeNumber(
    { name: "wallet-cache", value: "N", default: 0, min: 0, max: 10_000 },
    "number of opened account keys to keep in memory for a minute",
  ),
};

/** The parsed rules. */
export type WalletGuards = Values<typeof WALLET_GUARDS>;
