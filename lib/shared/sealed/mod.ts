/**
 * Sealed messages for clients: requests that only the attested enclave can read, and replies that only the sender can read. Runs in browsers.
 *
 * @module
 */
export { type EnclaveError, type EnclaveErrorOptions } from "../errors.ts";
export { type SealedCode, SealedError } from "./errors.ts";
export { exportPublicKey, type HpkeKeyPair, importKeyPair } from "./hpke.ts";
export { CLIENT_ID_LENGTH, MAX_COUNTER } from "./message.ts";
export {
  DEFAULT_LIFE_MS,
  generateKeyPair,
  type SealedExchange,
  type SealedRequest,
  SealedSender,
  type SealedSenderOptions,
} from "./sender.ts";
export type { WireObject } from "../wire/messages.ts";
