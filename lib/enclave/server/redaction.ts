/**
 * Removes from a text of the log what may be a key or a credential, however it is written. Nothing secret is
 * logged on purpose: this is for texts of others, such as KMS's and the SDK's errors.
 *
 * @module
 */

const MAX_LENGTH = 500;
/** More characters than a beginning of a secret that is too short to be recognised. */
const MAX_UNSEEN = 200;

/** A PCR is a public SHA-384 hash. No key or signature of this program has 48 bytes. */
const PCR = /^(?:PCR[0-9]+[_-])?[0-9a-f]{96}$/;
/** Digits of 20 bytes in hex: a UUID has 32. */
const MIN_DIGITS = 40;
/** Bytes in hex or decimal, each written as a number of its own. */
const MIN_NUMBERS = 16;

function hasMany(numbers: string): boolean {
  const found = numbers.replace(/0x/gi, "").match(/[0-9a-f]+/gi) ?? [];
  return found.length >= MIN_NUMBERS || found.join("").length >= MIN_DIGITS;
}

/** What may be secret, and whether a match is: long names and paths use the same characters. */
const SECRETS: readonly (readonly [RegExp, (match: string) => boolean])[] = [
  // Access key ids.
  [/A[KS]IA[A-Z0-9]{8,}/g, () => true],
  // Hex and decimal numbers with something between them: `ab:cd`, `0xab, 0xcd`, `[1,255]`.
  [/(?<![0-9a-z])(?:0?x)?(?:[0-9a-f]{1,39}[^0-9a-z]{1,8}(?:0?x)?)+[0-9a-f]{1,39}(?![0-9a-z])/gi, hasMany],
  // Base64url.
  [/[\w-]{40,}/g, (run) => /[a-z]/.test(run) && /[A-Z]/.test(run) && !PCR.test(run)],
  // Base64, hex, and base32 in lower case.
  [
    /[A-Za-z0-9+/]{40,}={0,2}/g,
    (run) => !PCR.test(run) && /[A-Z]|[0-9a-f]{64}|(?=[a-z]*[2-7])[a-z2-7]{40}/.test(run),
  ],
];

/** Replaces in a text what may be secret, and shortens it. */
export function redactText(text: string): string {
  const isCut = text.length > 2 * MAX_LENGTH;
  let shown = text.slice(0, 2 * MAX_LENGTH);
  for (const [pattern, isSecret] of SECRETS) {
    shown = shown.replace(pattern, (match) => isSecret(match) ? "[redacted]" : match);
  }
  // The cut may have left such a beginning at the end.
  return (isCut ? shown.slice(0, -MAX_UNSEEN) : shown).slice(0, MAX_LENGTH);
}
