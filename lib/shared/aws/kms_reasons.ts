/**
 * Reads KMS's refusals from its JSON responses.
 *
 * @module
 */
import { field } from "../json.ts";
import { awsAdvice } from "./errors.ts";

/** KMS's own refusal: `__type` and `message` of its response. */
export interface KmsReason {
  /** Such as `AccessDeniedException`. */
  readonly name: string;
  /** For people; may be empty. */
  readonly message: string;
}

const MAX_MESSAGE_LENGTH = 500;

/** The `__type` and `message` of KMS's response, shortened for the log. Undefined when it has none. */
export function parseKmsReason(answer: unknown): KmsReason | undefined {
  const type = field(answer, "__type");
  if (typeof type !== "string") return undefined;
  const name = type.slice(type.lastIndexOf("#") + 1);
  if (!/^[A-Za-z]{1,64}$/.test(name)) return undefined;
  const message = field(answer, "message") ?? field(answer, "Message");
  return { name, message: typeof message === "string" ? message.slice(0, MAX_MESSAGE_LENGTH) : "" };
}

const SKEWED =
  /Signature (?:expired|not yet current): ([0-9]{8}T[0-9]{6}Z) [^(]{0,100}\(([0-9]{8}T[0-9]{6}Z) [-+]/;
const STAMP = /^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z$/;

function timeOf(stamp: string | undefined): number {
  return Date.parse((stamp ?? "").replace(STAMP, "$1-$2-$3T$4:$5:$6Z"));
}

/**
 * How far this clock is off, according to KMS's message: "Signature expired: <ours> is now earlier than … (<KMS's> - 5 min.)", or "not yet current".
 *
 * @returns seconds, positive when this clock is ahead; undefined when the message is about something else.
 */
export function clockSkewOf({ message }: Pick<KmsReason, "message">): number | undefined {
  const [, ours, theirs] = SKEWED.exec(message) ?? [];
  const seconds = Math.round((timeOf(ours) - timeOf(theirs)) / 1000);
  return Number.isNaN(seconds) ? undefined : seconds;
}

/** Describes the skew. */
export function describeSkew(seconds: number): string {
  return `the enclave's clock is ${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead of"} KMS's`;
}

/** What a person can do about a refusal, or about a failure without one. */
export function hintFor(reason: KmsReason | undefined): string {
  if (reason === undefined) {
    return "KMS's own error is not known. Look at the SDK's lines on stderr, and run the same call against AWS from the parent.";
  }
  const skew = clockSkewOf(reason);
  if (skew !== undefined) {
    const remedy = "Serve with --clock nsm, which sets it; clock_not_set in the log says why it could not.";
    return `${describeSkew(skew)}: five minutes are allowed. ${remedy}`;
  }
  return awsAdvice(reason.name)?.hint ?? "See the KMS API reference for this error.";
}
