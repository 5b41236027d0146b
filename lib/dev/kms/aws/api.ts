/**
 * Calls to KMS's JSON API over HTTP(S): signed, with a deadline for each attempt and for the whole call, a cap on the response, and retries
 * where these can help. Needs net permission for the endpoint.
 *
 * @module
 */
import { hintFor, type KmsReason, parseKmsReason } from "../../../shared/aws/kms_reasons.ts";
import { EnclaveError, messageOf } from "../../../shared/errors.ts";
import type { KmsAccess } from "../../../enclave/kms/kms.ts";
import { Deadline, sleep } from "./deadline.ts";
import { parseEndpoint, regionEndpoint } from "../../../shared/aws/endpoint.ts";
import { AwsKmsError } from "./errors.ts";
import { type KmsOperation, signRequest } from "./sign.ts";

/** The largest response: eight times a CiphertextBlob of 6144 bytes in base64. */
const MAX_ANSWER_LENGTH = 64 * 1024;
const MAX_ATTEMPTS = 3;
const PAUSE_MS = { first: 100, longest: 2_000 } as const;
/** AWS's secrets have 40 characters; short invented ones of a development KMS could occur in any message. */
const MIN_SECRET_LENGTH = 12;
const POOL = { poolMaxIdlePerHost: 4, poolIdleTimeout: 20_000 } as const;
/** Retryable errors, in addition to HTTP status 429 and 5xx. */
const THROTTLING = /^(Throttling(Exception)?|RequestThrottled(Exception)?|TooManyRequestsException)$/;

/** Options of {@link KmsApi}. */
export interface KmsApiOptions {
  /** Another endpoint than AWS's, for development: `http://localhost:4566`. */
  readonly endpoint?: string | undefined;
  /** PEM of a CA to trust in addition to the public ones, for a development KMS with its own CA. */
  readonly ca?: string | undefined;
  /** Time limit of one attempt, including connecting. Milliseconds. */
  readonly attemptMs?: number;
  /** Time limit of a call, including its retries and the pauses between them. Milliseconds. */
  readonly deadlineMs?: number;
  /** Pauses between attempts; ends early when the signal aborts. For tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Random numbers from 0 to 1. For tests. */
  readonly random?: () => number;
  /** Wall clock, milliseconds since 1970. For tests. */
  readonly now?: () => number;
}

/** The members of KMS's response; the reader must remove a plaintext from it. */
export type KmsAnswer = Record<string, unknown>;

/** The outcome of a failed attempt. */
interface Failure {
  readonly error: AwsKmsError;
  /** Whether a retry may succeed. */
  readonly isPassing: boolean;
}

/** The parameters of an attempt. */
interface Attempt {
  readonly operation: KmsOperation;
  readonly access: KmsAccess;
  readonly body: string;
  readonly deadline: Deadline;
}

/** KMS's response before it is parsed. */
interface RawAnswer {
  readonly status: number;
  readonly date: string | undefined;
  readonly parsed: KmsAnswer | undefined;
}

/** KMS's JSON API. */
export class KmsApi implements Disposable {
  /** The configured endpoint, or undefined for AWS's own. */
  readonly endpoint: string | undefined;
  #options: Required<Omit<KmsApiOptions, "endpoint" | "ca">>;
  #closed = new AbortController();
  #client: Deno.HttpClient;
  #counts = { calls: 0, attempts: 0, failed: 0 };

  /** @throws {EnclaveError} `invalid_endpoint` */
  constructor({ endpoint, ca, ...options }: KmsApiOptions) {
    this.endpoint = endpoint === undefined ? undefined : parseEndpoint(endpoint);
    this.#client = Deno.createHttpClient(ca === undefined ? POOL : { ...POOL, caCerts: [ca] });
    this.#options = {
      attemptMs: 5_000,
      deadlineMs: 20_000,
      sleep,
      random: () => Math.random(),
      now: () => Date.now(),
      ...options,
    };
  }

  /** Number of calls, attempts and failures. */
  get counts(): Readonly<{ calls: number; attempts: number; failed: number }> {
    return { ...this.#counts };
  }

  /**
   * Makes a call: up to three attempts, with pauses of random length between them (full jitter), all within the deadline.
   *
   * @param access borrowed
   * @throws {AwsKmsError}
   * @throws {SdkArgumentError} when a credential cannot be sent.
   */
  async call(
    operation: KmsOperation,
    access: KmsAccess,
    fields: Readonly<Record<string, unknown>>,
  ): Promise<KmsAnswer> {
    this.#counts.calls++;
    try {
      return await this.#call(operation, access, JSON.stringify(fields));
    } catch (thrown) {
      this.#counts.failed++;
      throw thrown;
    }
  }

  async #call(operation: KmsOperation, access: KmsAccess, body: string): Promise<KmsAnswer> {
    using overall = new Deadline(this.#options.deadlineMs, this.#closed.signal);
    for (let attempt = 1;; attempt++) {
      this.#throwIfClosed(operation);
      const outcome = await this.#attempt(operation, access, body, overall);
      if (!isFailure(outcome)) return outcome;
      const { error, isPassing } = outcome;
      if (!isPassing || attempt === MAX_ATTEMPTS || overall.signal.aborted) throw error;
      const pause = this.#options.random() * Math.min(PAUSE_MS.longest, PAUSE_MS.first * 2 ** (attempt - 1));
      // A pause that ends after the deadline would replace the known error by a time-out.
      if (pause >= overall.remainingMs) throw error;
      await this.#options.sleep(pause, overall.signal);
      if (overall.isOver) throw error;
    }
  }

  async #attempt(
    operation: KmsOperation,
    access: KmsAccess,
    body: string,
    overall: Deadline,
  ): Promise<KmsAnswer | Failure> {
    this.#counts.attempts++;
    using deadline = new Deadline(Math.min(this.#options.attemptMs, overall.remainingMs), overall.signal);
    const attempt = { operation, access, body, deadline };
    try {
      return await this.#send(attempt);
    } catch (thrown) {
      if (thrown instanceof EnclaveError) throw thrown;
      this.#throwIfClosed(operation);
      return deadline.signal.aborted
        ? { error: timedOut(operation, thrown), isPassing: true }
        : { error: unreachable(operation, thrown), isPassing: thrown instanceof TypeError };
    }
  }

  /** Network errors are thrown unchanged. */
  async #send(attempt: Attempt): Promise<KmsAnswer | Failure> {
    const { operation, access, body, deadline } = attempt;
    const url = this.endpoint ?? regionEndpoint(access.region);
    const now = this.#options.now();
    const headers = await signRequest(
      { url, region: access.region, operation, body, now },
      access.credentials,
    );
    const response = await fetch(url, {
      method: "POST",
      headers,
      body,
      // A signed request must not be redirected to another host.
      redirect: "manual",
      signal: deadline.signal,
      client: this.#client,
    });
    using bytes = await readCapped(response);
    if (bytes.isTooLong) {
      return strange(operation, `it answered with more than ${MAX_ANSWER_LENGTH} bytes`);
    }
    const raw = {
      status: response.status,
      date: response.headers.get("date") ?? undefined,
      parsed: parseObject(bytes.contents),
    };
    if (raw.status === 200 && raw.parsed !== undefined) return raw.parsed;
    return refusal(attempt, raw, now);
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

function isFailure(outcome: KmsAnswer | Failure): outcome is Failure {
  return "error" in outcome && outcome.error instanceof AwsKmsError;
}

/** A body that was read; disposing wipes it. */
interface CappedBody extends Disposable {
  readonly isTooLong: boolean;
  readonly contents: Uint8Array<ArrayBuffer>;
}

async function readCapped(response: Response): Promise<CappedBody> {
  const buffer = new Uint8Array(MAX_ANSWER_LENGTH);
  let length = 0;
  let isTooLong = false;
  const reader = response.body?.getReader();
  try {
    while (reader !== undefined && !isTooLong) {
      const { value, done } = await reader.read();
      if (done) break;
      isTooLong = length + value.length > MAX_ANSWER_LENGTH;
      if (!isTooLong) buffer.set(value, length);
      length += value.length;
      value.fill(0);
    }
  } catch (thrown) {
    buffer.fill(0);
    throw thrown;
  } finally {
    if (isTooLong) await reader?.cancel().catch(() => {});
  }
  return {
    isTooLong,
    contents: buffer.subarray(0, Math.min(length, MAX_ANSWER_LENGTH)),
    [Symbol.dispose]: () => void buffer.fill(0),
  };
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

function refusal({ operation, access }: Attempt, { status, date, parsed }: RawAnswer, now: number): Failure {
  const kms = parsed === undefined ? undefined : redactedReason(parsed, access);
  const isThrottling = status === 429 || (kms !== undefined && THROTTLING.test(kms.name));
  if (kms === undefined) {
    if (status >= 200 && status < 500 && !isThrottling) {
      return strange(
        operation,
        parsed === undefined
          ? `it answered with status ${status} and no JSON`
          : `it answered with status ${status} and gave no reason`,
      );
    }
    const error = new AwsKmsError(`KMS ${operation} failed with status ${status} and gave no reason`, {
      code: "aws_kms",
      hint: "KMS, or something before it, is overloaded or broken: try again later.",
    });
    return { error, isPassing: true };
  }
  const skew = clockSkew(kms, date, now);
  const error = new AwsKmsError(
    `KMS ${operation} failed: ${kms.name}${kms.message === "" ? "" : `: ${kms.message}`}`,
    { code: skew === undefined ? "aws_kms" : "clock_skew", kms, hint: skew ?? hintFor(kms) },
  );
  return { error, isPassing: isThrottling || status >= 500 };
}

/** Removes credentials: a signature error may quote the request's headers, including the session token. */
function redactedReason(answer: KmsAnswer, { credentials }: KmsAccess): KmsReason | undefined {
  const secrets = [credentials.secretAccessKey, credentials.sessionToken]
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

/** What to do when KMS refused because this machine's clock is off; undefined for other refusals. */
function clockSkew(kms: KmsReason, date: string | undefined, now: number): string | undefined {
  if (!/signature.*(expired|not yet current)/i.test(kms.message)) return undefined;
  const theirs = date === undefined ? NaN : Date.parse(date);
  if (Number.isNaN(theirs)) return "This machine's clock is off: set it.";
  const seconds = Math.round((now - theirs) / 1_000);
  return `This machine's clock is ${Math.abs(seconds)} s ${
    seconds > 0 ? "ahead of" : "behind"
  } KMS's: set it.`;
}

/** An invalid response: possibly not from KMS. */
function strange(operation: KmsOperation, what: string): Failure {
  return { error: unbelievable(operation, what), isPassing: false };
}

/** The error for a response that must not be trusted. */
export function unbelievable(operation: KmsOperation, what: string): AwsKmsError {
  return new AwsKmsError(`Cannot use KMS's answer to ${operation}: ${what}`, {
    code: "aws_kms",
    hint: "Check that the endpoint is KMS's, and that no proxy answers in its place.",
  });
}

function timedOut(operation: KmsOperation, cause: unknown): AwsKmsError {
  return new AwsKmsError(`KMS ${operation} failed: no answer in time`, {
    code: "kms_timeout",
    hint: "Check that the endpoint can be reached from here, and is not overloaded.",
    cause,
  });
}

function unreachable(operation: KmsOperation, cause: unknown): AwsKmsError {
  return new AwsKmsError(`KMS ${operation} failed: no connection: ${messageOf(cause)}`, {
    code: "kms_unreachable",
    hint: cause instanceof Deno.errors.NotCapable
      ? "This program may not connect there: it needs net permission for the endpoint."
      : "Check the endpoint, the region, the network and its certificate.",
    cause,
  });
}
