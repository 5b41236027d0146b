/**
 * What a feature of the enclave is, and what it gets from outside. The server knows no feature by its name or type: `lib/enclave/features.ts` lists them.
 *
 * @module
 */
import type { KeyArn } from "../../shared/aws/key_arn.ts";
import type { Aead } from "../../shared/crypto/aead.ts";
import type { Random } from "../../shared/crypto/random.ts";
import type { Log } from "../../shared/log.ts";
import type { JsonPiece } from "../../shared/wire/framing.ts";
import type { ErrorReply, Reply, WireObject } from "../../shared/wire/messages.ts";
import type { Kms } from "../kms/kms.ts";

/** Makes attestation documents: the NSM, or a stand-in. */
export interface Attester {
  /**
   * Makes a signed document with the measurements and these fields.
   *
   * @param userData up to 512 bytes
   * @param nonce up to 512 bytes
   * @param publicKey the service's own key, of a type that KMS cannot encrypt to
   */
  attest(
    statement: {
      readonly userData: Uint8Array<ArrayBuffer>;
      readonly nonce: Uint8Array<ArrayBuffer>;
      readonly publicKey?: Uint8Array<ArrayBuffer>;
    },
  ): Promise<Uint8Array<ArrayBuffer>>;
}

/** The source of all random numbers. */
export interface EntropySource {
  /** The kernel's generator of hardware randomness, from `/sys/class/misc/hw_random/rng_current`; undefined when that names none. */
  readonly kernelGenerator: string | undefined;
  readonly random: Random;
}

/** What all features get. Tests and dry runs replace it. */
export interface Ports {
  readonly kms: Kms;
  /** KMS keys that a request may select. With an attested KMS, an empty list refuses every request that needs one. */
  readonly keys: readonly KeyArn[];
  readonly entropy: EntropySource;
  /** The NSM; undefined outside an enclave: no attestation documents. */
  readonly attester: Attester | undefined;
  readonly aead: Aead;
  /** Configuration hash for attestation documents. 32 bytes. */
  readonly configurationHash: Uint8Array<ArrayBuffer>;
  readonly log: Log;
  readonly now: () => Date;
  /** Milliseconds. */
  readonly monotonic: () => number;
  /** Identifies this run of the service: random. */
  readonly bootId: string;
}

/**
 * A reply that already is JSON text, in pieces: this saves encoding a large string again. Bytes in it are
 * discarded when it is sent.
 */
export class PreparedReply {
  readonly json: readonly JsonPiece[];
  constructor(json: readonly JsonPiece[]) {
    this.json = json;
  }
}

/** What a request was, for the log and the metrics, and what to answer. */
export interface Answer {
  readonly type: string;
  readonly reply: Reply | PreparedReply;
}

/** What goes with a request. */
export interface Call {
  /** Aborted when the client no longer waits for the reply. */
  readonly signal: AbortSignal;
  /** When the client sealed the request, by its clock; undefined if it is not sealed. Milliseconds since 1970. */
  readonly sealedAt?: number | undefined;
  /** Settles once the client sends more or ends its stream. For a request that waits. */
  readonly more?: (() => Promise<void>) | undefined;
  /** Of a sealed request. */
  readonly sealed?: {
    readonly ciphertext: Uint8Array<ArrayBuffer>;
    /** What its receipt's salts are derived from: 32 bytes, the caller's to wipe. */
    readonly receiptSecret: () => Promise<Uint8Array<ArrayBuffer>>;
  };
}

/** One kind of request. */
export interface Route {
  /**
   * Answers a request. If it returns a promise, it has taken the fields that it needs: the request's are removed.
   *
   * @throws {WireError} or an error that the feature's `replyTo` knows (or rejects)
   */
  answer(request: WireObject, call: Call): Reply | PreparedReply | Promise<Reply | PreparedReply>;
  /** Whether it keeps the whole message in memory while it waits; false by default: a few small fields. */
  readonly isLarge?: boolean;
}

/** Routes by the name in the request. */
export type Routes = Readonly<Record<string, Route>>;

/** Parses and answers a request that was inside another. The bytes are borrowed until it returns. Never throws or rejects. */
export type AnswerInner = (body: Uint8Array, call: Call) => Answer | Promise<Answer>;

/** A feature: the requests that it answers, and what else the server asks of it. Disposing wipes its keys. */
export interface Feature extends Disposable {
  /** As `--features` names it. */
  readonly name: string;
  /** By `type`; with a space and the request's `purpose` where that has a route of its own. */
  readonly routes?: Routes;
  /** By `apiRequest`, whose error replies have the wallet's shape. */
  readonly apiRoutes?: Routes;
  /** Routes, by `type`, of requests that contain another. They are not served within another. */
  outerRoutes?(answerInner: AnswerInner): Routes;
  /** Its fields in `health`. */
  readonly state: Readonly<Record<string, string | number | boolean | object | undefined>>;
  /** What an operator should know about its configuration. */
  readonly warnings: readonly string[];
  /** The error reply to a request, of any feature, that may not be served as it came; undefined for one that may. */
  refusal?(request: WireObject): ErrorReply | undefined;
  /** The reply to an error of one of its requests; undefined for one that it does not expect. */
  replyTo?(thrown: unknown, request: string): ErrorReply | undefined;
  /** Called when KMS has denied something: wipes what it keeps only to save calls. */
  forget?(): void;
}
