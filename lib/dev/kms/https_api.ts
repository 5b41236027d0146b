/**
 * KMS's JSON API over HTTP(S), for development: signed requests with a deadline, a cap on the response, and retries where these can help. Refuses
 * to start where there is an NSM. Needs net permission for the endpoint and `--allow-ffi` for libc.
 *
 * @module
 */
import type { Nsm } from "../../enclave/cli/nsm.ts";
import type { KmsAccess, KmsHealth } from "../../enclave/kms/kms.ts";
import type { Credentials } from "../../shared/aws/credentials.ts";
import { parseEndpoint, regionEndpoint } from "../../shared/aws/endpoint.ts";
import { clockSkewOf, hintFor, type KmsReason, parseKmsReason } from "../../shared/aws/kms_reasons.ts";
import { isRegion } from "../../shared/aws/region.ts";
import type { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { refuseInEnclave } from "../outside_enclave.ts";
import { JsonKms, type KmsAnswer, type KmsApi, type KmsOperation } from "./json_kms.ts";
import { readCapped } from "./read_capped.ts";
import { signedHeaders, stampOf } from "./sigv4.ts";

/** The largest response: eight times a CiphertextBlob of 6144 bytes in base64. */
const MAX_ANSWER_LENGTH = 64 * 1024;
const MAX_ATTEMPTS = 3;
const PAUSE_MS = { first: 100, longest: 2_000 } as const;
/** AWS's secrets have 40 characters; short invented ones of a development KMS could occur in any message. */
const MIN_SECRET_LENGTH = 12;
const POOL = { poolMaxIdlePerHost: 4, poolIdleTimeout: 20_000 } as const;
/** Retryable errors, in addition to HTTP status 429 and 5xx. */
const THROTTLING = /^(Throttling(Exception)?|RequestThrottled(Exception)?|TooManyRequestsException)$/;

/**
 * Stable codes:
 * - `aws_kms`: KMS refused (`kms` has its error), or the response is invalid (`kms` is undefined)
 * - `clock_skew`: KMS refused because this machine's clock is off
 * - `invalid_argument`: refused before anything was sent
 * - `kms_closed`: the backend was disposed of
 * - `kms_timeout`: no answer before the deadline
 * - `kms_unreachable`: no connection
 */
export type AwsKmsErrorCode =
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
  /** Whether a retry may succeed. */
  readonly isPassing: boolean;

  constructor(
    message: string,
    { kms, isPassing = false, ...options }: {
      readonly code: AwsKmsErrorCode;
      readonly hint: string;
      readonly kms?: KmsReason | undefined;
      readonly isPassing?: boolean;
      readonly cause?: unknown;
    },
  ) {
    super(message, options);
    this.kms = kms;
    this.isPassing = isPassing;
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
  /** Time limit of one attempt, including connecting. Milliseconds. */
  readonly attemptMs?: number;
  /** Time limit of a call, including its retries and the pauses between them. Milliseconds. */
  readonly deadlineMs?: number;
  /** Random numbers from 0 to 1. For tests. */
  readonly random?: () => number;
  /** Wall clock, milliseconds since 1970. For tests. */
  readonly now?: () => number;
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
  #attemptMs: number;
  #deadlineMs: number;
  #random: () => number;
  #now: () => number;
  #closed = new AbortController();
  #client: Deno.HttpClient;
  #counts = { calls: 0, attempts: 0, failed: 0 };

  constructor({ endpoint, ca, ...options }: Omit<AwsKmsOptions, "nsm" | "nsmDevice">) {
    this.#endpoint = endpoint === undefined ? undefined : parseEndpoint(endpoint);
    this.#client = Deno.createHttpClient(ca === undefined ? POOL : { ...POOL, caCerts: [ca] });
    this.#attemptMs = options.attemptMs ?? 5_000;
    this.#deadlineMs = options.deadlineMs ?? 20_000;
    this.#random = options.random ?? Math.random;
    this.#now = options.now ?? Date.now;
  }

  health(): KmsHealth {
    return { ...(this.#endpoint === undefined ? {} : { endpoint: this.#endpoint }), ...this.#counts };
  }

  /** Makes up to three attempts, with pauses of random length between them (full jitter), all within the deadline. @throws {AwsKmsError} */
  async call(
    operation: KmsOperation,
    access: KmsAccess,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<KmsAnswer> {
    this.#counts.calls++;
    const body = JSON.stringify(fields);
    const endsAt = performance.now() + this.#deadlineMs;
    for (let attempt = 1;; attempt++) {
      try {
        const remaining = endsAt - performance.now();
        return await this.#attempt(operation, access, body, Math.min(this.#attemptMs, remaining));
      } catch (thrown) {
        const pause = this.#random() * Math.min(PAUSE_MS.longest, PAUSE_MS.first * 2 ** (attempt - 1));
        const isPassing = thrown instanceof AwsKmsError && thrown.isPassing && attempt < MAX_ATTEMPTS;
        // A pause that ends after the deadline would replace the known error by a time-out.
        if (!isPassing || performance.now() + pause >= endsAt) {
          this.#counts.failed++;
          throw thrown;
        }
        await sleep(pause, this.#closed.signal);
      }
    }
  }

  async #attempt(operation: KmsOperation, access: KmsAccess, body: string, ms: number): Promise<KmsAnswer> {
    this.#throwIfClosed(operation);
    checkAccess(access);
    this.#counts.attempts++;
    const ending = new AbortController();
    const end = () => ending.abort();
    const timer = setTimeout(end, ms);
    this.#closed.signal.addEventListener("abort", end);
    try {
      return await this.#send(operation, access, body, ending.signal);
    } catch (thrown) {
      if (thrown instanceof AwsKmsError) throw thrown;
      this.#throwIfClosed(operation);
      throw ending.signal.aborted ? timedOut(operation, thrown) : unreachable(operation, thrown);
    } finally {
      clearTimeout(timer);
      this.#closed.signal.removeEventListener("abort", end);
    }
  }

  /** Network errors are thrown unchanged. */
  async #send(
    operation: KmsOperation,
    { region, credentials }: KmsAccess,
    body: string,
    signal: AbortSignal,
  ): Promise<KmsAnswer> {
    const url = this.#endpoint ?? regionEndpoint(region);
    const text = (secret: SecretBytes) => new TextDecoder().decode(secret.expose());
    const token = text(credentials.sessionToken);
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
        stamp: stampOf(this.#now()),
        accessKeyId: text(credentials.accessKeyId),
        secretAccessKey: credentials.secretAccessKey,
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
    throw refusal(operation, response.status, answer, credentials);
  }

  #throwIfClosed(operation: KmsOperation): void {
    if (!this.#closed.signal.aborted) return;
    throw new AwsKmsError(`KMS ${operation} failed: the backend was closed`, {
      code: "kms_closed",
      hint: "The service is ending.",
    });
  }

  /** Ends calls that are under way, and closes the connections. */
  [Symbol.dispose](): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#client.close();
  }
}

/** Sleeps, or ends early without an error when the signal aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  const timer = setTimeout(end, ms);
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  });
}

/** The region becomes part of a host's name, and the runtime's error for an invalid header would print the value. @throws {AwsKmsError} */
function checkAccess({ region, credentials }: KmsAccess): void {
  const refuse = (what: string, hint: string): never => {
    throw new AwsKmsError(`Cannot use ${what}`, { code: "invalid_argument", hint });
  };
  if (!isRegion(region)) {
    refuse(`region ${JSON.stringify(region.slice(0, 64))}`, "Give a region's name such as us-west-2.");
  }
  for (const name of ["accessKeyId", "secretAccessKey", "sessionToken"] as const) {
    const bytes = credentials[name].expose();
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
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? { ...parsed }
      : undefined;
  } catch {
    return undefined;
  }
}

function refusal(
  operation: KmsOperation,
  status: number,
  answer: KmsAnswer | undefined,
  credentials: Credentials,
): AwsKmsError {
  const kms = answer === undefined ? undefined : redactedReason(answer, credentials);
  const isPassing = status === 429 || status >= 500 || (kms !== undefined && THROTTLING.test(kms.name));
  const failed = `KMS ${operation} failed`;
  if (kms !== undefined) {
    const message = `${failed}: ${kms.name}${kms.message === "" ? "" : `: ${kms.message}`}`;
    if (!/signature.*(expired|not yet current)/i.test(kms.message)) {
      return new AwsKmsError(message, { code: "aws_kms", kms, hint: hintFor(kms), isPassing });
    }
    const seconds = clockSkewOf(kms);
    const skew = seconds === undefined
      ? "off"
      : `${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} KMS's`;
    const hint = `This machine's clock is ${skew}: set it.`;
    return new AwsKmsError(message, { code: "clock_skew", kms, hint, isPassing });
  }
  if (!isPassing) {
    return strange(operation, `status ${status} and ${answer === undefined ? "no JSON" : "no reason"}`);
  }
  return new AwsKmsError(`${failed} with status ${status} and gave no reason`, {
    code: "aws_kms",
    hint: "KMS, or something before it, is overloaded or broken: try again later.",
    isPassing,
  });
}

/** Removes credentials: a signature error may quote the request's headers, including the session token. */
function redactedReason(
  answer: KmsAnswer,
  { secretAccessKey, sessionToken }: Credentials,
): KmsReason | undefined {
  const secrets = [secretAccessKey, sessionToken]
    .filter(({ length }) => length >= MIN_SECRET_LENGTH)
    .map((secret) => new TextDecoder().decode(secret.expose()));
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

function timedOut(operation: KmsOperation, cause: unknown): AwsKmsError {
  return new AwsKmsError(`KMS ${operation} failed: no answer in time`, {
    code: "kms_timeout",
    hint: "Check that the endpoint can be reached from here, and is not overloaded.",
    isPassing: true,
    cause,
  });
}

function unreachable(operation: KmsOperation, cause: unknown): AwsKmsError {
  return new AwsKmsError(`KMS ${operation} failed: no connection: ${messageOf(cause)}`, {
    code: "kms_unreachable",
    hint: cause instanceof Deno.errors.NotCapable
      ? "This program may not connect there: it needs net permission for the endpoint."
      : "Check the endpoint, the region, the network and its certificate.",
    isPassing: cause instanceof TypeError,
    cause,
  });
}
