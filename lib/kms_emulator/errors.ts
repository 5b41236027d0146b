/**
 * How the local KMS says no: by AWS's names, in AWS's words where they are known.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

/** Statuses that are not 400, which is what KMS's JSON protocol gives every refusal that is the client's doing. */
const STATUSES: Readonly<Record<string, number>> = {
  UnknownOperationException: 404,
  RequestTimeoutException: 408,
  RequestEntityTooLargeException: 413,
  KMSInternalException: 500,
  ServiceUnavailableException: 503,
};

/** A request was refused. Its message goes to the client: it never holds a secret. */
export class KmsRefusal extends EnclaveError {
  /** AWS's name for it, and the words that the client gets. */
  readonly kms: { readonly name: string; readonly message: string };

  /**
   * By its name.
   *
   * @param name AWS's, such as `AccessDeniedException`
   * @param hint for the one who runs the server
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

/** A parameter of the request is not as KMS takes it. */
export function invalid(message: string, cause?: unknown): KmsRefusal {
  return new KmsRefusal("ValidationException", message, { cause });
}
