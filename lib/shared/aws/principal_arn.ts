/**
 * ARNs of those that a key policy may name: roles, users and accounts. Not sessions or instance profiles,
 * which KMS would refuse or which end.
 *
 * @module
 */
const PRINCIPAL =
  /^arn:aws[a-z-]*:iam::[0-9]{12}:(?:(?:role|user)\/[\x21-\x29\x2b-\x3e\x40-\x7e]{1,576}|root)$/;

/** For the hint of an error. */
export const PRINCIPAL_FORM =
  "the ARN of a role or user: arn:aws:iam::<account>:role/<name>; not that of a session or an instance profile";

/** Whether a text is the ARN of a role, a user or an account. */
export function isPrincipalArn(text: string): boolean {
  return PRINCIPAL.test(text);
}
