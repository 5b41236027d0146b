/**
 * Checks a request's signature: AWS's Signature Version 4 in the Authorization header, and the access keys that are known here. AWS General Reference,
 * "Signature Version 4"; errors have AWS's names and messages.
 *
 * @module
 */
import { createHash, createHmac } from "node:crypto";
import { timingSafeEqual } from "@std/crypto";
import { decodeHex } from "@std/encoding";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { KmsRefusal } from "./errors.ts";
import { type Caller, parseCaller } from "./policy.ts";

/** A request before authentication. Header names are lower-case. */
export interface SignedRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** The services that requests are signed for. */
export type AwsService = "kms" | "sts";

/** Who signed a request. */
export interface Identity {
  readonly caller: Caller;
  /** The access key's id in the log; empty where signatures are not checked. */
  readonly accessKeyId: string;
}

/** An access key of the file. */
export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: SecretBytes;
  /** Session token of a role's session; empty for a long-lived key. */
  readonly sessionToken: SecretBytes;
  readonly expires: Date | undefined;
  readonly caller: Caller;
}

const MAX_SKEW_MS = 5 * 60_000;
const MAX_ACCESS_KEYS = 1000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 +Credential=([^/, ]{1,128})\/([0-9]{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request, *SignedHeaders=([a-z0-9;-]{1,2048}), *Signature=([0-9a-f]{64})$/;
const DATE = /^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z$/;

const hash = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Uint8Array, data: string) => createHmac("sha256", key).update(data).digest();

const unknownKey = () =>
  new KmsRefusal("UnrecognizedClientException", "The security token included in the request is invalid.");

/** The known access keys. Disposing wipes them. */
export class AccessKeys implements Disposable {
  #keys: ReadonlyMap<string, AccessKey>;
  #region: string;
  #now: () => Date;

  /** Takes ownership of the keys. */
  constructor(keys: readonly AccessKey[], { region, now }: { region: string; now: () => Date }) {
    this.#keys = new Map(keys.map((key) => [key.accessKeyId, key]));
    this.#region = region;
    this.#now = now;
  }

  /**
   * Finds out who signed a request.
   *
   * @param service the service that the signature must be for
   * @throws {KmsRefusal} with AWS's error name for the problem.
   */
  identify(request: SignedRequest, expectedService: AwsService = "kms"): Identity {
    const { headers } = request;
    const authorization = headers.get("authorization");
    if (authorization === undefined) {
      throw new KmsRefusal("MissingAuthenticationTokenException", "Request is missing Authentication Token");
    }
    const [, keyId = "", date = "", region, service, signedNames = "", signature = ""] =
      AUTHORIZATION.exec(authorization) ?? [];
    if (signature === "") {
      throw new KmsRefusal(
        "IncompleteSignatureException",
        "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' of AWS4-HMAC-SHA256.",
      );
    }
    const key = this.#keys.get(keyId);
    if (key === undefined) throw unknownKey();
    const token = new TextEncoder().encode(headers.get("x-amz-security-token") ?? "");
    const expected = key.sessionToken.expose();
    if (token.length !== expected.length || !timingSafeEqual(token, expected)) throw unknownKey();
    if (key.expires !== undefined && key.expires <= this.#now()) {
      throw new KmsRefusal(
        "ExpiredTokenException",
        "The security token included in the request is expired",
      );
    }
    if (service !== expectedService || region !== this.#region) {
      throw new KmsRefusal(
        "InvalidSignatureException",
        service === expectedService
          ? `Credential should be scoped to a valid region, not '${region}'. `
          : `Credential should be scoped to correct service: '${expectedService}'. `,
      );
    }
    const stamp = this.#checkDate(headers.get("x-amz-date"), date);
    const wanted = computeSignature(request, key, {
      stamp,
      date,
      region,
      service,
      names: signedNames.split(";"),
    });
    if (!timingSafeEqual(decodeHex(signature), wanted)) {
      throw new KmsRefusal(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. " +
          "Consult the service documentation for details.",
      );
    }
    return { caller: key.caller, accessKeyId: keyId };
  }

  #checkDate(stamp: string | undefined, date: string): string {
    const [whole, ...parts] = DATE.exec(stamp ?? "") ?? [];
    const [year = 0, month = 0, ...rest] = parts.map(Number);
    const time = whole === undefined ? NaN : Date.UTC(year, month - 1, ...rest);
    if (whole === undefined || Number.isNaN(time) || !whole.startsWith(date)) {
      throw new KmsRefusal(
        "IncompleteSignatureException",
        "Date in Credential scope does not match YYYYMMDD from the ISO-8601 version of date from HTTP",
      );
    }
    const now = this.#now();
    const stampOf = (at: number) => new Date(at).toISOString().replace(/[:-]|\.\d{3}/g, "");
    const [ours, early, late] = [now.getTime(), now.getTime() - MAX_SKEW_MS, now.getTime() + MAX_SKEW_MS];
    if (time < early) {
      throw new KmsRefusal(
        "InvalidSignatureException",
        `Signature expired: ${whole} is now earlier than ${stampOf(early)} (${stampOf(ours)} - 5 min.)`,
      );
    }
    if (time > late) {
      throw new KmsRefusal(
        "InvalidSignatureException",
        `Signature not yet current: ${whole} is still later than ${stampOf(late)} (${
          stampOf(ours)
        } + 5 min.)`,
      );
    }
    return whole;
  }

  [Symbol.dispose](): void {
    for (const { secretAccessKey, sessionToken } of this.#keys.values()) {
      secretAccessKey[Symbol.dispose]();
      sessionToken[Symbol.dispose]();
    }
  }
}

/** The signed values in addition to the request. */
interface Scope {
  readonly stamp: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly names: readonly string[];
}

function computeSignature(request: SignedRequest, key: AccessKey, scope: Scope): Uint8Array {
  const { method, target, headers, body } = request;
  const { stamp, date, region, service, names } = scope;
  const unsigned = [...headers.keys()].filter((name) => name === "host" || name.startsWith("x-amz-"))
    .find((name) => !names.includes(name));
  if (unsigned !== undefined || !names.includes("host") || names.some((name) => !headers.has(name))) {
    throw new KmsRefusal(
      "InvalidSignatureException",
      `'${unsigned ?? "Host"}' must be a 'SignedHeader' in the AWS Authorization.`,
    );
  }
  const canonical = names.map((name) => `${name}:${(headers.get(name) ?? "").trim().replace(/ +/g, " ")}\n`);
  const [path = "/", query = ""] = target.split("?", 2);
  const text = [method, path, query, canonical.join(""), names.join(";"), hash(body)].join("\n");
  const scopeText = `${date}/${region}/${service}/aws4_request`;
  const secret = new Uint8Array([...new TextEncoder().encode("AWS4"), ...key.secretAccessKey.expose()]);
  const derived = [region, service, "aws4_request"].reduce<Uint8Array>(hmac, hmac(secret, date));
  const signature = hmac(derived, ["AWS4-HMAC-SHA256", stamp, scopeText, hash(text)].join("\n"));
  secret.fill(0);
  derived.fill(0);
  return signature;
}

function badFile(what: string): EnclaveError {
  return new EnclaveError(`Cannot use the file of access keys: ${what}`, {
    code: "access_keys_file",
    hint:
      'Write {"version":1,"accessKeys":[{"accessKeyId":…,"secretAccessKey":…,"sessionToken":…,"expires":"2026-01-01T00:00:00Z","arn":"arn:aws:iam::…:role/…"}]}.',
  });
}

const ENTRY_FIELDS: readonly string[] = [
  ...["accessKeyId", "secretAccessKey", "sessionToken", "expires", "arn"],
];

/**
 * Reads a file of access keys. Errors do not quote its secrets.
 *
 * @returns the keys, the caller's to dispose
 * @throws {EnclaveError} `access_keys_file`
 */
export function parseAccessKeys(text: string): readonly AccessKey[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw badFile("it is not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || !("version" in parsed) || parsed.version !== 1) {
    throw badFile("it is not of version 1");
  }
  const list: unknown = "accessKeys" in parsed ? parsed.accessKeys : undefined;
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_ACCESS_KEYS) {
    throw badFile(`it does not have 1 to ${MAX_ACCESS_KEYS} access keys`);
  }
  const keys = list.map(parseAccessKey);
  if (new Set(keys.map(({ accessKeyId }) => accessKeyId)).size !== keys.length) {
    throw badFile("an access key id is in it twice");
  }
  return keys;
}

function parseAccessKey(value: unknown, index: number): AccessKey {
  const place = `access key ${index + 1}`;
  if (typeof value !== "object" || value === null) throw badFile(`${place} is not an object`);
  const entry: Readonly<Record<string, unknown>> = { ...value };
  const unknown = Object.keys(entry).find((field) => !ENTRY_FIELDS.includes(field));
  if (unknown !== undefined) throw badFile(`${JSON.stringify(unknown)} of ${place} is unknown`);
  const field = (name: string, isOptional = false) => {
    const found = entry[name] ?? (isOptional ? "" : undefined);
    if (typeof found === "string" && (isOptional || found !== "")) return found;
    throw badFile(`${place} has no ${name}`);
  };
  const accessKeyId = field("accessKeyId");
  if (!/^[A-Za-z0-9]{4,128}$/.test(accessKeyId)) throw badFile(`the id of ${place} is not an access key id`);
  const expires = field("expires", true);
  if (expires !== "" && Number.isNaN(Date.parse(expires))) throw badFile(`expires of ${place} is not a date`);
  const arn = field("arn");
  let caller: Caller;
  try {
    caller = parseCaller(arn);
  } catch {
    throw badFile(`arn of ${place} is of no role, user or root`);
  }
  return {
    accessKeyId,
    secretAccessKey: SecretBytes.fromString(field("secretAccessKey")),
    sessionToken: SecretBytes.fromString(field("sessionToken", true)),
    expires: expires === "" ? undefined : new Date(expires),
    caller,
  };
}
