/**
 * A client that talks to the enclave alone, whoever carries its messages: it has the enclave attest to a key, verifies the document, seals its requests for
 * that key and opens the replies. The parent instance sees lengths and times, and can keep messages back; no more.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { verifyDocument } from "../attestation/document.ts";
import { AttestationError } from "../attestation/errors.ts";
import type { AttestationDocument } from "../attestation/payload.ts";
import { attestUserData } from "../attestation/statement.ts";
import type { ExpectedAttestation } from "../attestation/verify.ts";
import { SealedError } from "../sealed/errors.ts";
import { type HpkeKeyPair, PUBLIC_KEY_LENGTH } from "../sealed/hpke.ts";
import { SealedSender } from "../sealed/sender.ts";
import type { Address } from "../wire/address.ts";
import { optionalString, requiredString, type WireObject } from "../wire/messages.ts";
import { Client, type ClientOptions, ServiceError } from "./client.ts";

export { EnclaveError, type EnclaveErrorOptions } from "../errors.ts";
export { Client, type ClientOptions, ServiceError } from "./client.ts";
export { type AttestationCode, AttestationError } from "../attestation/errors.ts";
export type { AttestationDocument } from "../attestation/payload.ts";
export type { ExpectedAttestation } from "../attestation/verify.ts";
export { type SealedCode, SealedError } from "../sealed/errors.ts";
export type { HpkeKeyPair } from "../sealed/hpke.ts";
export type { Address } from "../wire/address.ts";
export type { Framing } from "../wire/framing.ts";
export type { WireObject } from "../wire/messages.ts";

/** Options of {@link SealedClient}. */
export interface SealedClientOptions extends ClientOptions {
  /** What the enclave must be: hex of 96 digits by index. At least one; PCR0 is the image. */
  readonly pcrs: Readonly<Record<number, string>>;
  /** What its measured configuration must hash to, 32 bytes; any will do, unless given. */
  readonly configurationHash?: Uint8Array;
  /** For a service that knows its clients. */
  readonly clientKey?: HpkeKeyPair;
  /** Whether an enclave in debug mode will do, whose memory can be read. Not unless true. */
  readonly allowDebug?: boolean;
  /** Verifies documents: under AWS's root, unless a test or a dry run gives another. */
  readonly verify?: (document: Uint8Array, expected: ExpectedAttestation) => Promise<AttestationDocument>;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** What the enclave attested to. */
export interface Attested {
  /** The document's contents, verified. */
  readonly document: AttestationDocument;
  /** The document as it came. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The service's key, to seal for. 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** Of its measured configuration, 32 bytes. The document vouches for it. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
}

const NONCE_LENGTH = 32;
const HASH_LENGTH = 32;
/** A key is asked for anew after so long, whatever the reply says. Milliseconds. */
const MAX_KEY_MS = 3_600_000;
/** And no sooner than this: what the reply says is not proven. Milliseconds. */
const MIN_KEY_MS = 1_000;

function bytesOf(reply: WireObject, name: string, length?: number): Uint8Array<ArrayBuffer> {
  try {
    const bytes = decodeBase64(requiredString(reply, name, "base64"));
    if (length === undefined || bytes.length === length) return bytes;
  } catch {
    // Said below.
  }
  throw new AttestationError(
    "attestation_malformed",
    `the reply's ${name} is missing, or not what it should be`,
  );
}

/** How long a key may be used, by its reply and its document, whose clocks are the enclave's. */
function lifeOf(reply: WireObject, { timestamp }: AttestationDocument): number {
  const life = Date.parse(optionalString(reply, "expires_at") ?? "") - timestamp.getTime();
  return Number.isNaN(life) ? MAX_KEY_MS : Math.min(Math.max(life, MIN_KEY_MS), MAX_KEY_MS);
}

/** What came in the open is not the enclave's word, as a {@link ServiceError} out of a sealed reply is. */
function refusedInTheOpen(cause: ServiceError): SealedError {
  return new SealedError("sealed_refused", `${cause.message} (in the open)`, { cause });
}

/** Requests and replies that the enclave alone can read. One request at a time, in order. */
export class SealedClient implements Disposable {
  #client: Client;
  #options: SealedClientOptions;
  #now: () => number;
  #sender: { readonly sender: SealedSender; readonly until: number } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Over a connection that is there; it goes with this client.
   *
   * @throws {SealedError} `sealed_expectation` when no PCR is expected: any enclave would do, an attacker's too.
   */
  constructor(client: Client, options: SealedClientOptions) {
    if (Object.keys(options.pcrs).length === 0) {
      throw new SealedError("sealed_expectation", "Cannot trust an enclave of which no PCR is expected");
    }
    this.#client = client;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Connects.
   *
   * @throws {EnclaveError} `connect_failed`
   */
  static async connect(address: Address, options: SealedClientOptions): Promise<SealedClient> {
    const client = await Client.connect(address, options);
    try {
      return new SealedClient(client, options);
    } catch (thrown) {
      client[Symbol.dispose]();
      throw thrown;
    }
  }

  /**
   * Has the enclave attest, to its key and to some bytes of the caller's, and verifies the document.
   *
   * @param userData up to 256 bytes that the document shall vouch for
   * @throws {AttestationError} whose code says which check failed.
   * @throws {ServiceError} when the service has no document to give.
   */
  attest(userData?: Uint8Array): Promise<Attested> {
    return this.#inTurn(async () => (await this.#attest(userData)).attested);
  }

  async #attest(userData?: Uint8Array): Promise<{ readonly attested: Attested; readonly lifeMs: number }> {
    const { pcrs, allowDebug = false, verify = verifyDocument } = this.#options;
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
    const reply = await this.#client.request({
      type: "attest",
      nonce: encodeBase64(nonce),
      ...(userData === undefined ? {} : { user_data: encodeBase64(userData) }),
    });
    const bytes = bytesOf(reply, "attestation_document");
    const publicKey = bytesOf(reply, "public_key", PUBLIC_KEY_LENGTH);
    const said = bytesOf(reply, "configuration_hash", HASH_LENGTH);
    const configurationHash = new Uint8Array(this.#options.configurationHash ?? said);
    const document = await verify(bytes, {
      nonce,
      publicKey,
      pcrs,
      allowDebug,
      userData: await attestUserData(userData ?? new Uint8Array(0), configurationHash),
    });
    return { attested: { document, bytes, publicKey, configurationHash }, lifeMs: lifeOf(reply, document) };
  }

  /**
   * Seals a request, sends it, and opens the reply, whatever its status. Attests first when there is no key, or its time is over.
   *
   * A request that was answered in the open is not sent again: that answer proves nothing, and the request may have been carried out.
   *
   * @throws {SealedError} when the reply is not this request's; `sealed_refused` when there is an error in the open, which is the cause.
   * @throws {ServiceError} when the service has no document to give.
   * @throws {AttestationError} when the enclave is not the one expected.
   * @throws {EnclaveError} `no_reply`
   */
  exchange(request: WireObject): Promise<WireObject> {
    return this.#inTurn(() => this.#exchange(request));
  }

  /**
   * As {@link exchange}, but an error reply is thrown: one that was sealed, so that it is the enclave's word.
   *
   * @throws {ServiceError} with the service's code
   */
  async request(request: WireObject): Promise<WireObject> {
    const reply = await this.exchange(request);
    if (reply["status"] !== "ok") throw new ServiceError(reply);
    return reply;
  }

  /** Messages must arrive in the order of their counters. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run);
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #exchange(request: WireObject): Promise<WireObject> {
    const sender = await this.#ready();
    const { message, open } = await sender.seal(request);
    try {
      const reply = await this.#client.exchange({ ...message });
      if (reply["status"] !== "ok") throw refusedInTheOpen(new ServiceError(reply));
      return await open(reply);
    } catch (thrown) {
      // The key may be gone, with the enclave that had it.
      this.#sender = undefined;
      throw thrown;
    }
  }

  async #ready(): Promise<SealedSender> {
    if (this.#sender !== undefined && this.#now() < this.#sender.until) return this.#sender.sender;
    const asked = this.#now();
    const { attested, lifeMs } = await this.#attest();
    const sender = await SealedSender.create(attested.publicKey, { clientKey: this.#options.clientKey });
    this.#sender = { sender, until: asked + lifeMs };
    return sender;
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#sender = undefined;
    this.#client[Symbol.dispose]();
  }
}
