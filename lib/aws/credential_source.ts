/**
 * The parent's AWS credentials: kept until shortly before they expire, renewed when somebody says that they have. Where they come from is
 * `provider_chain.ts`'s business.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";

/** A set of credentials. */
export interface ParentCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Absent for long-lived keys. */
  readonly sessionToken?: string;
  /** Absent for long-lived keys. */
  readonly expiration?: Date;
}

/** Options of {@link CredentialSource}. */
export interface CredentialSourceOptions {
  /** Fresh ones are asked for so long before the old ones expire. Milliseconds. */
  readonly earlyMs?: number;
  /** The provider may take so long. Milliseconds. */
  readonly deadlineMs?: number;
  readonly now?: () => number;
}

/** Keeps credentials, and fetches fresh ones when they are about to expire. */
export class CredentialSource {
  #provide: () => Promise<ParentCredentials>;
  #options: Required<CredentialSourceOptions>;
  #held: ParentCredentials | undefined;
  #fetching: Promise<ParentCredentials> | undefined;

  constructor(provide: () => Promise<ParentCredentials>, options: CredentialSourceOptions = {}) {
    this.#provide = provide;
    this.#options = { earlyMs: 300_000, deadlineMs: 15_000, now: () => Date.now(), ...options };
  }

  /**
   * Credentials that are good for a while.
   *
   * @throws {EnclaveError} `no_credentials`
   */
  async get(): Promise<ParentCredentials> {
    const held = this.#held;
    const left = held === undefined ? 0 : (held.expiration?.getTime() ?? Infinity) - this.#options.now();
    if (held !== undefined && left > this.#options.earlyMs) return held;
    try {
      return await this.refresh();
    } catch (thrown) {
      // The provider is away, and what is there still works.
      if (held !== undefined && left > 0) return held;
      throw thrown;
    }
  }

  /**
   * Fresh ones, whatever is held: somebody said that those have expired. Several who ask at once share one answer.
   *
   * @throws {EnclaveError} `no_credentials`
   */
  refresh(): Promise<ParentCredentials> {
    this.#fetching ??= this.#fetch().finally(() => this.#fetching = undefined);
    return this.#fetching;
  }

  async #fetch(): Promise<ParentCredentials> {
    const { deadlineMs } = this.#options;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`nothing came within ${deadlineMs} ms`)), deadlineMs);
    try {
      this.#held = await Promise.race([this.#provide(), late]);
      return this.#held;
    } catch (thrown) {
      throw new EnclaveError(`There are no AWS credentials: ${messageOf(thrown)}`, {
        code: "no_credentials",
        hint:
          "On an instance attach an IAM role (and let the metadata service answer: hop limit 2 in a container); elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with SSO.",
        cause: thrown,
      });
    } finally {
      clearTimeout(timer);
    }
  }
}
