/**
 * The parent's side of the wallet: sends requests with fresh credentials, and parses and checks the replies.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import { isObject } from "../../shared/json.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import { type Requester, ServiceError } from "./client.ts";
import { exchangeWithCredentials } from "./credentialed.ts";
import type { CredentialSource } from "../aws/credential_source.ts";
import type { AccountRow } from "../stores/account_store.ts";

/** The enclave's reply for a new account, or for one under another KMS key. */
export type EnclaveAccount = Omit<AccountRow, "created" | "history">;

/** What of an account's row a signature needs. */
export type SignedWith = Omit<EnclaveAccount, "attestation" | "nonce">;

/** A signature from the enclave's reply. */
export interface AccountSignature {
  /** `0x` and hex of 65 bytes: r ‖ s ‖ (27 + yParity). */
  readonly signature: string;
  /** `0x` and hex of 32 bytes. */
  readonly r: string;
  /** `0x` and hex of 32 bytes. */
  readonly s: string;
  /** 0 or 1. */
  readonly yParity: number;
  /** 27 + yParity; in a transaction as its type has it. */
  readonly v: number;
  /** Of a transaction: `0x` and hex, ready to be sent. */
  readonly signedTransaction?: string;
  /** Of a transaction: `0x` and hex of 32 bytes. */
  readonly transactionHash?: string;
  /** Of an authorization (EIP-7702): an item of a transaction's `authorizationList`. */
  readonly authorization?: Readonly<Record<string, unknown>>;
}

/** What to sign: exactly one field of message, typedData, transaction, authorization, digest. */
export type SigningPayload = Readonly<Record<string, unknown>>;

function unexpected(what: string): EnclaveError {
  return new EnclaveError(`The enclave's reply is malformed: ${what}`, {
    code: "unexpected_reply",
    hint: "Check that the client and the enclave have the same version, and that this is the wallet's port.",
  });
}

function textOf(content: WireObject, field: string): string {
  const value = content[field];
  if (typeof value === "string" && value !== "") return value;
  throw unexpected(`${field} is missing`);
}

function contentOf(reply: WireObject, expected: string): WireObject {
  if (reply["status"] === "error") throw new ServiceError(reply);
  const { apiResponse, content } = reply;
  if (apiResponse !== expected || typeof content !== "object" || content === null) {
    throw unexpected(`${String(apiResponse ?? "no apiResponse").slice(0, 64)} instead of ${expected}`);
  }
  return content as WireObject;
}

function parseSignature(value: unknown): AccountSignature {
  if (typeof value !== "object" || value === null) throw unexpected("a signature is missing");
  const object = value as WireObject;
  const { yParity, v, signedTransaction, transactionHash, authorization } = object;
  if (typeof yParity !== "number" || typeof v !== "number") throw unexpected("yParity or v is missing");
  return {
    signature: textOf(object, "signature"),
    r: textOf(object, "r"),
    s: textOf(object, "s"),
    yParity,
    v,
    ...(typeof signedTransaction === "string" ? { signedTransaction } : {}),
    ...(typeof transactionHash === "string" ? { transactionHash } : {}),
    ...(isObject(authorization) ? { authorization } : {}),
  };
}

function parseAccount(content: WireObject, name: string, nonce: string | undefined): EnclaveAccount {
  return {
    name,
    keyId: textOf(content, "keyId"),
    encryptedPrivateKey: textOf(content, "encryptedPrivateKey"),
    address: textOf(content, "address"),
    encryptedDataKey: textOf(content, "encryptedDataKey"),
    version: Number(content["version"] ?? 1),
    ...(nonce === undefined ? {} : { attestation: textOf(content, "attestationDocument"), nonce }),
  };
}

/** Talks to the wallet over a connection. */
export class WalletClient {
  #client: Requester;
  #credentials: CredentialSource;

  /** Borrows the client and the credentials. */
  constructor(client: Requester, credentials: CredentialSource) {
    this.#client = client;
    this.#credentials = credentials;
  }

  /**
   * Has the enclave make an account. Only the reply contains it, so store it.
   *
   * @param options.nonce base64, 16 to 512 bytes: asks for an attestation document over the address
   * @throws {ServiceError | EnclaveError}
   */
  async generateAccount(
    name: string,
    { keyId, nonce }: { readonly keyId?: string | undefined; readonly nonce?: string | undefined },
  ): Promise<EnclaveAccount> {
    const content = await this.#request("generateResponse", {
      apiRequest: "generateAccount",
      name,
      ...(keyId === undefined ? {} : { key_id: keyId }),
      ...(nonce === undefined ? {} : { nonce }),
    });
    return parseAccount(content, name, nonce);
  }

  /**
   * Has the enclave wrap an account under another KMS key. The stored row still opens: replace it by this
   * one.
   *
   * @param options.nonce as that of {@link generateAccount}
   * @param options.previous SHA-256 of the row's last document, base64: the new one names it
   * @throws {ServiceError | EnclaveError}
   */
  async rewrapAccount(
    row: SignedWith,
    { keyId, nonce, previous }: {
      readonly keyId: string;
      readonly nonce?: string | undefined;
      readonly previous?: string | undefined;
    },
  ): Promise<EnclaveAccount> {
    const content = await this.#request("rewrapResponse", {
      ...requestOf(row, "rewrapAccount"),
      new_key_id: keyId,
      ...(nonce === undefined ? {} : { nonce }),
      ...(previous === undefined ? {} : { previous_document_sha256: previous }),
    });
    const account = parseAccount(content, row.name, nonce);
    if (account.address !== row.address) throw unexpected(`it is about ${account.address}`);
    return account;
  }

  /** Signs one payload. @throws {ServiceError | EnclaveError} */
  async sign(row: SignedWith, payload: SigningPayload): Promise<AccountSignature> {
    return parseSignature(await this.#request("signResponse", { ...requestOf(row, "sign"), ...payload }));
  }

  /** Signs up to 1,000 payloads under one KMS call. @throws {ServiceError | EnclaveError} */
  async signBatch(
    row: SignedWith,
    payloads: readonly SigningPayload[],
  ): Promise<readonly AccountSignature[]> {
    const { signatures } = await this.#request("signResponse", {
      ...requestOf(row, "sign"),
      items: payloads,
    });
    if (!Array.isArray(signatures) || signatures.length !== payloads.length) {
      throw unexpected(`${payloads.length} signatures were asked for`);
    }
    return signatures.map(parseSignature);
  }

  async #request(expected: string, request: WireObject): Promise<WireObject> {
    return contentOf(await exchangeWithCredentials(this.#client, this.#credentials, request), expected);
  }
}

function requestOf(row: SignedWith, apiRequest: string): WireObject {
  const { name, keyId, address, encryptedPrivateKey, encryptedDataKey, version } = row;
  return { apiRequest, name, key_id: keyId, address, encryptedPrivateKey, encryptedDataKey, version };
}
