/**
 * Runs the garbage collector, without a flag of V8 on the command line (2.9.6; 2.6.10 does not take flags
 * from a program).
 *
 * @module
 */
import { runInNewContext } from "node:vm";
import { setFlagsFromString } from "node:v8";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

/** Collects all that nothing refers to, after the callbacks that are ready have run. */
export async function collectGarbage(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  collect();
}
