/**
 * Typed data in the forms that wallets are asked to sign, most of which can move value: under any rule it is
 * signed only if its contract and type are listed.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../../../lib/shared/crypto/ethereum_address.ts";
import { parsePayload } from "../../../../lib/enclave/wallet/ethereum/payload.ts";
import { checkGuards } from "../../../../lib/enclave/wallet/wallet_guards.ts";
import { type WalletGuards } from "../../../../lib/shared/cli/wallet_options.ts";
import { NO_GUARDS } from "../../../../lib/dev/defaults.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";
import { typedDataVectors } from "../../../helpers/vectors.ts";
import { walletRig } from "../../../helpers/wallet_rig.ts";

const CONTRACT = "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB";
const OTHER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

const DETAILS = "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)";
const AUTHORIZATION = `address from,address to,uint256 value,
  uint256 validAfter,uint256 validBefore,bytes32 nonce`;

/** Types as EIP-712 encodes them, the primary type first. */
const SAMPLES: Readonly<Record<string, string>> = {
  "a permit of EIP-2612": `Permit(address owner,address spender,
    uint256 value,uint256 nonce,uint256 deadline)`,
  "Permit2, several": `PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline)${DETAILS}`,
  "EIP-3009, a transfer": `TransferWithAuthorization(${AUTHORIZATION})`,
  "an allowance in another message": "Batch(Allowance[] items)Allowance(address operator,uint256 expiry)",
  "a transaction of a Safe": `SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,
    uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)`,
  "a vote": "Ballot(uint256 proposal,bool support)",
};

/** Any one of these is a rule. */
const SINGLE_RULES: Readonly<Record<string, Partial<WalletGuards>>> = {
  ceiling: { maxValue: 10n ** 30n },
  recipients: { recipients: [CONTRACT] },
  calls: { calls: [{ contract: CONTRACT, selector: "0xa9059cbb" }] },
  chains: { chains: [1n] },
  prefixes: { messagePrefixes: ["Sign in to "] },
};

/** Rules that come close to allowing typed data of this type. */
function nearMisses(primaryType: string): Readonly<Record<string, Partial<WalletGuards>>> {
  const listed = (contract: string, type: string) => ({
    verifyingContracts: [{ contract, primaryType: type }],
  });
  return {
    "no pair": {},
    "the pair, no chain": { ...listed(CONTRACT, primaryType), chains: [] },
    "the pair, another chain": { ...listed(CONTRACT, primaryType), chains: [2n] },
    "the contract, another type": listed(CONTRACT, "Mail"),
    "the contract, the type in other letters": listed(CONTRACT, primaryType.toUpperCase()),
    "the type, another contract": listed(OTHER, primaryType),
  };
}

type Fields = readonly { readonly name: string; readonly type: string }[];

function parseTypes(encoded: string): ReadonlyMap<string, Fields> {
  return new Map([...encoded.matchAll(/(\w+)\(([^)]*)\)/g)].map(([, name = "", members = ""]) => [
    name,
    members.split(",").map((member) => {
      const [type = "", field = ""] = member.trim().split(" ");
      return { name: field, type };
    }),
  ]));
}

function exampleOf(type: string, types: ReadonlyMap<string, Fields>): unknown {
  const fields = types.get(type);
  if (fields !== undefined) return Object.fromEntries(fields.map((f) => [f.name, exampleOf(f.type, types)]));
  if (type.endsWith("[]")) return [exampleOf(type.slice(0, -2), types)];
  if (type.startsWith("uint")) return "1";
  return { address: OTHER, bool: true, string: "x", bytes: "0x01", bytes32: `0x${"01".repeat(32)}` }[type];
}

/** Signs an example of these types under each of the rules in turn. */
async function outcomes(
  encoded: string,
  rules: readonly Partial<WalletGuards>[],
): Promise<readonly string[]> {
  const types = parseTypes(encoded);
  const [primaryType = ""] = types.keys();
  const typedData = {
    types: Object.fromEntries(types),
    primaryType,
    domain: { name: "Test", chainId: 1, verifyingContract: CONTRACT },
    message: exampleOf(primaryType, types),
  };
  const found = [];
  for (const guards of rules) {
    using rig = await walletRig({ guards: { ...NO_GUARDS, ...guards } });
    const reply = await rig.ask({ ...await rig.account("alice"), typedData });
    found.push(String(reply.msg ?? reply["apiResponse"]));
  }
  return found;
}

for (const [what, encoded] of Object.entries(SAMPLES)) {
  Deno.test(`typed data, ${what}: signed under no rule unless its contract and type are listed`, async () => {
    const [primaryType = ""] = encoded.split("(");
    const pair = { contract: CONTRACT, primaryType };
    const near = Object.entries(nearMisses(primaryType));
    const names = ["the rule alone", ...near.map(([name]) => name), "listed"];
    const expected = names.map((name) => [name, name === "listed" ? "signResponse" : "guard_refused"]);
    for (const [rule, guards] of Object.entries(SINGLE_RULES)) {
      const found = await outcomes(encoded, [
        guards,
        ...near.map(([, more]) => ({ chains: [1n], ...guards, ...more })),
        { chains: [1n], ...guards, verifyingContracts: [{ contract: CONTRACT, primaryType: "Mail" }, pair] },
      ]);
      assertEquals([rule, ...names.map((name, index) => [name, found[index]])], [rule, ...expected]);
    }
  });
}

for (const [file, typedData] of Object.entries(typedDataVectors() ?? {})) {
  Deno.test(`typed data of ${file}: the rules allow it only if its contract and type are listed`, () => {
    const { primaryType, domain } = typedData;
    const chainId = BigInt(domain.chainId);
    const contract = parseAddress(domain.verifyingContract, "verifyingContract").text;
    const payload = parsePayload({ typedData }, OTHER);
    for (const guards of Object.values(SINGLE_RULES)) {
      const rules = { ...NO_GUARDS, ...guards, chains: [chainId] };
      const listed = (type: string) => ({ ...rules, verifyingContracts: [{ contract, primaryType: type }] });
      assertThrows(() => checkGuards(rules, payload), WireError, "verifying-contracts");
      assertThrows(() => checkGuards(listed("Mail"), payload), WireError, "verifying-contracts");
      checkGuards(listed(primaryType), payload);
    }
  });
}

Deno.test("with ignoreUndeclared, members of the domain that are not hashed do not satisfy a rule", () => {
  const [name, chain, verifier] = [
    { name: "name", type: "string" },
    { name: "chainId", type: "uint256" },
    { name: "verifyingContract", type: "address" },
  ];
  const domain = { name: "Test", chainId: 1, verifyingContract: CONTRACT };
  const listed = { chains: [1n], verifyingContracts: [{ contract: CONTRACT, primaryType: "Vote" }] };
  const check = (fields: readonly unknown[]) => {
    const types = { EIP712Domain: fields, Vote: [{ name: "support", type: "bool" }] };
    const typedData = { types, primaryType: "Vote", domain, message: { support: true } };
    checkGuards({ ...NO_GUARDS, ...listed }, parsePayload({ typedData, ignoreUndeclared: true }, OTHER));
  };
  check([name, chain, verifier]);
  assertThrows(() => check([name, verifier]), WireError, "Rule chains");
  assertThrows(() => check([name, chain]), WireError, "Rule verifying-contracts");
});
