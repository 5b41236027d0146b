/**
 * Requests in which one field is absent, null or of another kind, in which credentials are spelled in every way, and which have further fields: what an
 * earlier build answered is in `requests.json`.
 *
 * @module
 */
import { type Gold, readGold, type Settings, startGold, type WireObject } from "./product.ts";

/** What is put in the place of a field. */
const VALUES: readonly unknown[] = [
  undefined,
  null,
  "",
  "x y",
  "AAAA",
  "LONG",
  -1,
  1,
  1.5,
  true,
  false,
  [],
  {},
];
const LONG = "A".repeat(12_000);
const CREDENTIALS = [
  ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"],
  ["access_key_id", "secret_access_key", "token"],
  ["AccessKeyId", "SecretAccessKey", "Token"],
  ["AwsAccessKeyId", "AwsSecretAccessKey", "AwsSessionToken"],
] as const;

/** A request that succeeds, after those that must come before it. */
interface Base {
  readonly settings: Settings;
  readonly before: readonly WireObject[];
  readonly request: WireObject;
  /** Optional fields, beside those of the request. */
  readonly more?: readonly string[];
  readonly cases?: readonly WireObject[];
}

/** By a request's name and by its answer: what was changed in the requests that got it, separated by bars. */
export type Answers = Readonly<Record<string, Readonly<Record<string, string>>>>;

async function basesOf(): Promise<Readonly<Record<string, Base>>> {
  const { conversations }: Gold = await readGold("gold.json");
  const exchanges = (title: string) => {
    const found = conversations.find((conversation) => conversation.title === title);
    if (found === undefined) throw new Error(title);
    return found.exchanges.map(({ request }) => request) as [WireObject, WireObject, WireObject];
  };
  const [accountSign, , accountBatch] = exchanges("the wallet row a opens and signs");
  const [init, masterSign] = exchanges("a master key row of epoch 1 opens and signs");
  const [configure, process, bound] = exchanges("a session key with its context opens both kinds of blob");
  const [configureEpoch] = exchanges("a session key of an epoch opens both kinds of blob");
  const [attest, sealed] = exchanges("a sealed request of a known client");
  const clientKey = String(sealed["client_key"]);
  const credential = { AccessKeyId: "AKID", SecretAccessKey: "secret" };
  const { nonce: _, type: __, ...row } = init;
  const hexDigest = "05".repeat(32);
  return {
    configure: { settings: {}, before: [], request: configure, more: ["key_id", "region", "epoch"] },
    "configure with epochs": { settings: { requireEpoch: true }, before: [], request: configureEpoch },
    process: { settings: {}, before: [configure], request: process, more: ["bind", "request_id"] },
    "process, bound": { settings: {}, before: [configure], request: bound },
    attest: { settings: {}, before: [], request: attest },
    sealed: { settings: { clientKey }, before: [attest], request: sealed },
    logs: { settings: {}, before: [], request: { type: "logs", limit: 1, security: true } },
    init: { settings: { fixedDataKey: true }, before: [], request: init, more: ["region"] },
    "init without a row": {
      settings: { fixedDataKey: true },
      before: [],
      request: { type: "master_key.init", credential, enclave_id: 7, kms_key_id: init["kms_key_id"] },
      cases: [{ enclave_id: "7" }, { enclave_id: "a b" }, { enclave_id: "a:b.c-d_e" }],
    },
    verify: { settings: {}, before: [], request: { type: "master_key.verify", ...row }, more: ["nonce"] },
    rewrap: {
      settings: { fixedDataKey: true },
      before: [init],
      request: { type: "master_key.rewrap", credential, new_kms_key_id: init["kms_key_id"] },
      more: ["enclave_id", "key_epoch", "previous_document_sha256", "nonce", "region", "kms_key_id"],
      cases: [{ enclave_id: 7 }, { enclave_id: "7" }, { previous_document_sha256: "A".repeat(43) + "=" }],
    },
    public_info: {
      settings: {},
      before: [init],
      request: { type: "master_key.public_info" },
      more: ["enclave_id", "nonce"],
    },
    "master_key.sign": {
      settings: {},
      before: [init],
      request: masterSign,
      more: ["scheme", "enclave_id"],
      cases: [{ digest: hexDigest }, { digest: `0x${hexDigest}` }, { scheme: "ecdsa" }, {
        scheme: "schnorr",
      }],
    },
    generateAccount: {
      settings: { fixedDataKey: true },
      before: [],
      request: { apiRequest: "generateAccount", credential, name: "a", key_id: init["kms_key_id"] },
      more: ["nonce", "region", "keyId", "kms_key_id"],
      cases: [{ name: " a" }, { name: "a\n" }, { name: "a".repeat(129) }, { name: "é" }, { name: "\ud800" }],
    },
    "account sign": {
      settings: {},
      before: [],
      request: accountSign,
      more: ["version", "region", "keyId", "typedData", "transaction", "digest", "items"],
      cases: [{ version: "1" }, { version: 2 }, { message: { raw: "0x00" } }, { message: { raw: "00" } }],
    },
    "account batch": {
      settings: {},
      before: [],
      request: accountBatch,
      cases: [{ items: [1] }, { items: [{}] }, { items: [{ message: "a" }, { message: "a", digest: "b" }] }],
    },
  };
}

/** The requests of a base, by what was changed. */
function variants({ request, more = [], cases = [] }: Base): ReadonlyMap<string, WireObject> {
  const found = new Map<string, WireObject>([["as it is", request], [
    "with further fields",
    { ...request, further: 1, toString: null, __proto__x: {} },
  ]]);
  const { credential, ...open } = request;
  const put = (change: WireObject) => {
    const fields = Object.entries(change).map(([name, value]) => [name, value === "LONG" ? LONG : value]);
    const name = Object.entries(change).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    found.set(name.join(" "), { ...request, ...Object.fromEntries(fields) });
  };
  for (const name of [...Object.keys(open), ...more]) {
    if (name === "type" || name === "apiRequest") continue;
    for (const value of VALUES) put({ [name]: value });
  }
  cases.forEach(put);
  if (credential === undefined) return found;
  for (const [id, secret, token] of CREDENTIALS) {
    const three = { [id]: "AKID", [secret]: "secret", [token]: "token" };
    found.set(`${id} at top level`, { ...open, ...three });
    for (const name of [id, secret, token]) {
      for (const value of [undefined, null, "", 1, "LONG"]) {
        const text = value === "LONG" ? LONG : value;
        found.set(`credential.${name}=${JSON.stringify(value)}`, {
          ...open,
          credential: { ...three, [name]: text },
        });
      }
    }
  }
  for (const value of VALUES) put({ credential: value });
  return found;
}

/** SHA-256 of a reply that succeeded, shortened; code and text of an error. Events of the log have times. */
async function summary(reply: WireObject): Promise<string> {
  if (Object.hasOwn(reply, "events")) return "ok";
  if (reply["status"] === "error") return `${reply["msg"]}: ${reply["details"]}`;
  const sorted = (value: unknown) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
      : value;
  const text = JSON.stringify(reply, (_, value) => sorted(value));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `ok ${new Uint8Array(digest).toHex().slice(0, 16)}`;
}

/** Asks this build. */
export async function answers(): Promise<Answers> {
  const all: Record<string, Record<string, string>> = {};
  for (const [name, base] of Object.entries(await basesOf())) {
    const own: Record<string, string> = all[name] = {};
    let service: Awaited<ReturnType<typeof startGold>> | undefined;
    for (const [change, request] of variants(base)) {
      if (service === undefined) {
        service = await startGold(base.settings);
        for (const first of base.before) await service.ask(first);
      }
      const told = await summary(await service.ask(request));
      own[told] = own[told] === undefined ? change : `${own[told]} | ${change}`;
      // What succeeds may have changed the service.
      if (!told.startsWith("ok")) continue;
      await service[Symbol.asyncDispose]();
      service = undefined;
    }
    await service?.[Symbol.asyncDispose]();
  }
  return all;
}
