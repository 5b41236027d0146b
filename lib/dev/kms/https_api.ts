/**
 * KMS's JSON API over HTTP(S), for development: signed requests with a time limit and a cap on the response, sent once. Refuses to start where
 * there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * @module
 */
import type { Nsm } from "../../enclave/cli/nsm.ts";
import type { KmsAccess, KmsHealth } from "../../enclave/kms/kms.ts";
import { type CredentialBytes, CREDENTIALS } from "../../shared/aws/credentials.ts";
import { parseEndpoint, regionEndpoint } from "../../shared/aws/endpoint.ts";
import { clockSkewOf, hintFor, type KmsReason, parseKmsReason } from "../../shared/aws/kms_reasons.ts";
import { isRegion } from "../../shared/aws/region.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { isObject } from "../../shared/json.ts";
import { refuseInEnclave } from "../outside_enclave.ts";
import { JsonKms, type KmsAnswer, type KmsApi, type KmsOperation } from "./json_kms.ts";
import { readCapped } from "../kms_emulator/read_capped.ts";
import { signedHeaders, stampOf } from "../kms_emulator/sigv4.ts";

/** The largest response: eight times a CiphertextBlob of 6144 bytes in base64. */
const MAX_ANSWER_LENGTH = 64 * 1024;
/** AWS's secrets have 40 characters; short invented ones of a development KMS could occur in any message. */
const MIN_SECRET_LENGTH = 12;
const POOL = { poolMaxIdlePerHost: 4, poolIdleTimeout: 20_000 } as const;

/**
 * Stable codes:
 * - `aws_kms`: KMS refused (`kms` has its error), or the response is invalid (`kms` is undefined)
 * - `clock_skew`: KMS refused because this machine's clock is off
 * - `invalid_argument`: refused before anything was sent
 * - `kms_closed`: the backend was disposed of
 * - `kms_timeout`: no answer in time
 * - `kms_unreachable`: no connection
 */
type AwsKmsErrorCode =
  | "aws_kms"
  | "clock_skew"
  | "invalid_argument"
  | "kms_closed"
  | "kms_timeout"
  | "kms_unreachable";

/** A call to KMS over HTTP(S) failed. Holds no credentials and no key. */
export class AwsKmsError extends EnclaveError {
  override name = "AwsKmsError";
  /** KMS's refusal, where it answered with one. */
  readonly kms: KmsReason | undefined;

  constructor(
    message: string,
    { kms, ...options }: {
      readonly code: AwsKmsErrorCode;
      readonly hint: string;
      readonly kms?: KmsReason | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(message, options);
    this.kms = kms;
  }
}

/** Options of {@link openAwsKms}. */
export interface AwsKmsOptions {
  /** Another endpoint than AWS's: `http://localhost:4566`. */
  readonly endpoint?: string | undefined;
  /** PEM of a CA to trust in addition to the public ones. */
  readonly ca?: string | undefined;
  /** Makes attestation documents; borrowed. Without it, requests are not attested. */
  readonly nsm?: Pick<Nsm, "attest"> | undefined;
  /** Time limit of a call, including connecting. Milliseconds. */
  readonly timeoutMs?: number;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string;
}

/**
 * Opens KMS over HTTP(S). Nothing is sent: the credentials come with each call. A key may be named by ARN, id or alias.
 *
 * @throws {EnclaveError} `aws_kms_refused` in an enclave, `invalid_endpoint`
 */
export async function openAwsKms({ nsm, nsmDevice, ...options }: AwsKmsOptions = {}): Promise<JsonKms> {
  refuseInEnclave({
    name: "development backend of KMS",
    code: "aws_kms_refused",
    why: "KMS would release keys to whoever holds the parent's credentials.",
    nsmDevice,
  });
  const api = new HttpsApi(options);
  return nsm === undefined ? JsonKms.plain(api, "aws") : await JsonKms.attested(api, nsm);
}

class HttpsApi implements KmsApi {
  #endpoint: string | undefined;
  #timeoutMs: number;
  #closed = new AbortController();
  #client: Deno.HttpClient;
  #counts = { calls: 0, failed: 0 };

  constructor(
    { endpoint, ca, timeoutMs = 10_000 }: Omit<AwsKmsOptions, "nsm" | "nsmDevice">,
  ) {
    this.#endpoint = endpoint === undefined ? undefined : parseEndpoint(endpoint);
    this.#client = Deno.createHttpClient(ca === undefined ? POOL : { ...POOL, caCerts: [ca] });
    this.#timeoutMs = timeoutMs;
  }

  health(): KmsHealth {
    return { ...(this.#endpoint === undefined ? {} : { endpoint: this.#endpoint }), ...this.#counts };
  }

  /** @throws {AwsKmsError} */
  async call(
    operation: KmsOperation,
    access: KmsAccess,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<KmsAnswer> {
    this.#counts.calls++;
    const ending = new AbortController();
    const end = () => ending.abort();
    const timer = setTimeout(end, this.#timeoutMs);
    this.#closed.signal.addEventListener("abort", end);
    try {
      checkAccess(access);
      return await this.#send(operation, access, JSON.stringify(fields), ending.signal);
    } catch (thrown) {
      this.#counts.failed++;
      if (thrown instanceof AwsKmsError) throw thrown;
      throw this.#connectionError(operation, ending.signal, thrown);
    } finally {
      clearTimeout(timer);
      this.#closed.signal.removeEventListener("abort", end);
    }
  }

  #connectionError(operation: KmsOperation, { aborted }: AbortSignal, cause: unknown): AwsKmsError {
    const failed = `KMS ${operation} failed`;
    if (this.#closed.signal.aborted) {
      const hint = "The service is ending.";
      return new AwsKmsError(`${failed}: the backend was closed`, { code: "kms_closed", hint });
    }
    if (aborted) {
      const hint = "Check that the endpoint can be reached from here, and is not overloaded.";
      return new AwsKmsError(`${failed}: no answer in time`, { code: "kms_timeout", hint, cause });
    }
    const hint = cause instanceof Deno.errors.NotCapable
      ? "This program may not connect there: it needs net permission for the endpoint."
      : "Check the endpoint, the region, the network and its certificate.";
    const message = `${failed}: no connection: ${messageOf(cause)}`;
    return new AwsKmsError(message, { code: "kms_unreachable", hint, cause });
  }

  /** Network errors are thrown unchanged. */
  async #send(
    operation: KmsOperation,
    { region, credentials }: KmsAccess,
    body: string,
    signal: AbortSignal,
  ): Promise<KmsAnswer> {
    const url = this.#endpoint ?? regionEndpoint(region);
    const text = (secret: Uint8Array) => new TextDecoder().decode(secret);
    const { accessKeyId, secretAccessKey, sessionToken } = credentials.expose();
    const token = text(sessionToken);
    const headers = new Headers({
      "content-type": "application/x-amz-json-1.1",
      "x-amz-target": `TrentService.${operation}`,
      ...(token === "" ? {} : { "x-amz-security-token": token }),
    });
    const response = await fetch(url, {
      method: "POST",
      headers: await signedHeaders({
        method: "POST",
        url,
        headers,
        body,
        service: "kms",
        region,
        stamp: stampOf(Date.now()),
        accessKeyId: text(accessKeyId),
        secretAccessKey,
      }),
      body,
      // A signed request must not be redirected to another host.
      redirect: "manual",
      signal,
      client: this.#client,
    });
    const bytes = await readCapped(response.body, MAX_ANSWER_LENGTH);
    if (bytes === undefined) throw strange(operation, `more than ${MAX_ANSWER_LENGTH} bytes`);
    const answer = parseObject(bytes);
    bytes.fill(0);
    if (response.status === 200 && answer !== undefined) return answer;
    throw refusal(operation, response.status, answer, credentials.expose());
  }

  /** Ends calls that are under way, and closes the connections. */
  [Symbol.dispose](): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#client.close();
  }
}

/** The region becomes part of a host's name, and the runtime's error for an invalid header would print the value. @throws {AwsKmsError} */
function checkAccess({ region, credentials }: KmsAccess): void {
  const refuse = (what: string, hint: string): never => {
    throw new AwsKmsError(`Cannot use ${what}`, { code: "invalid_argument", hint });
  };
  if (!isRegion(region)) {
    refuse(`region ${JSON.stringify(region.slice(0, 64))}`, "Give a region's name such as us-west-2.");
  }
  for (const name of CREDENTIALS) {
    const bytes = credentials.expose()[name];
    const isThere = bytes.length > 0 || name === "sessionToken";
    if (isThere && bytes.every((byte) => byte >= 0x21 && byte <= 0x7e)) continue;
    refuse(
      `${name}: it is empty, or has characters that no header can carry`,
      "Pass the string as AWS gave it, without line ends or spaces.",
    );
  }
}

function parseObject(bytes: Uint8Array): KmsAnswer | undefined {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
    // The JSON parser's message would quote the response, which may hold a key: it is dropped.
    return isObject(parsed) ? { ...parsed } : undefined;
  } catch {
    return undefined;
  }
}

function refusal(
  operation: KmsOperation,
  status: number,
  answer: KmsAnswer | undefined,
  credentials: CredentialBytes,
): AwsKmsError {
  const kms = answer === undefined ? undefined : redactedReason(answer, credentials);
  if (kms === undefined) {
    return strange(operation, `status ${status} and ${answer === undefined ? "no JSON" : "no reason"}`);
  }
  const message = `KMS ${operation} failed: ${kms.name}${kms.message === "" ? "" : `: ${kms.message}`}`;
  if (!/signature.*(expired|not yet current)/i.test(kms.message)) {
    return new AwsKmsError(message, { code: "aws_kms", kms, hint: hintFor(kms) });
  }
  const seconds = clockSkewOf(kms);
  const skew = seconds === undefined
    ? "off"
    : `${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} KMS's`;
  return new AwsKmsError(message, {
    code: "clock_skew",
    kms,
    hint: `This machine's clock is ${skew}: set it.`,
  });
}

/** Removes credentials: a signature error may quote the request's headers, including the session token. */
function redactedReason(
  answer: KmsAnswer,
  { secretAccessKey, sessionToken }: CredentialBytes,
): KmsReason | undefined {
  const secrets = [secretAccessKey, sessionToken]
    .filter(({ length }) => length >= MIN_SECRET_LENGTH)
    .map((secret) => new TextDecoder().decode(secret));
  const redact = (text: unknown) =>
    typeof text === "string"
      ? secrets.reduce((rest, secret) => rest.replaceAll(secret, "[secret]"), text)
      : text;
  return parseKmsReason({
    ...answer,
    message: redact(answer["message"]),
    Message: redact(answer["Message"]),
  });
}

/** An invalid response: possibly not from KMS. */
function strange(operation: KmsOperation, what: string): AwsKmsError {
  return new AwsKmsError(`Cannot use KMS's answer to ${operation}: it answered with ${what}`, {
    code: "aws_kms",
    hint: "Check that the endpoint is KMS's, and that no proxy answers in its place.",
  });
}
