/**
 * GetCallerIdentity of STS, which the administrator's tools call to learn their own ARN. AWS Query protocol: a form in, XML out.
 *
 * @module
 */
import type { KmsRefusal } from "./errors.ts";
import { type Caller, sessionArn } from "./policy.ts";
import type { SignedRequest } from "./signature.ts";

const FORM_TYPE = "application/x-www-form-urlencoded";
const MAX_BODY_LENGTH = 2048;

/** Whether a request is for STS. KMS's requests name their target in a header. */
export function isStsRequest({ headers }: SignedRequest): boolean {
  return !headers.has("x-amz-target") && (headers.get("content-type") ?? "").startsWith(FORM_TYPE);
}

/** The `Action` of a request's form; undefined where it has none. */
export function stsAction({ body }: SignedRequest): string | undefined {
  if (body.length > MAX_BODY_LENGTH) return undefined;
  return new URLSearchParams(new TextDecoder().decode(body)).get("Action") ?? undefined;
}

function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The response with the caller's identity. */
export function callerIdentity(caller: Caller, requestId: string): string {
  return `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
    `<Arn>${escapeXml(sessionArn(caller))}</Arn><UserId>EMULATOR:emulator</UserId>` +
    `<Account>${caller.account}</Account></GetCallerIdentityResult>` +
    `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></GetCallerIdentityResponse>`;
}

/** An error response. */
export function stsError({ kms: { name, message } }: KmsRefusal, requestId: string): string {
  return `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>` +
    `<Code>${escapeXml(name)}</Code><Message>${escapeXml(message)}</Message></Error>` +
    `<RequestId>${requestId}</RequestId></ErrorResponse>`;
}
