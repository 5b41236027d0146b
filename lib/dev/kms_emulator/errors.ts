/**
 * The local KMS's errors, with AWS's names, and AWS's messages where they are known.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

/** Errors with a status other than 400, the status of client errors in KMS's JSON protocol. */
const STATUSES: Readonly<Record<string, number>> = {
  UnknownOperationException: 404,
  KMSInternalException: 500,
};

/** A request was refused. The message is sent to the client and never holds a secret. */
export class KmsRefusal extends EnclaveError {
  override name = "KmsRefusal";
  /** AWS's name of the error, and the message for the client. */
  readonly kms: { readonly name: string; readonly message: string };

  /**
   * Made with AWS's error name.
   *
   * @param name AWS's, such as `AccessDeniedException`
   * @param hint for the operator of the server
   */
  constructor(name: string, message: string, { hint, cause }: { hint?: string; cause?: unknown } = {}) {
    super(`${name}: ${message}`, { code: "kms_refused", hint, cause });
    this.kms = { name, message };
  }

  /** HTTP's status. */
  get status(): number {
    return Object.hasOwn(STATUSES, this.kms.name) ? STATUSES[this.kms.name] ?? 400 : 400;
  }
}

/** A parameter of the request is not valid for KMS. */
export function invalid(message: string, cause?: unknown): KmsRefusal {
  return new KmsRefusal("ValidationException", message, { cause });
}
