/**
 * What an account may not sign, whoever asks: rules of the measured configuration (SECURITY, Use). Off unless configured; with any of them
 * set, what no rule can look into is refused.
 *
 * A ceiling is per transaction: repeats are not limited. What a contract does with a call that is allowed is its business.
 *
 * @module
 */
import type { Payload } from "../crypto/ethereum/payload.ts";
import type { TransactionIntent } from "../crypto/ethereum/transaction.ts";
import type { TypedDataIntent } from "../crypto/ethereum/typed_data.ts";
import { WireError } from "../wire/messages.ts";

/** The rules. An empty list is no rule. */
export interface WalletGuards {
  readonly chains: readonly bigint[];
  /** Who may receive a plain transfer. With checksums. */
  readonly recipients: readonly string[];
  /** Which functions of which contracts may be called. */
  readonly calls: readonly { readonly contract: string; readonly selector: string }[];
  /** Contracts for which typed data may be signed. With checksums. */
  readonly verifyingContracts: readonly string[];
  /** What a message may begin with. */
  readonly messagePrefixes: readonly string[];
  /** Value and the most that the gas may cost, together. Wei. */
  readonly maxValue: bigint | undefined;
  /** Primary types of typed data that are signed although they let somebody else move value, with {@link maxValue} set. */
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

/** Structs by which value is moved or an allowance given: those of EIP-2612, DAI and Permit2 are all called permits; then those of EIP-3009. */
const PERMIT_NAME = /permit|withauthorization$/i;
/** Members that an allowance needs, whatever its struct is called: who may take, and until when. */
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
 * Whether signing lets another account move value: an allowance, which no ceiling of a transaction sees. Looked for in every struct that is declared, since
 * a permit may be inside of another message; by name, and by members, since a contract may call it something else.
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
      return refuse("digest", "with rules set, a digest is not signed: nobody can see what it is of");
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
