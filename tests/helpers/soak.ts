/**
 * How much a test of endurance does: all of it with SOAK=1 in the environment, less otherwise.
 *
 * @module
 */

/** The full number with SOAK=1, else the short one. */
export function count(full: number, short: number): number {
  return Deno.env.get("SOAK") === "1" ? full : short;
}
