/**
 * The part of `@std/crypto` that this program uses: same name, same contract.
 *
 * @module
 */
import { timingSafeEqual as equalLengths } from "node:crypto";

/** Whether two byte strings are equal, in time that depends on their lengths alone. */
export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && equalLengths(a, b);
}
