/**
 * The doctor: checks everything that an enclave needs to get a key, and reports problems.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { within } from "../../shared/within.ts";
import type { KeyAdmin } from "../aws/key_admin.ts";
import { AWS_CHECKS } from "./aws.ts";
import {
  type Check,
  type DoctorContext,
  type DoctorTarget,
  type DoctorWorld,
  fail,
  type Verdict,
} from "./check.ts";
import { NITRO_CHECKS } from "./nitro.ts";
import { PROXY_CHECKS } from "./proxy.ts";

export { type DoctorTarget, type DoctorWorld, type Program } from "./check.ts";
export type { Status } from "./check.ts";

/** All checks, in the order in which a person would look. */
export const CHECKS: readonly Check[] = [...NITRO_CHECKS, ...PROXY_CHECKS, ...AWS_CHECKS];

/** The result of a check. */
export interface CheckResult extends Verdict {
  readonly id: string;
  readonly ms: number;
}

/** Options of {@link examine}. */
interface ExamineOptions {
  readonly checks?: readonly Check[];
  /** Time limit for each check, including the calls that it waits for. Milliseconds. */
  readonly deadlineMs?: number;
  /** Called as each is done. */
  readonly onDone?: (result: CheckResult) => void;
}

const DEADLINE_MS = 30_000;

/** Runs the checks concurrently. Results come in the checks' order; a check that throws has failed. */
export async function examine(
  world: DoctorWorld,
  target: DoctorTarget,
  admin: KeyAdmin | undefined,
  options: ExamineOptions = {},
): Promise<readonly CheckResult[]> {
  const { checks = CHECKS, deadlineMs = DEADLINE_MS, onDone = () => {} } = options;
  const looked = new Map<string, Promise<unknown>>();
  const context: DoctorContext = {
    world,
    target,
    admin,
    // A cached call that failed throws the same error to every caller.
    once: <T>(name: string, look: () => Promise<T>): Promise<T> => {
      const found = looked.get(name) ?? look();
      looked.set(name, found);
      found.catch(() => {});
      // Each name belongs to one function, so to one type.
      return found as Promise<T>;
    },
  };
  return await Promise.all(checks.map(async ({ id, look }) => {
    const started = performance.now();
    const late = () => new Error(`it took longer than ${deadlineMs} ms`);
    const verdict = await within(deadlineMs, look(context), late)
      .catch((thrown) => fail(messageOf(thrown), "Check it manually."));
    const result = { id, ...verdict, ms: Math.round(performance.now() - started) };
    onDone(result);
    return result;
  }));
}
