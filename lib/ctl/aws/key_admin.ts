/**
 * Administration of a KMS key from the parent or an administrator's machine: its state, policy and grants, and the caller's identity. The implementation is
 * `open_key_admin.ts`, which needs the AWS SDK.
 *
 * @module
 */
import { parentAdvice } from "./advice.ts";
import type { AwsMeaning } from "../../shared/aws/errors.ts";
import { EnclaveError, type EnclaveErrorOptions, messageOf } from "../../shared/errors.ts";

/** Codes of {@link KeyAdminError}. */
export type KeyAdminCode =
  | "kms_denied"
  | "kms_not_found"
  | "kms_refused"
  | "credentials_expired"
  | "credentials_refused"
  | "kms_unavailable";

/** The code of each meaning of an AWS error. */
export const KMS_CODES: Readonly<Record<AwsMeaning, KeyAdminCode>> = {
  denied: "kms_denied",
  expired: "credentials_expired",
  credentials: "credentials_refused",
  missing: "kms_not_found",
  refused: "kms_refused",
  unavailable: "kms_unavailable",
};

/** KMS or STS refused, or did not answer. */
export class KeyAdminError extends EnclaveError {
  override name = "KeyAdminError";
  /** One of {@link KeyAdminCode}. */
  declare readonly code: KeyAdminCode;

  constructor(message: string, options: EnclaveErrorOptions<KeyAdminCode>) {
    super(message, options);
  }
}

/**
 * Runs a call of KMS or STS.
 *
 * @param doing for the message: what cannot be done
 * @param about what the advice is for
 * @throws {KeyAdminError} in place of an error of the AWS SDK.
 */
export async function awsCall<T>(
  doing: () => string,
  about: Parameters<typeof parentAdvice>[1],
  run: () => Promise<T>,
  otherHint: () => string | undefined = () => undefined,
): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    if (thrown instanceof EnclaveError) throw thrown;
    const name = thrown instanceof Error ? thrown.name : "";
    const { meaning, hint } = parentAdvice(name, about);
    throw new KeyAdminError(`Cannot ${doing()}: ${name}: ${messageOf(thrown)}`, {
      code: KMS_CODES[meaning],
      hint: otherHint() ?? hint,
      cause: thrown,
    });
  }
}

/** A key as KMS describes it. */
export interface KeyDescription {
  readonly arn: string;
  /** Such as `Enabled`. */
  readonly state: string;
  readonly usage: string;
  readonly spec: string;
  readonly origin: string;
  readonly multiRegion: boolean;
}

/** A grant that is in force. */
export interface GrantFact {
  readonly id: string;
  readonly grantee: string;
  readonly operations: readonly string[];
}

/** What can be asked about one key, and the one thing that can be changed. */
export interface KeyAdmin extends Disposable {
  /** @throws {KeyAdminError} */
  readonly describe: () => Promise<KeyDescription>;
  /** The policy's text. @throws {KeyAdminError} */
  readonly getPolicy: () => Promise<string>;
  /** Keeps KMS's own lockout check enabled. @throws {KeyAdminError} */
  readonly putPolicy: (policy: string) => Promise<void>;
  /** @throws {KeyAdminError} */
  readonly listGrants: () => Promise<readonly GrantFact[]>;
  /** The caller's ARN, as STS names it. @throws {KeyAdminError} */
  readonly callerArn: () => Promise<string>;
}
