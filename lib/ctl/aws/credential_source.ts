/**
 * The parent's AWS credentials: kept until shortly before they expire, and renewed early when a caller reports that they have expired.
 * `provider_chain.ts` fetches them.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";

/** A set of credentials. */
export interface ParentCredentials {
  /** As AWS names it. */
  readonly accessKeyId: string;
  /** As AWS names it. */
  readonly secretAccessKey: string;
  /** Absent for long-lived keys. */
  readonly sessionToken?: string;
  /** Absent for long-lived keys. */
  readonly expiration?: Date;
}

/** How long before expiry fresh credentials are fetched. Milliseconds. */
const EARLY_MS = 300_000;

/** Options of {@link CredentialSource}. */
export interface CredentialSourceOptions {
  /** Time limit of the provider. Milliseconds. */
  readonly deadlineMs?: number;
  /** This clock, milliseconds since 1970. */
  readonly now?: () => number;
  /** The profile that the provider was told to use, for errors. */
  readonly profile?: string | undefined;
}

/** Keeps credentials, and fetches fresh ones when they are about to expire. */
export class CredentialSource {
  #provide: () => Promise<ParentCredentials>;
  #options: Required<Omit<CredentialSourceOptions, "profile">> & Pick<CredentialSourceOptions, "profile">;
  #held: ParentCredentials | undefined;
  #fetching: Promise<ParentCredentials> | undefined;
  #since: number | undefined;

  /**
   * Fetches nothing yet.
   *
   * @param provide gives fresh credentials, as a provider of the AWS SDK does
   */
  constructor(provide: () => Promise<ParentCredentials>, options: CredentialSourceOptions = {}) {
    this.#provide = provide;
    this.#options = { deadlineMs: 15_000, now: () => Date.now(), ...options };
  }

  /** When the current ones were fetched, milliseconds since 1970; undefined before the first fetch. */
  get since(): number | undefined {
    return this.#since;
  }

  /**
   * Credentials that are not about to expire.
   *
   * @throws {EnclaveError} `no_credentials`
   */
  async get(): Promise<ParentCredentials> {
    const held = this.#held;
    const left = held === undefined ? 0 : (held.expiration?.getTime() ?? Infinity) - this.#options.now();
    if (held !== undefined && left > EARLY_MS) return held;
    try {
      return await this.refresh();
    } catch (thrown) {
      // The provider failed, but the current credentials are still valid.
      if (held !== undefined && left > 0) return held;
      throw thrown;
    }
  }

  /**
   * Fetches fresh credentials, even if the current ones look valid: the caller reports that they have expired. Concurrent calls share one fetch.
   *
   * @throws {EnclaveError} `no_credentials`
   */
  refresh(): Promise<ParentCredentials> {
    this.#fetching ??= this.#fetch().finally(() => this.#fetching = undefined);
    return this.#fetching;
  }

  async #fetch(): Promise<ParentCredentials> {
    const { deadlineMs, profile } = this.#options;
    const late = () => new Error(`nothing came within ${deadlineMs} ms`);
    try {
      this.#held = await within(deadlineMs, this.#provide(), late);
      this.#since = this.#options.now();
      return this.#held;
    } catch (thrown) {
      throw new EnclaveError(`There are no AWS credentials: ${messageOf(thrown)}`, {
        code: "no_credentials",
        hint: profile !== undefined
          ? `AWS_PROFILE is ${profile}: check that the AWS configuration has this profile and that it is logged in, or unset AWS_PROFILE.`
          : "On an instance attach an IAM role (and let the metadata service answer: hop limit 2 in a container); elsewhere set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with SSO.",
        cause: thrown,
      });
    }
  }
}
