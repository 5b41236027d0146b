/**
 * Accounts and the master key from a client's side, and where their keys come from: the entry `./wallet`.
 * Requests that lead to a KMS call carry AWS credentials, which a {@link CredentialSource} keeps and renews.
 * Runs in browsers.
 *
 * @module
 */
export { EnclaveError, type EnclaveErrorOptions } from "../../shared/errors.ts";
export {
  CredentialSource,
  type CredentialSourceOptions,
  type ParentCredentials,
} from "../aws/credential_source.ts";
export type { AccountRow } from "../stores/account_store.ts";
export { exchangeWithCredentials, requestWithCredentials } from "./credentialed.ts";
export { Client, type ClientOptions, type Requester, ServiceError, type TypedRequester } from "./client.ts";
export {
  type AccountSignature,
  type EnclaveAccount,
  type SignedWith,
  type SigningPayload,
  WalletClient,
} from "./wallet_client.ts";
export {
  type AttestedKey,
  type AttestedSubject,
  type DocumentVerifier,
  type OriginExpectation,
  type SignedStatement,
  verifyKeyDocument,
} from "./key_origin.ts";
export { type VerifiedAccount, verifyAccount } from "./verify_account.ts";
