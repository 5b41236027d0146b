/**
 * A dependency of the tests only: the second implementation of Ethereum's signatures that ours is compared
 * with.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export {
  getAddress,
  hashMessage,
  recoverAddress,
  Signature,
  SigningKey,
  Transaction,
  TypedDataEncoder,
  Wallet,
} from "npm:ethers@6.17.0";
