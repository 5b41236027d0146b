/**
 * What becomes of a request whose workflow does what `hostile_workflow.ts` does on this plaintext.
 *
 * @module
 */

const LOST = "error workflow_lost";
const LATE = "error workflow_timeout";
const THREW = "error internal_error";
const KEPT = "keeps";

/** Each with the answers that it may have: plaintexts, or codes of errors. */
export const ATTACKS: readonly (readonly [way: string, ...expected: readonly string[]])[] = [
  ["throws", THREW],
  ["rejects late", "rejects late"],
  ["returns text", THREW],
  ["returns nothing", THREW],
  ["returns the same again", "always the same"],
  ["changes its input", "A".repeat("changes its input".length)],
  ["calls exit", LOST],
  ["aborts", LOST],
  ["prints rubbish", LOST],
  ["prints half a frame", LOST],
  ["prints a frame that is too long", LOST],
  ["prints a frame without its end", LATE],
  ["answers for another", LOST],
  ["closes stdin", "closes stdin"],
  ["closes stdout", LOST],
  ["loops", LATE],
  ["takes memory", THREW, LOST, LATE],
  ["allocates", LOST, LATE],
  ["starts a worker", LOST],
  ["reads its parent", "0 worked"],
  ["opens a library", "0 worked"],
  ["starts programs", "0 worked"],
  ["connects", THREW],
  ["prints to the console", "prints to the console"],
  ["logs", "logs"],
  ["floods the log", "floods the log"],
  ["asks for a permission", Array(7).fill("denied").join(",")],
  ["reads a file", THREW],
  ["async", "async"],
  [KEPT, KEPT],
  // Its bytes were wiped, and nothing was put in their place.
  ["returns what it kept", "\0".repeat(KEPT.length)],
  ["never ends", LATE],
];
