/**
 * Rules of the measured configuration that restrict what accounts may sign. Off unless configured; with any of them
 * set, payloads that no rule can inspect are refused.
 *
 * The maximum value is per transaction: repeats are not limited. The effects of an allowed call of a contract are not checked.
 *
 * @module
 */
import type { Payload } from "../crypto/ethereum/payload.ts";
import type { TransactionIntent } from "../crypto/ethereum/transaction.ts";
import type { TypedDataIntent } from "../crypto/ethereum/typed_data.ts";
import { WireError } from "../wire/messages.ts";

/** The rules. An empty list means no rule. */
export interface WalletGuards {
  readonly chains: readonly bigint[];
  /** Addresses that may receive a plain transfer. With checksums. */
  readonly recipients: readonly string[];
  /** Contract functions that may be called. */
  readonly calls: readonly { readonly contract: string; readonly selector: string }[];
  /** Contracts for which typed data may be signed. With checksums. */
  readonly verifyingContracts: readonly string[];
  /** Allowed beginnings of a message. */
  readonly messagePrefixes: readonly string[];
  /** Maximum of value and gas cost together. Wei. */
  readonly maxValue: bigint | undefined;
  /** With {@link maxValue} set: primary types that may be signed although they let another account move value. */
  readonly permitTypes: readonly string[];
}

/** No rule at all. */
export const NO_GUARDS: WalletGuards = {
  chains: [],
  recipients: [],
  calls: [],
  verifyingContracts: [],
  messagePrefixes: [],
  maxValue: undefined,
  permitTypes: [],
};

/** Whether any rule is set. */
export function isGuarded(guards: WalletGuards): boolean {
  const { maxValue, permitTypes: _, ...lists } = guards;
  return maxValue !== undefined || Object.values(lists).some((list) => list.length > 0);
}

/** Bytes of a function's selector, as hex digits. */
const SELECTOR_END = 2 + 8;

function refuse(rule: string, why: string): never {
  throw new WireError("guard_refused", `Rule ${rule}: ${why}`);
}

function checkTransaction(
  guards: WalletGuards,
  { chainId, to, value, data, maxFee }: TransactionIntent,
): void {
  const { chains, recipients, calls, maxValue } = guards;
  if (chains.length > 0 && !chains.includes(chainId)) refuse("chains", `chain id ${chainId} is not allowed`);
  if (to === undefined) refuse("calls", "the creation of a contract is refused");
  if (data === "0x") {
    if (recipients.length > 0 && !recipients.includes(to)) refuse("recipients", `${to} is not allowed`);
  } else {
    const selector = data.slice(0, SELECTOR_END);
    if (!calls.some((call) => call.contract === to && call.selector === selector)) {
      refuse("calls", `a call of ${selector} on ${to} is not allowed`);
    }
  }
  if (maxValue !== undefined && value + maxFee > maxValue) {
    refuse("max-value", `${value + maxFee} wei (value and gas at most) are above ${maxValue}`);
  }
}

/** Structs that move value or give an allowance: those of EIP-2612, DAI and Permit2 are all called permits; then those of EIP-3009. */
const PERMIT_NAME = /permit|withauthorization$/i;
/** Members that identify an allowance under any struct name: the spender and the expiry. */
const TAKERS: readonly string[] = ["spender", "operator"];
const DEADLINES: readonly string[] = [
  "deadline",
  "expiry",
  "expiration",
  "sigDeadline",
  "validTo",
  "nonce",
  "nonces",
];

/**
 * Whether signing lets another account move value: an allowance, which the maximum per transaction does not cover. Every declared struct is checked,
 * since a permit may be nested in another message; by name, and by members, since a contract may use another name.
 */
function isPermit({ primaryType, members }: TypedDataIntent): boolean {
  if (PERMIT_NAME.test(primaryType)) return true;
  return [...members].some(([struct, fields]) => {
    const has = (names: readonly string[]) => fields.some(({ name }) => names.includes(name));
    return PERMIT_NAME.test(struct) || has(TAKERS) && has(DEADLINES);
  });
}

function checkPermit({ maxValue, permitTypes }: WalletGuards, intent: TypedDataIntent): void {
  if (maxValue === undefined || permitTypes.includes(intent.primaryType) || !isPermit(intent)) return;
  refuse(
    "max-value",
    `typed data ${intent.primaryType} lets another account move value, which the ceiling does not limit; wallet-permit-type names those that are allowed`,
  );
}

function checkTypedData(guards: WalletGuards, intent: TypedDataIntent): void {
  const { chainId, verifyingContract } = intent;
  if (chainId === undefined || !guards.chains.includes(chainId)) {
    refuse(
      "chains",
      `typed data for ${chainId === undefined ? "no chain" : `chain id ${chainId}`} is not allowed`,
    );
  }
  if (verifyingContract === undefined || !guards.verifyingContracts.includes(verifyingContract)) {
    refuse("verifying-contracts", `typed data for ${verifyingContract ?? "no contract"} is not allowed`);
  }
  checkPermit(guards, intent);
}

function checkMessage(guards: WalletGuards, bytes: Uint8Array): void {
  const encoder = new TextEncoder();
  const allowed = guards.messagePrefixes.some((text) => {
    const prefix = encoder.encode(text);
    return prefix.length <= bytes.length && prefix.every((byte, index) => byte === bytes[index]);
  });
  if (!allowed) refuse("message-prefixes", "the message does not begin as one that is allowed");
}

/** @throws {WireError} `guard_refused`, with the rule's name. */
export function checkGuards(guards: WalletGuards, payload: Payload): void {
  if (!isGuarded(guards)) return;
  switch (payload.kind) {
    case "digest":
      return refuse("digest", "with rules set, a digest is not signed: its contents cannot be checked");
    case "message":
      return checkMessage(guards, payload.bytes);
    case "typedData":
      return checkTypedData(guards, payload.data.intent);
    case "transaction":
      return checkTransaction(guards, payload.transaction.intent);
    default:
      return payload satisfies never;
  }
}
