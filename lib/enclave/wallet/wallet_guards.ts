/**
 * Rules of the measured configuration that restrict what accounts may sign. Off unless configured; with any of them
 * set, payloads that no rule can inspect are refused.
 *
 * The maximum value is per transaction: repeats are not limited. The arguments of an allowed call and the
 * values of allowed typed data are not checked.
 *
 * @module
 */
import { equalBytes } from "../../shared/bytes.ts";
import type { Authorization } from "./ethereum/authorization.ts";
import type { Payload } from "./ethereum/payload.ts";
import type { TransactionIntent } from "./ethereum/transaction.ts";
import type { TypedDataIntent } from "./ethereum/typed_data.ts";
import type { WalletGuards } from "../../shared/cli/wallet_options.ts";
import { WireError } from "../../shared/wire/messages.ts";

/** Whether any rule is set. */
export function isGuarded(guards: WalletGuards): boolean {
  const { maxValue, ...lists } = guards;
  return maxValue !== undefined || Object.values(lists).some((list) => list.length > 0);
}

/** Names that allowances have: permits (EIP-2612, DAI, Permit2), authorizations (EIP-3009), delegations. */
const ALLOWANCE_NAME = /permit|authoriz|allow|approv|delegat/i;

/**
 * Listed typed data that is named like an allowance, for a warning. Other types may be allowances as well.
 */
export function likelyAllowances({ verifyingContracts }: WalletGuards): readonly string[] {
  return verifyingContracts.filter(({ primaryType }) => ALLOWANCE_NAME.test(primaryType))
    .map(({ contract, primaryType }) => `${contract}:${primaryType}`);
}

/** Bytes of a function's selector, as hex digits. */
const SELECTOR_END = 2 + 8;

function refuse(rule: string, why: string): never {
  throw new WireError("guard_refused", `Rule ${rule}: ${why}`);
}

function checkChain({ chains }: WalletGuards, chainId: bigint): void {
  if (chains.length > 0 && !chains.includes(chainId)) refuse("chains", `chain id ${chainId} is not allowed`);
}

/** A delegation is an allowance without a limit: the contract's code may do whatever the account may. */
function checkAuthorization(guards: WalletGuards, authorization: Authorization): void {
  const { address } = authorization;
  if (!guards.delegations.includes(address)) {
    refuse("delegations", `the delegation to ${address} is not allowed`);
  }
  checkChain(guards, authorization.chainId);
}

function checkTransaction(
  guards: WalletGuards,
  { chainId, to, value, data, maxFee, authorizations }: TransactionIntent,
): void {
  const { recipients, calls, maxValue } = guards;
  checkChain(guards, chainId);
  for (const authorization of authorizations) checkAuthorization(guards, authorization);
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

function checkTypedData(
  guards: WalletGuards,
  { chainId, verifyingContract, primaryType }: TypedDataIntent,
): void {
  if (chainId === undefined || !guards.chains.includes(chainId)) {
    const chain = chainId === undefined ? "no chain" : `chain id ${chainId}`;
    refuse("chains", `typed data for ${chain} is not allowed`);
  }
  const isListed = guards.verifyingContracts.some((listed) =>
    listed.contract === verifyingContract && listed.primaryType === primaryType
  );
  if (isListed) return;
  const where = verifyingContract ?? "no contract";
  refuse("verifying-contracts", `typed data ${primaryType} for ${where} is not allowed`);
}

function checkMessage(guards: WalletGuards, bytes: Uint8Array): void {
  const allowed = guards.messagePrefixes.some((text) => {
    const prefix = new TextEncoder().encode(text);
    return equalBytes(prefix, bytes.subarray(0, prefix.length));
  });
  if (!allowed) refuse("message-prefixes", "the message does not begin as one that is allowed");
}

/** @throws {WireError} `guard_refused`, with the rule's name. */
export function checkGuards(guards: WalletGuards, payload: Payload): void {
  if (!isGuarded(guards)) return;
  const { kind } = payload;
  if (kind === "message") return checkMessage(guards, payload.bytes);
  if (kind === "typedData") return checkTypedData(guards, payload.data.intent);
  if (kind === "transaction") return checkTransaction(guards, payload.transaction.intent);
  if (kind === "authorization") return checkAuthorization(guards, payload.authorization);
  return refuse("digest", "with rules set, a digest is not signed: its contents cannot be checked");
}
