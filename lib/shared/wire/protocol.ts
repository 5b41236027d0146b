/**
 * Every request with its fields, and the fields of its reply. The types of the client are derived from these tables, and the tables of docs/protocol.md and
 * the JSON Schema are made from them (`deno task docs`).
 *
 * Runs in browsers.
 *
 * @module
 */
import { type Fields, type FieldType, optional } from "./fields.ts";
import type { ErrorReply, WalletErrorReply, WireObject } from "./messages.ts";
import {
  ACCOUNT_ROW,
  ATTEST,
  ATTEST_RECEIPT,
  CONFIGURE,
  GENERATE_ACCOUNT,
  LOGS,
  MASTER_KEY,
  MASTER_KEY_ROW,
  MASTER_KEY_SIGN,
  PROCESS,
  PUBLIC_INFO,
  REWRAP,
  REWRAP_ACCOUNT,
  SEALED,
} from "./requests.ts";

export type { FieldType } from "./fields.ts";

/** One field. */
export interface FieldSpec extends FieldType {
  /** What it holds. */
  readonly means: string;
}

/** Fields by name. */
export type FieldSpecs = Readonly<Record<string, FieldSpec>>;

/** A request and its reply. */
export interface RequestSpec {
  /** What it does. */
  readonly means: string;
  /** Whether it carries AWS credentials. */
  readonly credentials?: true;
  /** Beside `type` (or `apiRequest`) and the credentials. */
  readonly request: FieldSpecs;
  /** Beside `status` (or, of the wallet, within `content`). */
  readonly reply: FieldSpecs;
}

/** Fields that are read from requests with what they hold, and fields that are only described. */
type Described<F extends Fields, M> = {
  readonly [K in keyof M]: M[K] extends FieldSpec ? M[K]
    : K extends keyof F ? F[K]["spec"] & { readonly means: string }
    : never;
};

/** Describes all fields of a table, in the order of `means`. */
function described<
  F extends Fields,
  const M extends Readonly<Record<keyof F, string>> & Readonly<Record<string, string | FieldSpec>>,
>(fields: F, means: M): Described<F, M> {
  const entries = Object.entries(means).map(([name, entry]) =>
    [name, typeof entry === "string" ? { ...fields[name]?.spec, means: entry } : entry] as const
  );
  return Object.fromEntries(entries) as Described<F, M>;
}

const NONCE = "random; asks for an attestation document about the key";
const REGION = {
  type: "string",
  optional: true,
  means: "region of the KMS key, where several are allowed",
} as const;
const DOCUMENT = {
  type: "string",
  format: "base64",
  optional: true,
  means: "where the request had a nonce: the attestation document, a COSE_Sign1",
} as const;
const ENCLAVE_ID = "a whole number, or a name of letters, digits and `._:-`";
const ENCLAVE_ID_TEXT = { type: "string", means: "as in the request, as text" } as const;
const MEANT_ENCLAVE = "refused unless it is the enclave's";
const BOOT_ID = { type: "string", means: "random; identifies this run of the enclave" } as const;
const KMS_KEY = { type: "string", means: "ARN of the KMS key" } as const;
const ROW_KEY = {
  kms_key_id: { ...KMS_KEY, optional: true, means: "ARN or id, where several are allowed" },
  region: REGION,
} as const;
const ORIGIN = {
  type: "string",
  values: ["generated", "opened"],
  means: "whether this run of the enclave made the key, or opened a row",
} as const;
const ROW_MEANS = {
  kms_encrypted_dek: "the data key as KMS wrapped it",
  encrypted_private_key: "the private key, sealed under the data key",
  public_key: "compressed, secp256k1",
  key_epoch: "from 1; grows by one with each rewrap",
} as const;
const ROW = described(MASTER_KEY_ROW, ROW_MEANS);
const { public_key: PUBLIC_KEY, key_epoch: KEY_EPOCH } = ROW;
const OPTIONAL_ROW = described({
  kms_encrypted_dek: optional(MASTER_KEY_ROW.kms_encrypted_dek),
  encrypted_private_key: optional(MASTER_KEY_ROW.encrypted_private_key),
  public_key: optional(MASTER_KEY_ROW.public_key),
  key_epoch: optional(MASTER_KEY_ROW.key_epoch),
}, ROW_MEANS);
const ROW_REPLY = {
  enclave_id: ENCLAVE_ID_TEXT,
  ...ROW,
  kms_key_id: KMS_KEY,
  newly_generated: { type: "boolean", means: "whether this request made the key: store the row" },
  origin: ORIGIN,
  boot_id: BOOT_ID,
  attestation_document: DOCUMENT,
} as const;
const RECEIPT_MEANS = 'asks for a [receipt](#receipts): `{"nonce": base64 of 16 to 64 random bytes}`';
const RECEIPT = {
  type: "string",
  format: "base64",
  optional: true,
  means: "where the request asked for one: a COSE_Sign1 of the receipt key",
} as const;
const SERVER_STATS = {
  connections: { type: "integer", means: "open now" },
  accepted: { type: "integer", means: "connections since the start" },
  refused: { type: "integer", means: "connections that were answered `busy`" },
  memory_in_flight: { type: "integer", means: "bytes reserved for arriving messages and requests under way" },
  memory_budget: { type: "integer", means: "bytes that these may take together (`--max-in-flight`)" },
  memory_total: { type: "integer", optional: true, means: "bytes of memory that there are, where known" },
  clock_difference_ms: {
    type: "integer",
    optional: true,
    means: "how far the clock was ahead of the NSM's when it was last compared, where there is an NSM",
  },
} as const;
const ACCOUNT_NAME = "of the account: up to 128 characters, no control characters";
const ACCOUNT_KEY = {
  key_id: {
    type: "string",
    optional: true,
    means: "ARN or id of the KMS key, where several are allowed; also `keyId`, `kms_key_id`",
  },
  region: REGION,
} as const;
const ADDRESS = {
  type: "string",
  format: "0x-hex",
  bytes: 20,
  means: "of the account, with its checksum",
} as const;
const ACCOUNT = described(ACCOUNT_ROW, {
  name: ACCOUNT_NAME,
  ...ACCOUNT_KEY,
  address: ADDRESS,
  encryptedPrivateKey: ROW_MEANS.encrypted_private_key,
  encryptedDataKey: ROW_MEANS.kms_encrypted_dek,
});
const ACCOUNT_VERSION = { type: "integer", values: [1], means: "of the row's format" } as const;
const ACCOUNT_REPLY = {
  name: { type: "string", means: "as in the request" },
  keyId: KMS_KEY,
  address: ADDRESS,
  encryptedPrivateKey: ACCOUNT.encryptedPrivateKey,
  encryptedDataKey: ACCOUNT.encryptedDataKey,
  version: ACCOUNT_VERSION,
  attestationDocument: DOCUMENT,
} as const;
const hex = (bytes: number) => ({ type: "string", format: "0x-hex", bytes, optional: true }) as const;

/** Requests that `type` names. */
export const REQUESTS = {
  ping: {
    means: "Whether the service answers.",
    request: {},
    reply: {
      msg: { type: "string", values: ["pong"], means: "always" },
      timestamp: { type: "string", format: "date-time", means: "the enclave's clock" },
    },
  },
  health: {
    means: "The state of the service. Fields of a feature that is switched off are absent.",
    request: {},
    reply: {
      configured: { type: "boolean", optional: true, means: "whether there is a session key" },
      configured_at: {
        type: "string",
        format: "date-time",
        optional: true,
        means: "when the session key was taken into use",
      },
      epoch: { type: "integer", optional: true, means: "of the session key, where the service requires one" },
      seals: { type: "integer", optional: true, means: "made under the session key; 2^32 is the limit" },
      workflow: {
        type: "object",
        optional: true,
        means:
          "its processes: `processes`, `busy`, `queue`, `started`, `killed`, `lost`; where they cannot run, `problem`; once they have worked, `p50_ms` and `p99_ms` of the workflow alone",
      },
      version: { type: "string", means: "of the service" },
      boot_id: BOOT_ID,
      kernel: { type: "string", optional: true, means: "release of the enclave's kernel" },
      uptime_s: { type: "integer", means: "seconds since the start" },
      kms: { type: "object", means: "`backend`, `attested`, and what that backend counts" },
      aead: { type: "string", means: "the implementation of AES-256-GCM" },
      random: { type: "string", means: "what new keys are made of: `NSM, kernel, runtime` in an enclave" },
      wallet: {
        type: "object",
        optional: true,
        means: "`guarded`: whether rules are set; with a cache, `cached_keys` and `cache_hits`",
      },
      master_key: {
        type: "object",
        optional: true,
        means: "`initialised`, `boot_id`; with a key, `enclave_id` and `key_epoch`",
      },
      ...SERVER_STATS,
      log_lines_dropped: { type: "integer", means: "by the log's rate limit" },
      warnings: { type: "array", items: "string", means: "warnings about the configuration" },
      permissions: {
        type: "array",
        items: "string",
        means: "kinds of permission that the process still holds",
      },
      self_test: {
        type: "array",
        items: "object",
        optional: true,
        means: "checks as they are now: `check`, `state` (`ok`, `warn`, `fail`, `skipped`), `seen`",
      },
    },
  },
  configure: {
    means: "Has KMS open the session key, and uses it in place of the previous one.",
    credentials: true,
    request: described(CONFIGURE, {
      encrypted_tsk: "the session key (32 bytes) as KMS Encrypt gave it",
      kms_key_id: {
        type: "string",
        optional: true,
        means: "ARN or id of the KMS key, where several are allowed; also `key_id`",
      },
      region: REGION,
      epoch: {
        type: "integer",
        optional: true,
        means: "a whole number that grows with every `configure`, for a service that requires one",
      },
    }),
    reply: {
      msg: { type: "string", values: ["configured"], means: "always" },
      timestamp: { type: "string", format: "date-time", means: "when the key was taken into use" },
    },
  },
  process: {
    means:
      "Opens a blob with the session key, has a workflow process work on the data, and seals the result. A request over `--workflow-ms` is answered `workflow_timeout`. One whose process ended meanwhile is answered `workflow_lost`: the service never runs it a second time, and the client may repeat it.",
    request: {
      ciphertext: { type: "string", format: "hex", means: "the blob: nonce, ciphertext, tag" },
      bind: { type: "boolean", optional: true, means: "whether the blobs are bound to this request" },
      request_id: {
        type: "string",
        format: "hex",
        bytes: 16,
        optional: true,
        means: "with `bind`: random, new for each request",
      },
      ...described(PROCESS, { receipt: RECEIPT_MEANS }),
    },
    reply: { result: { type: "string", format: "hex", means: "the result's blob" }, receipt: RECEIPT },
  },
  attest: {
    means:
      "An attestation document that vouches for the key that requests are sealed for, or for the key of [receipts](#receipts).",
    request: {
      ...described(ATTEST, { nonce: "", user_data: "the document also contains its hash" }),
      nonce: { type: "string", format: "base64", bytes: [16, 512], means: "random, new for each request" },
      purpose: { type: "string", values: ["receipt"], optional: true, means: "for the key of receipts" },
      ...described({ key: ATTEST_RECEIPT.key }, { key: "with `purpose`: SHA-256 of a receipt key" }),
    },
    reply: {
      attestation_document: { type: "string", format: "base64", means: "a COSE_Sign1 of the NSM" },
      public_key: {
        type: "string",
        format: "base64",
        bytes: 32,
        means: "X25519, to seal for, or Ed25519 of receipts; the document has it",
      },
      key_id: { type: "string", format: "base64", bytes: 32, means: "SHA-256 of `public_key`" },
      expires_at: {
        type: "string",
        format: "date-time",
        means:
          "attest again from then on; a key to seal for is accepted for 5 more minutes, a receipt key attested to for 24 hours",
      },
      configuration_hash: {
        type: "string",
        format: "base64",
        bytes: 32,
        means: "SHA-256 of the measured configuration",
      },
    },
  },
  sealed: {
    means: "A request that only the attested enclave can read.",
    request: {
      ...described(SEALED, {
        key_id: "of the key that it is sealed for",
        client_id: "random, of this session",
        counter: "from 1; grows with each request of the session",
        enc: "HPKE's encapsulated key",
        ciphertext: "",
        client_key: "in auth mode: the client's public key",
      }),
      ciphertext: { type: "string", format: "base64", means: "the sealed request" },
    },
    reply: {
      type: { type: "string", values: ["sealed"], means: "always" },
      ciphertext: { type: "string", format: "base64", means: "the sealed reply: nonce, ciphertext, tag" },
    },
  },
  logs: {
    means: "The last events of the log, without secrets.",
    request: described(LOGS, {
      limit: "maximum number of events: 1 to 500, by default 100; with `security` 500",
      security: "only events about keys and refusals, which no flood of requests displaces; not with `after`",
      after:
        "only events with a higher `seq`, the oldest of them first, with those about keys and refusals that a flood displaced",
      boot_id: "of the run that `after` is from: in another run, `after` counts as 0",
      wait_ms:
        "with `after`: if there is no such event yet, waits for one, up to 30 s and half of `--request-ms`. The wait ends early when the client sends more or ends its stream, and when the service stops. Two requests may wait; a third is answered `busy`",
    }),
    reply: {
      events: {
        type: "array",
        items: "object",
        means:
          "oldest first: `time`, `level`, `event`, the event's own fields, and `seq`, which counts from 1",
      },
      boot_id: BOOT_ID,
      dropped: {
        type: "integer",
        optional: true,
        means: "with `after`: how many events between it and the last of `events` are no longer kept",
      },
    },
  },
  metrics: {
    means: "Counts and durations of requests since the start.",
    request: {},
    reply: {
      requests: {
        type: "object",
        means: "by type: `ok`, `error`, `mean_ms`, `max_ms`, `p50_ms`, `p99_ms`",
      },
      ...SERVER_STATS,
    },
  },
  "master_key.init": {
    means: "Takes a stored master key into use; without a row, makes one.",
    credentials: true,
    request: described(MASTER_KEY, {
      enclave_id: ENCLAVE_ID,
      ...ROW_KEY,
      ...OPTIONAL_ROW,
      nonce: NONCE,
    }),
    reply: ROW_REPLY,
  },
  "master_key.verify": {
    means: "Checks whether a stored row opens. The held key does not change.",
    credentials: true,
    request: described({ enclave_id: MASTER_KEY.enclave_id }, {
      enclave_id: ENCLAVE_ID,
      ...ROW_KEY,
      ...ROW,
    }),
    reply: {
      enclave_id: ENCLAVE_ID_TEXT,
      key_epoch: KEY_EPOCH,
      kms_key_id: KMS_KEY,
      boot_id: BOOT_ID,
    },
  },
  "master_key.rewrap": {
    means: "Wraps the master key under another KMS key; the epoch grows by one. The reply is the new row.",
    credentials: true,
    request: described(REWRAP, {
      new_kms_key_id: "ARN or id of the KMS key to wrap under",
      region: REGION,
      enclave_id: MEANT_ENCLAVE,
      key_epoch: "refused unless it is the epoch that is held",
      previous_document_sha256: "of the document of the epoch before, which the new one names",
      nonce: NONCE,
    }),
    reply: ROW_REPLY,
  },
  "master_key.public_info": {
    means: "The public part of the master key.",
    request: described(PUBLIC_INFO, { enclave_id: MEANT_ENCLAVE, nonce: NONCE }),
    reply: {
      enclave_id: ENCLAVE_ID_TEXT,
      public_key: PUBLIC_KEY,
      kms_key_id: KMS_KEY,
      key_epoch: KEY_EPOCH,
      boot_id: BOOT_ID,
      origin: ORIGIN,
      attestation_document: DOCUMENT,
    },
  },
  "master_key.sign": {
    means: "Signs a digest with the master key.",
    request: described(MASTER_KEY_SIGN, {
      enclave_id: MEANT_ENCLAVE,
      digest: "32 bytes, base64 or hex",
      scheme: "`ecdsa` unless given; `schnorr` is BIP-340's",
      receipt: RECEIPT_MEANS,
    }),
    reply: {
      scheme: { type: "string", values: ["ecdsa", "schnorr"], means: "that was used" },
      public_key: PUBLIC_KEY,
      key_epoch: KEY_EPOCH,
      boot_id: BOOT_ID,
      signature: { type: "string", format: "base64", bytes: 64, means: "r ‖ s; for Schnorr, BIP-340's" },
      recovery_id: { type: "integer", values: [0, 1], optional: true, means: "of ECDSA: the parity of y" },
      receipt: RECEIPT,
    },
  },
} as const satisfies Readonly<Record<string, RequestSpec>>;

/** Requests of the wallet, which `apiRequest` names. */
export const WALLET_REQUESTS = {
  generateAccount: {
    means: "Makes an Ethereum account. It exists nowhere but in the reply: store it.",
    credentials: true,
    request: described(GENERATE_ACCOUNT, { name: ACCOUNT_NAME, ...ACCOUNT_KEY, nonce: NONCE }),
    reply: ACCOUNT_REPLY,
  },
  rewrapAccount: {
    means:
      "Wraps an account under another KMS key. The reply is its new row, opened once: store it for the old one.",
    credentials: true,
    request: {
      ...ACCOUNT,
      version: { ...ACCOUNT_VERSION, optional: true },
      ...described(REWRAP_ACCOUNT, {
        new_key_id: "ARN or id of the KMS key to wrap under",
        previous_document_sha256: "of the row's last document, which the new one names",
        nonce: NONCE,
      }),
    },
    reply: ACCOUNT_REPLY,
  },
  sign: {
    means:
      "Signs with an account: `message`, `typedData`, `transaction`, `authorization`, `digest`, or `items`.",
    credentials: true,
    request: {
      ...ACCOUNT,
      version: { ...ACCOUNT_VERSION, optional: true },
      message: { type: "any", optional: true, means: 'text, or `{"raw": "0x…"}` for bytes (EIP-191)' },
      typedData: { type: "object", optional: true, means: "EIP-712" },
      ignoreUndeclared: {
        type: "boolean",
        optional: true,
        means:
          "with `typedData`: whether members that the types do not declare are left out instead of refused",
      },
      transaction: {
        type: "object",
        optional: true,
        means: "legacy, EIP-2930, EIP-1559, EIP-4844 or EIP-7702",
      },
      authorization: {
        type: "object",
        optional: true,
        means: "of EIP-7702: `chainId`, `address`, `nonce`",
      },
      digest: { type: "string", optional: true, means: "32 bytes, hex: signed as they are" },
      items: {
        type: "array",
        items: "object",
        optional: true,
        means: "1 to 1,000 objects, each with one of the five",
      },
    },
    reply: {
      address: ADDRESS,
      signature: { ...hex(65), means: "r ‖ s ‖ (27 + yParity)" },
      r: { ...hex(32), means: "of the signature" },
      s: { ...hex(32), means: "of the signature" },
      yParity: { type: "integer", values: [0, 1], optional: true, means: "parity of y" },
      v: {
        type: "integer",
        optional: true,
        means: "27 + yParity; in a transaction as its type has it",
      },
      signedTransaction: {
        type: "string",
        format: "0x-hex",
        optional: true,
        means: "of a transaction: ready to be sent",
      },
      transactionHash: { ...hex(32), means: "of a transaction" },
      authorization: {
        type: "object",
        optional: true,
        means: "of an authorization: an item of a transaction's `authorizationList`",
      },
      signatures: {
        type: "array",
        items: "object",
        optional: true,
        means: "of `items`, in their order: each with the fields above except `address`",
      },
    },
  },
} as const satisfies Readonly<Record<string, RequestSpec>>;

/** The type of a field's value. */
export type ValueOf<F> = F extends { readonly values: readonly (infer V)[] } ? V
  : F extends { readonly type: "string" } ? string
  : F extends { readonly type: "id" } ? string | number
  : F extends { readonly type: "boolean" } ? boolean
  : F extends { readonly type: "integer" | "number" } ? number
  : F extends { readonly type: "object" } ? Readonly<WireObject>
  : F extends { readonly type: "array"; readonly items: "string" } ? readonly string[]
  : F extends { readonly type: "array" } ? readonly Readonly<WireObject>[]
  : unknown;

/** Names of the fields that may be absent. */
export type OptionalNames<S> = {
  [K in keyof S]: S[K] extends { readonly optional: true } ? K : never;
}[keyof S];

/** An object type of fields. Further fields are `unknown`: what a newer service adds. */
export type FieldsOf<S> =
  & { readonly [K in Exclude<keyof S, OptionalNames<S>>]: ValueOf<S[K]> }
  & { readonly [K in OptionalNames<S>]?: ValueOf<S[K]> }
  & Readonly<WireObject>;

/** The name of a request, in `type`. */
export type RequestType = keyof typeof REQUESTS;
/** The name of a request of the wallet, in `apiRequest`. */
export type WalletRequestType = keyof typeof WALLET_REQUESTS;

/** A request by its `type`; credentials in any spelling come in addition. */
export type RequestOf<T extends RequestType> =
  & { readonly type: T }
  & FieldsOf<(typeof REQUESTS)[T]["request"]>;

/** The reply to a request that worked, by the request's `type`. */
export type ReplyOf<T extends RequestType> =
  & { readonly status: "ok" }
  & FieldsOf<(typeof REQUESTS)[T]["reply"]>;

/** A request of the wallet by its `apiRequest`; credentials in any spelling come in addition. */
export type WalletRequestOf<T extends WalletRequestType> =
  & { readonly apiRequest: T }
  & FieldsOf<(typeof WALLET_REQUESTS)[T]["request"]>;

/** The wallet's reply to a request that worked, by its `apiRequest`. */
export type WalletReplyOf<T extends WalletRequestType> = Readonly<WireObject> & {
  readonly status?: never;
  readonly apiResponse: T extends "generateAccount" ? "generateResponse"
    : T extends "rewrapAccount" ? "rewrapResponse"
    : "signResponse";
  readonly content: FieldsOf<(typeof WALLET_REQUESTS)[T]["reply"]>;
};

/** Any reply to a request, by its `type`: `status` tells them apart. */
export type ExchangeOf<T extends RequestType> = ReplyOf<T> | (ErrorReply & Readonly<WireObject>);
/** Any reply of the wallet: `status` is `error`, or absent. */
export type WalletExchangeOf<T extends WalletRequestType> =
  | WalletReplyOf<T>
  | (WalletErrorReply & Readonly<WireObject>);
