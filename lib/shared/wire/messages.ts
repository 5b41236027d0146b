/**
 * The contents of documents: shapes of requests and replies, the error codes, and the spellings of credentials
 * that existing clients use.
 *
 * @module
 */
import { type CredentialStrings, MAX_CREDENTIAL_LENGTH } from "../aws/kms_limits.ts";
import type { ErrorCode } from "./error_codes.ts";
import { field, isObject } from "../json.ts";
import { type JsonShape, MAX_DEPTH, measureJson } from "./json_shape.ts";

export type { CredentialStrings } from "../aws/kms_limits.ts";
export type { ErrorCode } from "./error_codes.ts";
export { field } from "../json.ts";

/** A request's document, as an object of unknown fields. */
export type WireObject = Record<string, unknown>;

/** The reply to a request that failed. `details` is for people: fixed words, never a stack or a secret. */
export interface ErrorReply {
  /** Distinguishes it from a successful reply. */
  readonly status: "error";
  /** For programs. */
  readonly msg: ErrorCode;
  /** For people: fixed words. */
  readonly details: string;
  /** With `workflow_failed`: the workflow's own code. */
  readonly code?: string;
  /** With `workflow_failed`, where the request asked for one. */
  readonly receipt?: string;
}

/** The wallet's reply to a successful request. */
export interface WalletReply {
  /** Such as `generateResponse`. */
  readonly apiResponse: string;
  /** The result. */
  readonly content: Readonly<Record<string, unknown>>;
}

/** The wallet's reply to a failed request. */
export interface WalletErrorReply extends ErrorReply {
  /** Distinguishes it from the other services' replies. */
  readonly apiResponse: "errorResponse";
}

/** Any reply. */
export type Reply =
  | { readonly status: "ok"; readonly [field: string]: unknown }
  | ErrorReply
  | WalletReply
  | WalletErrorReply;

/** Whether a reply says that the request failed. */
export function isErrorReply(reply: Reply): reply is ErrorReply {
  return "status" in reply && reply.status === "error";
}

/** Makes an error reply. */
export function errorReply(msg: ErrorCode, details: string): ErrorReply {
  return { status: "error", msg, details };
}

/** The error of an invalid request. */
export class WireError extends Error {
  /** The class. */
  override name = "WireError";
  /** Goes out as `msg`. */
  readonly code: ErrorCode;

  /**
   * Goes out as an error reply.
   *
   * @param message goes out as `details`
   */
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const utf8 = new TextDecoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

const NOT_JSON = "The message is not valid JSON";

/**
 * The text of a document. The strict decoder takes ten times as long (measured), so it is used only in doubt.
 *
 * @throws {WireError} `invalid_json` when it is not UTF-8
 */
export function decodeText(body: Uint8Array): string {
  const text = utf8.decode(body);
  if (!text.includes("\ufffd")) return text;
  try {
    return strictUtf8.decode(body);
  } catch {
    throw new WireError("invalid_json", NOT_JSON);
  }
}

/**
 * Reads a document's text as an object. One that is nested too deeply is refused before parsing.
 *
 * @param shape of the text, if already known
 * @throws {WireError} `invalid_json`
 */
export function parseText(text: string, shape: JsonShape = measureJson(text)): WireObject {
  if (shape.depth > MAX_DEPTH) {
    throw new WireError("invalid_json", `The message is nested deeper than ${MAX_DEPTH}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new WireError("invalid_json", NOT_JSON);
  }
  if (isObject(value)) return value;
  throw new WireError("invalid_json", "The message must be a JSON object");
}

/**
 * Reads a document's bytes as an object, by {@link parseText}.
 *
 * @throws {WireError} `invalid_json`
 */
export function parseObject(body: Uint8Array): WireObject {
  return parseText(decodeText(body));
}

/** Removes all fields of a request, so that remaining references to it do not keep them. */
export function dropFields(request: WireObject): void {
  for (const name of Object.keys(request)) delete request[name];
}

/**
 * A string field; undefined when it is absent or null.
 *
 * @throws {WireError} `missing_fields` when it is present but not a string.
 */
export function optionalString(object: WireObject, name: string): string | undefined {
  const value = field(object, name);
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new WireError("missing_fields", `Field ${name} must be a string`);
  return value;
}

/**
 * A required, non-empty string field.
 *
 * @param means what it holds, for the message
 * @throws {WireError} `missing_fields`
 */
export function requiredString(object: WireObject, name: string, means: string): string {
  const value = optionalString(object, name);
  if (value === undefined || value === "") {
    throw new WireError("missing_fields", `Field ${name} (${means}) is missing`);
  }
  return value;
}

/** Spellings of the three credentials: at top level, or within `credential`. */
export const CREDENTIAL_SPELLINGS = [
  ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"],
  ["access_key_id", "secret_access_key", "token"],
  ["AccessKeyId", "SecretAccessKey", "Token"],
  ["AwsAccessKeyId", "AwsSecretAccessKey", "AwsSessionToken"],
] as const;

/**
 * Removes the credentials from a request and returns them, in any spelling, at top level or under `credential`: after this the request no longer holds
 * them.
 *
 * @throws {WireError} `missing_fields` that names what is missing, or too long to be a credential.
 */
export function takeCredentials(request: WireObject): CredentialStrings {
  const nested = field(request, "credential");
  const places: readonly WireObject[] = isObject(nested) ? [request, nested] : [request];
  delete request["credential"];
  // Requests hold their credentials while they wait for KMS, so oversized ones are refused first.
  const checked = (name: keyof CredentialStrings, field: string, text: string) => {
    const limit = MAX_CREDENTIAL_LENGTH[name];
    if (text.length <= limit) return text;
    const problem = `must have at most ${limit} characters, not ${text.length}`;
    throw new WireError("missing_fields", `Field ${field} ${problem}`);
  };
  try {
    for (const place of places) {
      for (const [id, secret, token] of CREDENTIAL_SPELLINGS) {
        if (!Object.hasOwn(place, id) && !Object.hasOwn(place, secret)) continue;
        const accessKeyId = requiredString(place, id, "the AWS access key id");
        const secretAccessKey = requiredString(place, secret, "the AWS secret access key");
        return {
          accessKeyId: checked("accessKeyId", id, accessKeyId),
          secretAccessKey: checked("secretAccessKey", secret, secretAccessKey),
          sessionToken: checked("sessionToken", token, optionalString(place, token) ?? ""),
        };
      }
    }
  } finally {
    for (const place of places) {
      for (const name of CREDENTIAL_SPELLINGS.flat()) delete place[name];
    }
  }
  const names =
    "aws_access_key_id and aws_secret_access_key (and aws_session_token for temporary credentials)";
  throw new WireError("missing_fields", `Fields ${names} are missing`);
}
