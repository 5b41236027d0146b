/**
 * The local KMS's event log: what CloudTrail would show of each request. It never has plaintexts, ciphertexts, keys or credentials, except the access key's id.
 *
 * @module
 */
import type { EncryptionContext } from "../../enclave/kms/kms.ts";
import type { KmsRefusal } from "./errors.ts";
import type { Decision } from "./policy.ts";
import type { Recipient } from "./recipient.ts";
import type { Identity } from "./signature.ts";

/** CloudTrail's names of the parameters. */
interface RequestParameters {
  keyId?: string;
  keySpec?: string;
  numberOfBytes?: number;
  encryptionAlgorithm?: string;
  encryptionContext?: EncryptionContext;
}

/** The facts of a request that is being answered. */
export interface AuditDraft {
  readonly operation: string;
  readonly requestId: string;
  identity?: Identity;
  parameters: RequestParameters;
  keyArn?: string;
  recipient?: Recipient;
  decision?: Decision;
}

/** An event. */
export type AuditEvent = ReturnType<typeof auditEvent>;

/** PCRs that CloudTrail shows in addition to PCR0. */
const SHOWN_PCRS = [1, 2, 3, 4, 8] as const;
const WRITING = /^(Create|Put|Enable|Disable)/;
const MAX_NAME_LENGTH = 64;

function recipientData({ document: { moduleId, pcrs } }: Recipient): Readonly<Record<string, string>> {
  const shown = SHOWN_PCRS.filter((index) => pcrs.has(index))
    .map((index) => [`attestationDocumentEnclavePCR${index}`, pcrs.get(index) ?? ""] as const);
  return {
    attestationDocumentModuleId: moduleId,
    attestationDocumentEnclaveImageDigest: pcrs.get(0) ?? "",
    ...Object.fromEntries(shown),
  };
}

/** The statement that decided, and notes, which AWS's log does not show. */
function decisionData({ by = "no statement", notes }: Decision): Readonly<Record<string, unknown>> {
  return { decidedBy: by, ...(notes.length === 0 ? {} : { notes }) };
}

/** The event of a request that was answered, or refused. */
export function auditEvent(
  draft: AuditDraft,
  { time, region, refusal }: {
    readonly time: Date;
    readonly region: string;
    readonly refusal: KmsRefusal | undefined;
  },
) {
  const { operation, requestId, identity, parameters, keyArn, recipient, decision } = draft;
  const additional = {
    ...(recipient === undefined ? {} : { recipient: recipientData(recipient) }),
    ...(decision === undefined ? {} : { keyPolicy: decisionData(decision) }),
  };
  return {
    eventVersion: "1.11",
    eventTime: time.toISOString(),
    eventSource: "kms.amazonaws.com",
    eventName: operation.slice(0, MAX_NAME_LENGTH),
    awsRegion: region,
    userIdentity: identity === undefined ? { type: "Unknown" } : {
      type: identity.caller.arn.endsWith(":root") ? "Root" : "AssumedRole",
      arn: identity.caller.arn,
      accountId: identity.caller.account,
      accessKeyId: identity.accessKeyId,
    },
    requestParameters: Object.keys(parameters).length === 0 ? null : { ...parameters },
    ...(Object.keys(additional).length === 0 ? {} : { additionalEventData: additional }),
    ...(refusal === undefined ? {} : {
      errorCode: refusal.kms.name,
      errorMessage: refusal.kms.message,
    }),
    requestID: requestId,
    readOnly: !WRITING.test(operation),
    ...(keyArn === undefined ? {} : { resources: [{ type: "AWS::KMS::Key", ARN: keyArn }] }),
  };
}
