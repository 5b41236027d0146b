/**
 * Requests with receipts: each is sent with a fresh nonce, and its receipt is verified against the enclave's document before the result is given.
 *
 * @module
 */
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { concat, equalBytes } from "../../shared/bytes.ts";
import { bytesField } from "../../shared/json.ts";
import { ReceiptError } from "../../shared/receipts/errors.ts";
import { type ReceiptSalts, receiptSalts, receiptSecretOf } from "../../shared/receipts/salts.ts";
import {
  parseReceipt,
  type Receipt,
  type ReceiptKey,
  verifyReceipt,
  verifyReceiptDocument,
} from "../../shared/receipts/verify.ts";
import { requiredString, type WireObject } from "../../shared/wire/messages.ts";
import type { ExpectedReply } from "./attest_reply.ts";
import { orThrow, type Requester } from "./client.ts";
import { blobsOf } from "./process_blobs.ts";
import type { ReceiptExchange } from "./sealed_client.ts";

export * from "../../shared/receipts/mod.ts";
export { type Requester, ServiceError } from "./client.ts";
export type { ReceiptExchange } from "./sealed_client.ts";
export type { ExpectedReply } from "./attest_reply.ts";
export type { WireObject } from "../../shared/wire/messages.ts";

/** A client; one that seals also says what its receipts are verified with. */
export interface ReceiptRequester extends Requester {
  /** Of a client that seals. */
  exchangeForReceipt?(request: WireObject): Promise<ReceiptExchange>;
}

/** A verified answer: with these fields and the document, anybody can verify what is disclosed. */
export interface Receipted {
  /** The reply as it came, opened if it was sealed. */
  readonly reply: WireObject;
  /** What was answered: the opened result, the signature; with `workflow_failed` the workflow's code. */
  readonly result: Uint8Array<ArrayBuffer>;
  /** The receipt as it came. */
  readonly receipt: Uint8Array<ArrayBuffer>;
  /** Its claims. */
  readonly claims: Receipt;
  /** What opens its commitments; none for a plain `master_key.sign`. */
  readonly salts: ReceiptSalts | undefined;
  /** The attestation document of its key. */
  readonly document: Uint8Array<ArrayBuffer>;
}

/** A receipt key with its document. */
export interface AttestedKey extends ReceiptKey {
  /** The attestation document as it came. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What a receipt is verified with, besides the reply. */
interface Asked {
  readonly type: "process" | "master_key.sign";
  readonly blob: Uint8Array<ArrayBuffer>;
  readonly input: Uint8Array;
  /** The session key's secret. */
  readonly secret: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
  /** What the reply says that the result is. */
  readonly resultOf: (reply: WireObject) => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

const NONCE_LENGTH = 32;
const NONE = new Uint8Array(0);

/** Sends requests that ask for receipts, and verifies these. */
export class ReceiptClient {
  #client: ReceiptRequester;
  #expected: ExpectedReply;
  #key: AttestedKey | undefined;

  /** Uses a connection. @param expected which enclave is trusted */
  constructor(client: ReceiptRequester, expected: ExpectedReply) {
    this.#client = client;
    this.#expected = expected;
  }

  /**
   * Has the enclave attest to its receipt key, and verifies the document.
   *
   * @param keyHash of the previous key; the present one by default
   * @throws {AttestationError | ReceiptError} whose code says which check failed.
   * @throws {ServiceError} with the service's code
   */
  async attest(keyHash?: Uint8Array): Promise<AttestedKey> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
    const reply = await this.#client.request({
      type: "attest",
      purpose: "receipt",
      nonce: encodeBase64(nonce),
      ...(keyHash === undefined ? {} : { key: encodeBase64(keyHash) }),
    });
    const bytes = decodeBase64(requiredString(reply, "attestation_document", "base64"));
    const { configurationHash, ...expected } = this.#expected;
    const key = await verifyReceiptDocument(bytes, { ...expected, nonce, at: new Date() });
    if (configurationHash === undefined || equalBytes(configurationHash, key.configurationHash)) {
      return { ...key, bytes };
    }
    throw new ReceiptError("receipt_configuration", "the enclave has another configuration than expected");
  }

  /**
   * As `processData`, with a receipt. Where the workflow refuses the data, the receipt says so, and its result is the workflow's code.
   *
   * @param request.key the session key, 32 bytes; borrowed
   * @throws {ReceiptError} whose code says which check failed: `receipt_missing` when the reply has no receipt.
   * @throws {ServiceError} with the service's code
   * @throws {EnclaveError} `decrypt_failed` when the result is not the answer to this request.
   */
  async process(
    { key, data, bind = true }: {
      readonly key: Uint8Array;
      readonly data: Uint8Array;
      readonly bind?: boolean;
    },
  ): Promise<Receipted> {
    const { blob, fields, open } = await blobsOf(key, data, bind);
    return await this.#ask({ type: "process", ciphertext: encodeHex(blob), ...fields }, {
      type: "process",
      blob,
      input: data,
      secret: () => receiptSecretOf(key),
      resultOf: open,
    });
  }

  /** `master_key.sign` with a receipt. @throws {ReceiptError | ServiceError} */
  async sign(
    { digest, ...more }: { readonly digest: Uint8Array<ArrayBuffer>; readonly scheme?: "ecdsa" | "schnorr" },
  ): Promise<Receipted> {
    return await this.#ask({ type: "master_key.sign", digest: encodeHex(digest), ...more }, {
      type: "master_key.sign",
      blob: digest,
      input: digest,
      secret: undefined,
      resultOf: (reply) => decodeBase64(requiredString(reply, "signature", "base64")),
    });
  }

  async #ask(fields: WireObject, { type, blob, input, secret, resultOf }: Asked): Promise<Receipted> {
    // Before the request, so that an enclave that is not the expected one gets none.
    this.#key ??= await this.attest();
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
    const asking = { ...fields, receipt: { nonce: encodeBase64(nonce) } };
    const { reply, ...sent } = await this.#client.exchangeForReceipt?.(asking) ??
      { reply: await this.#client.exchange(asking), request: blob, secret: undefined };
    const isRefusal = reply["msg"] === "workflow_failed";
    if (!isRefusal) orThrow(reply);
    const receipt = bytesField(reply, "receipt");
    if (receipt === undefined) throw new ReceiptError("receipt_missing", "the reply has none");
    const result = isRefusal
      ? new TextEncoder().encode(requiredString(reply, "code", "the workflow's code"))
      : await resultOf(reply);
    const { id, keyHash } = parseReceipt(receipt);
    const [own, exported] = [await secret?.(), await sent.secret?.()];
    const from = concat([own ?? NONE, exported ?? NONE]);
    const salts = from.length > 0 ? await receiptSalts(from, { nonce, id }) : undefined;
    for (const each of [from, own, exported]) each?.fill(0);
    // Requests at the same time can have receipts of both keys.
    const key = equalBytes(keyHash, this.#key.keyHash) ? this.#key : this.#key = await this.attest(keyHash);
    const claims = await verifyReceipt(receipt, key, {
      nonce,
      type,
      request: sent.request,
      outcome: isRefusal ? "workflow_failed" : "ok",
      result: { bytes: result, salt: salts?.result },
      input: { bytes: input, salt: salts?.input },
    });
    return { reply, result, receipt, claims, salts, document: key.bytes };
  }
}
