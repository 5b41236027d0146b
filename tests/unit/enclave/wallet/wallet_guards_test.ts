/** The wallet's rules: what each allows, what it refuses, and that a refusal names the rule. */
import { assertEquals } from "@std/assert";
import { type WalletGuards } from "../../../../lib/shared/cli/wallet_options.ts";
import { NO_GUARDS } from "../../../../lib/dev/defaults.ts";
import { EIP712_MAIL } from "../../../fixtures/ethereum.ts";
import { walletRig } from "../../../helpers/wallet_rig.ts";

const FRIEND = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const STRANGER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const TOKEN = "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB";
const TRANSFER = `0xa9059cbb${"00".repeat(64)}`;
const APPROVE = `0x095ea7b3${"00".repeat(64)}`;

const TX = {
  chainId: 1,
  nonce: 0,
  gasLimit: 21000,
  maxFeePerGas: 10,
  maxPriorityFeePerGas: 1,
  to: FRIEND,
  value: 5,
};
const MAIL = EIP712_MAIL.typedData;
const FEE = 210_000;

const chains: Partial<WalletGuards> = { chains: [1n] };
const recipients: Partial<WalletGuards> = { recipients: [FRIEND] };
const calls: Partial<WalletGuards> = { calls: [{ contract: TOKEN, selector: "0xa9059cbb" }] };
const ceiling: Partial<WalletGuards> = { maxValue: BigInt(FEE + 5) };
const contracts: Partial<WalletGuards> = {
  chains: [1n],
  verifyingContracts: [{ contract: MAIL.domain.verifyingContract, primaryType: "Mail" }],
};
const delegations: Partial<WalletGuards> = { delegations: [TOKEN], chains: [1n], recipients: [FRIEND] };
const BLOBS = { ...TX, maxFeePerBlobGas: 2, blobVersionedHashes: [`0x01${"00".repeat(31)}`] };
const BLOB_FEE = 2 * 131_072;
const AUTHORIZATION = { chainId: 1, address: TOKEN, nonce: 1, yParity: 0, r: "0x1", s: "0x1" };
/** A transaction with authorizations: one for the listed contract, and another. */
function delegating(more: object) {
  return { transaction: { ...TX, authorizationList: [AUTHORIZATION, { ...AUTHORIZATION, ...more }] } };
}
const prefixes: Partial<WalletGuards> = { messagePrefixes: ["Sign in to "] };

/** Rules, what is asked for, and the rule that refuses; undefined when it is signed. */
const CASES:
  readonly (readonly [string, Partial<WalletGuards>, Record<string, unknown>, string | undefined])[] = [
    ["no rule, a digest", {}, { digest: "00".repeat(32) }, undefined],
    [
      "no rule, a contract's creation",
      {},
      { transaction: { ...TX, to: undefined, data: "0x60" } },
      undefined,
    ],
    ["chains, the chain", chains, { transaction: TX }, undefined],
    ["chains, another chain", chains, { transaction: { ...TX, chainId: 137 } }, "chains"],
    ["chains, a digest", chains, { digest: "00".repeat(32) }, "digest"],
    ["chains, a message", chains, { message: "hi" }, "message-prefixes"],
    [
      "chains, a contract's creation",
      chains,
      { transaction: { ...TX, to: undefined, data: "0x60" } },
      "calls",
    ],
    ["chains, call data", chains, { transaction: { ...TX, data: TRANSFER } }, "calls"],
    [
      "chains, typed data of the chain, of no allowed contract",
      chains,
      { typedData: MAIL },
      "verifying-contracts",
    ],
    ["recipients, the recipient", recipients, { transaction: TX }, undefined],
    ["recipients, the recipient in lower case", recipients, {
      transaction: { ...TX, to: FRIEND.toLowerCase() },
    }, undefined],
    ["recipients, another", recipients, { transaction: { ...TX, to: STRANGER } }, "recipients"],
    ["recipients, a legacy transaction to another", recipients, {
      transaction: { chainId: 1, nonce: 0, gasLimit: 1, gasPrice: 1, to: STRANGER },
    }, "recipients"],
    [
      "recipients, call data to the recipient",
      recipients,
      { transaction: { ...TX, data: TRANSFER } },
      "calls",
    ],
    ["recipients, typed data", recipients, { typedData: MAIL }, "chains"],
    ["calls, the function", calls, { transaction: { ...TX, to: TOKEN, data: TRANSFER } }, undefined],
    ["calls, the function in other letters", calls, {
      transaction: { ...TX, to: TOKEN, data: TRANSFER.replace("a9059cbb", "A9059CBB") },
    }, undefined],
    ["calls, another function", calls, { transaction: { ...TX, to: TOKEN, data: APPROVE } }, "calls"],
    [
      "calls, the function on another contract",
      calls,
      { transaction: { ...TX, to: FRIEND, data: TRANSFER } },
      "calls",
    ],
    [
      "calls, data shorter than a selector",
      calls,
      { transaction: { ...TX, to: TOKEN, data: "0xa905" } },
      "calls",
    ],
    ["calls and recipients, a plain transfer to the contract", { ...calls, ...recipients }, {
      transaction: { ...TX, to: TOKEN },
    }, "recipients"],
    ["a ceiling, at it", ceiling, { transaction: TX }, undefined],
    ["a ceiling, a wei above by value", ceiling, { transaction: { ...TX, value: 6 } }, "max-value"],
    ["a ceiling, above by gas", ceiling, { transaction: { ...TX, gasLimit: 21001 } }, "max-value"],
    ["a ceiling, above by the gas price of a legacy transaction", ceiling, {
      transaction: { chainId: 1, nonce: 0, gasLimit: 21000, gasPrice: 11, to: FRIEND },
    }, "max-value"],
    ["contracts, the domain", contracts, { typedData: MAIL }, undefined],
    ["contracts, the domain without a chain", contracts, {
      typedData: {
        ...MAIL,
        types: { Mail: MAIL.types.Mail, Person: MAIL.types.Person },
        domain: { verifyingContract: MAIL.domain.verifyingContract },
      },
    }, "chains"],
    ["contracts, the domain without a contract", contracts, {
      typedData: {
        ...MAIL,
        types: { Mail: MAIL.types.Mail, Person: MAIL.types.Person },
        domain: { chainId: MAIL.domain.chainId },
      },
    }, "verifying-contracts"],
    ["contracts, another chain", contracts, {
      typedData: { ...MAIL, domain: { ...MAIL.domain, chainId: "0x2" } },
    }, "chains"],
    ["contracts, another contract", contracts, {
      typedData: { ...MAIL, domain: { ...MAIL.domain, verifyingContract: STRANGER } },
    }, "verifying-contracts"],
    ["contracts, another type of the contract", contracts, {
      typedData: { ...MAIL, primaryType: "Person", message: MAIL.message.to },
    }, "verifying-contracts"],
    [
      "no rule, an authorization",
      {},
      { authorization: { chainId: 0, address: STRANGER, nonce: 0 } },
      undefined,
    ],
    [
      "no rule, a transaction with authorizations",
      {},
      delegating({ address: STRANGER, chainId: 5 }),
      undefined,
    ],
    ...Object.entries({ chains, recipients, calls, contracts, prefixes }).map(([name, guards]) =>
      [`${name}, an authorization`, guards, {
        authorization: { chainId: 1, address: TOKEN, nonce: 0 },
      }, "delegations"] as const
    ),
    ["recipients, a transaction with authorizations", recipients, delegating({}), "delegations"],
    [
      "delegations, the contract",
      delegations,
      { authorization: { chainId: 1, address: TOKEN, nonce: 0 } },
      undefined,
    ],
    ["delegations, the contract on another chain", delegations, {
      authorization: { chainId: 2, address: TOKEN, nonce: 0 },
    }, "chains"],
    ["delegations, the contract on every chain", delegations, {
      authorization: { chainId: 0, address: TOKEN, nonce: 0 },
    }, "chains"],
    ["delegations, another contract", delegations, {
      authorization: { chainId: 1, address: STRANGER, nonce: 0 },
    }, "delegations"],
    ["delegations, a transaction with the contract", delegations, delegating({}), undefined],
    [
      "delegations, a transaction, its second authorization",
      delegations,
      delegating({ address: STRANGER }),
      "delegations",
    ],
    [
      "delegations, a transaction, its second authorization for every chain",
      delegations,
      delegating({ chainId: 0 }),
      "chains",
    ],
    [
      "delegations, a plain transfer to the contract",
      delegations,
      { transaction: { ...TX, to: TOKEN } },
      "recipients",
    ],
    ["a ceiling, blobs at it", { maxValue: BigInt(FEE + 5 + BLOB_FEE) }, { transaction: BLOBS }, undefined],
    [
      "a ceiling, above by blob gas",
      { maxValue: BigInt(FEE + 5 + BLOB_FEE - 1) },
      { transaction: BLOBS },
      "max-value",
    ],
    ["prefixes, the prefix", prefixes, { message: "Sign in to example.org" }, undefined],
    [
      "prefixes, the prefix as bytes",
      prefixes,
      { message: { raw: "0x5369676e20696e20746f2078" } },
      undefined,
    ],
    ["prefixes, another message", prefixes, { message: "Pay" }, "message-prefixes"],
    ["prefixes, a message shorter than the prefix", prefixes, { message: "Sign" }, "message-prefixes"],
    ["prefixes, a digest", prefixes, { digest: "00".repeat(32) }, "digest"],
  ];

for (const [what, guards, payload, rule] of CASES) {
  Deno.test(`rules (${what}): ${rule === undefined ? "signed" : `refused by ${rule}`}`, async () => {
    using rig = await walletRig({ guards: { ...NO_GUARDS, ...guards } });
    const row = await rig.account("alice");
    const reply = await rig.ask({ ...row, ...payload });
    if (rule === undefined) return assertEquals(reply["apiResponse"], "signResponse", JSON.stringify(reply));
    assertEquals([reply.msg, reply.details?.split(":")[0]], ["guard_refused", `Rule ${rule}`]);
    // Before KMS is asked.
    assertEquals(rig.kms.calls.decrypt, 0);
  });
}

Deno.test("one item that a rule refuses fails the whole batch, and is named", async () => {
  using rig = await walletRig({ guards: { ...NO_GUARDS, ...chains } });
  const row = await rig.account("alice");
  const reply = await rig.ask({
    ...row,
    items: [{ transaction: TX }, { transaction: { ...TX, chainId: 5 } }],
  });
  assertEquals([reply.msg, reply.details], [
    "guard_refused",
    "items[1]: Rule chains: chain id 5 is not allowed",
  ]);
});

Deno.test("a rule cannot be lifted by the request", async () => {
  using rig = await walletRig({ guards: { ...NO_GUARDS, ...chains } });
  const row = await rig.account("alice");
  const reply = await rig.ask({
    ...row,
    digest: "00".repeat(32),
    guards: {},
    chains: [],
    wallet: { guards: {} },
  });
  assertEquals(reply.msg, "guard_refused");
});

Deno.test("with rules, a cached key does not sign what they refuse", async () => {
  using rig = await walletRig({
    guards: { ...NO_GUARDS, ...chains },
    cache: { entries: 1, maxAgeMs: 1000 },
  });
  const row = await rig.account("alice");
  assertEquals((await rig.ask({ ...row, transaction: TX }))["apiResponse"], "signResponse");
  assertEquals((await rig.ask({ ...row, digest: "00".repeat(32) })).msg, "guard_refused");
});
