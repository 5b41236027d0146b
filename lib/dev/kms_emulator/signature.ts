/**
 * Finds out who signed a request: checks AWS's Signature Version 4 in its Authorization header against the access keys that are known here.
 * Errors have AWS's names and messages.
 *
 * @module
 */
import { timingSafeEqual } from "@std/crypto";
import { decodeHex, encodeHex } from "@std/encoding";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { isObject } from "../../shared/json.ts";
import { signedHeaders, stampOf } from "./sigv4.ts";
import { KmsRefusal } from "./errors.ts";
import { type Caller, findCaller } from "./policy.ts";

/** A request before authentication. */
export interface SignedRequest {
  readonly method: string;
  /** Its host is that of the `host` header. */
  readonly url: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
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
const WRONG_SIGNATURE =
  "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. " +
  "Consult the service documentation for details.";

const unknownKey = () =>
  new KmsRefusal("UnrecognizedClientException", "The security token included in the request is invalid.");
const invalidSignature = (message: string) => new KmsRefusal("InvalidSignatureException", message);

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
   * @param expectedService the service that the signature must be for
   * @throws {KmsRefusal} with AWS's error name for the problem.
   */
  async identify(request: SignedRequest, expectedService: AwsService): Promise<Identity> {
    const { headers } = request;
    const authorization = headers.get("authorization");
    if (authorization === null) {
      throw new KmsRefusal("MissingAuthenticationTokenException", "Request is missing Authentication Token");
    }
    const [, keyId = "", date = "", region = "", service = "", names = "", signature = ""] =
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
    if (service !== expectedService) {
      throw invalidSignature(`Credential should be scoped to correct service: '${expectedService}'. `);
    }
    if (region !== this.#region) {
      throw invalidSignature(`Credential should be scoped to a valid region, not '${region}'. `);
    }
    const stamp = this.#checkDate(headers.get("x-amz-date") ?? "", date);
    const wanted = await computeSignature(request, key, { stamp, region, service, names: names.split(";") });
    if (!timingSafeEqual(decodeHex(signature), decodeHex(wanted))) throw invalidSignature(WRONG_SIGNATURE);
    return { caller: key.caller, accessKeyId: keyId };
  }

  #checkDate(stamp: string, date: string): string {
    const time = Date.parse(stamp.replace(DATE, "$1-$2-$3T$4:$5:$6Z"));
    if (!DATE.test(stamp) || Number.isNaN(time) || !stamp.startsWith(date)) {
      throw new KmsRefusal(
        "IncompleteSignatureException",
        "Date in Credential scope does not match YYYYMMDD from the ISO-8601 version of date from HTTP",
      );
    }
    const now = this.#now().getTime();
    const [early, late] = [now - MAX_SKEW_MS, now + MAX_SKEW_MS];
    if (time < early) {
      throw invalidSignature(
        `Signature expired: ${stamp} is now earlier than ${stampOf(early)} (${stampOf(now)} - 5 min.)`,
      );
    }
    if (time > late) {
      throw invalidSignature(
        `Signature not yet current: ${stamp} is still later than ${stampOf(late)} (${stampOf(now)} + 5 min.)`,
      );
    }
    return stamp;
  }

  [Symbol.dispose](): void {
    for (const { secretAccessKey, sessionToken } of this.#keys.values()) {
      secretAccessKey[Symbol.dispose]();
      sessionToken[Symbol.dispose]();
    }
  }
}

/** The signature that the request should have, in hex. */
async function computeSignature(
  { method, url, headers, body }: SignedRequest,
  { accessKeyId, secretAccessKey }: AccessKey,
  { names, ...scope }: {
    readonly stamp: string;
    readonly region: string;
    readonly service: string;
    readonly names: readonly string[];
  },
): Promise<string> {
  const unsigned = [...headers.keys()].find((name) => name.startsWith("x-amz-") && !names.includes(name));
  const isMissing = (name: string) => name !== "host" && !headers.has(name);
  if (unsigned !== undefined || !names.includes("host") || names.some(isMissing)) {
    throw invalidSignature(`'${unsigned ?? "Host"}' must be a 'SignedHeader' in the AWS Authorization.`);
  }
  // The signer would take this header's word for the hash of the body.
  const claimed = headers.get("x-amz-content-sha256");
  if (
    claimed !== null && claimed !== encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", body)))
  ) {
    throw invalidSignature(WRONG_SIGNATURE);
  }
  const signed = await signedHeaders({
    ...scope,
    method,
    url,
    headers: new Headers(names.map((name) => [name, headers.get(name) ?? ""])),
    body,
    accessKeyId,
    secretAccessKey: secretAccessKey.expose(),
  });
  return AUTHORIZATION.exec(signed.get("authorization") ?? "")?.at(-1) ?? "";
}

function badFile(what: string): EnclaveError {
  return new EnclaveError(`Cannot use the file of access keys: ${what}`, {
    code: "access_keys_file",
    hint:
      'Write {"version":1,"accessKeys":[{"accessKeyId":…,"secretAccessKey":…,"sessionToken":…,"expires":"2026-01-01T00:00:00Z","arn":"arn:aws:iam::…:role/…"}]}.',
  });
}

const ENTRY_FIELDS = ["accessKeyId", "secretAccessKey", "sessionToken", "expires", "arn"];

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
  if (!isObject(parsed) || parsed["version"] !== 1) throw badFile("it is not of version 1");
  const list = parsed["accessKeys"];
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_ACCESS_KEYS) {
    throw badFile(`it does not have 1 to ${MAX_ACCESS_KEYS} access keys`);
  }
  const keys = list.map((entry: unknown, index) => parseAccessKey(entry, `access key ${index + 1}`));
  if (new Set(keys.map(({ accessKeyId }) => accessKeyId)).size !== keys.length) {
    throw badFile("an access key id is in it twice");
  }
  return keys;
}

function parseAccessKey(entry: unknown, place: string): AccessKey {
  if (!isObject(entry)) throw badFile(`${place} is not an object`);
  const unknown = Object.keys(entry).find((field) => !ENTRY_FIELDS.includes(field));
  if (unknown !== undefined) throw badFile(`${JSON.stringify(unknown)} of ${place} is unknown`);
  const field = (name: string, otherwise?: string) => {
    const found = entry[name] ?? otherwise;
    if (typeof found === "string" && (found !== "" || otherwise !== undefined)) return found;
    throw badFile(`${place} has no ${name}`);
  };
  const accessKeyId = field("accessKeyId");
  if (!/^[A-Za-z0-9]{4,128}$/.test(accessKeyId)) throw badFile(`the id of ${place} is not an access key id`);
  const expires = field("expires", "");
  if (expires !== "" && Number.isNaN(Date.parse(expires))) throw badFile(`expires of ${place} is not a date`);
  const caller = findCaller(field("arn"));
  if (caller === undefined) throw badFile(`arn of ${place} is of no role, user or root`);
  const secret = (text: string) => new SecretBytes(new TextEncoder().encode(text));
  return {
    accessKeyId,
    secretAccessKey: secret(field("secretAccessKey")),
    sessionToken: secret(field("sessionToken", "")),
    expires: expires === "" ? undefined : new Date(expires),
    caller,
  };
}
