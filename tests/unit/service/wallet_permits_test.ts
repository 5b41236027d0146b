/** Typed data that lets another account move value, with a ceiling set: refused unless its type is named. */
import { assertEquals } from "@std/assert";
import { NO_GUARDS } from "../../../lib/service/wallet_guards.ts";
import { walletRig } from "../../helpers/wallet_rig.ts";

const ME = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const TAKER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const TOKEN = "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB";

type Members = Readonly<Record<string, string>>;

interface Typed {
  readonly types: Readonly<Record<string, Members>>;
  readonly message: Readonly<Record<string, unknown>>;
}

const DETAILS: Members = { token: "address", amount: "uint160", expiration: "uint48", nonce: "uint48" };
const PERMITTED: Members = { token: "address", amount: "uint256" };
const details = { token: TOKEN, amount: "1", expiration: "2", nonce: "0" };
const permitted = { token: TOKEN, amount: "1" };

/** By primary type, which is the first of the types. */
const PERMITS: Readonly<Record<string, Typed>> = {
  "EIP-2612": {
    types: {
      Permit: {
        owner: "address",
        spender: "address",
        value: "uint256",
        nonce: "uint256",
        deadline: "uint256",
      },
    },
    message: { owner: ME, spender: TAKER, value: "1", nonce: "0", deadline: "1" },
  },
  DAI: {
    types: {
      Permit: { holder: "address", spender: "address", nonce: "uint256", expiry: "uint256", allowed: "bool" },
    },
    message: { holder: ME, spender: TAKER, nonce: "0", expiry: "0", allowed: true },
  },
  "Permit2, one": {
    types: {
      PermitSingle: { details: "PermitDetails", spender: "address", sigDeadline: "uint256" },
      PermitDetails: DETAILS,
    },
    message: { details, spender: TAKER, sigDeadline: "1" },
  },
  "Permit2, several": {
    types: {
      PermitBatch: { details: "PermitDetails[]", spender: "address", sigDeadline: "uint256" },
      PermitDetails: DETAILS,
    },
    message: { details: [details], spender: TAKER, sigDeadline: "1" },
  },
  "Permit2, a transfer": {
    types: {
      PermitTransferFrom: {
        permitted: "TokenPermissions",
        spender: "address",
        nonce: "uint256",
        deadline: "uint256",
      },
      TokenPermissions: PERMITTED,
    },
    message: { permitted, spender: TAKER, nonce: "0", deadline: "1" },
  },
  "Permit2, transfers with a witness": {
    types: {
      PermitBatchWitnessTransferFrom: {
        permitted: "TokenPermissions[]",
        spender: "address",
        nonce: "uint256",
        deadline: "uint256",
        witness: "Witness",
      },
      TokenPermissions: PERMITTED,
      Witness: { user: "address" },
    },
    message: { permitted: [permitted], spender: TAKER, nonce: "0", deadline: "1", witness: { user: ME } },
  },
  "EIP-3009": {
    types: {
      TransferWithAuthorization: {
        from: "address",
        to: "address",
        value: "uint256",
        validAfter: "uint256",
        validBefore: "uint256",
        nonce: "bytes32",
      },
    },
    message: {
      from: ME,
      to: TAKER,
      value: "1",
      validAfter: "0",
      validBefore: "1",
      nonce: `0x${"00".repeat(32)}`,
    },
  },
  "a permit of another name": {
    types: { Allow: { spender: "address", value: "uint256", deadline: "uint256" } },
    message: { spender: TAKER, value: "1", deadline: "1" },
  },
  "a permit inside of another message": {
    types: { Order: { inner: "Allowance" }, Allowance: { operator: "address", expiry: "uint256" } },
    message: { inner: { operator: TAKER, expiry: "1" } },
  },
};

const VOTE: Typed = {
  types: { Ballot: { proposal: "uint256", support: "bool" } },
  message: { proposal: "1", support: true },
};

function typedData({ types, message }: Typed): Record<string, unknown> {
  const list = (members: Members) => Object.entries(members).map(([name, type]) => ({ name, type }));
  return {
    types: Object.fromEntries(Object.entries(types).map(([name, members]) => [name, list(members)])),
    primaryType: Object.keys(types)[0],
    domain: { name: "Token", chainId: 1, verifyingContract: TOKEN },
    message,
  };
}

async function codeOf(
  typed: Typed,
  guards: { readonly maxValue?: bigint; readonly permitTypes?: readonly string[] },
) {
  using rig = await walletRig({
    guards: { ...NO_GUARDS, chains: [1n], verifyingContracts: [TOKEN], ...guards },
  });
  const row = await rig.account("alice");
  const reply = await rig.ask({ ...row, typedData: typedData(typed) });
  return reply.details?.split(":")[0] ?? String(reply["apiResponse"]);
}

for (const [name, permit] of Object.entries(PERMITS)) {
  Deno.test(`${name}: refused with a ceiling, signed when its type is named or there is no ceiling`, async () => {
    const type = Object.keys(permit.types)[0] ?? "";
    assertEquals(await codeOf(permit, { maxValue: 1n }), "Rule max-value");
    assertEquals(await codeOf(permit, { maxValue: 1n, permitTypes: ["Other"] }), "Rule max-value");
    assertEquals(await codeOf(permit, { maxValue: 1n, permitTypes: [type] }), "signResponse");
    assertEquals(await codeOf(permit, {}), "signResponse");
  });
}

Deno.test("typed data that moves nothing is signed under a ceiling", async () => {
  assertEquals(await codeOf(VOTE, { maxValue: 1n }), "signResponse");
});
