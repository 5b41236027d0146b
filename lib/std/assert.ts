/**
 * The part of `@std/assert` that the tests use: same names, and equality as `node:util` has it.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

/** The class of a failed assertion. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;
// deno-lint-ignore no-explicit-any
type AnyClass = abstract new (...args: any[]) => any;

const suffix = (message: string | undefined) =>
  message === undefined || message === "" ? "." : `: ${message}`;

/** Fails unless the value is truthy. */
export function assert(value: unknown, message = ""): asserts value {
  if (!value) throw new AssertionError(message);
}

/** Fails unless the two are deeply equal, by `node:util`. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  let differences = "";
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (thrown) {
    if (thrown instanceof Error) differences = `\n${thrown.message}`;
  }
  throw new AssertionError(`Values are not equal${suffix(message)}${differences}`);
}

/** Fails if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  if (!isDeepStrictEqual(actual, expected)) return;
  throw new AssertionError(`Expected actual not to be what it is${suffix(message)}`);
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<C extends AnyClass>(
  actual: unknown,
  expectedClass: C,
  message?: string,
): asserts actual is InstanceType<C> {
  if (actual instanceof expectedClass) return;
  throw new AssertionError(
    `Expected object to be an instance of "${expectedClass.name}" but was ${String(actual)}${
      suffix(message)
    }`,
  );
}

/** Fails unless the text contains the part. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: "${actual}" to contain: "${expected}"${suffix(message)}`);
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to match: "${expected}"${suffix(message)}`);
}

function checkThrown<E extends Error>(
  thrown: unknown,
  expectedClass: ErrorClass<E>,
  includes: string,
  message: string | undefined,
): E {
  if (!(thrown instanceof Error)) {
    throw new AssertionError(`A non-Error object was thrown or rejected${suffix(message)}`);
  }
  if (!(thrown instanceof expectedClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${expectedClass.name}", but was "${thrown.name}: ${thrown.message}"${
        suffix(message)
      }`,
    );
  }
  if (thrown.message.includes(includes)) return thrown;
  throw new AssertionError(
    `Expected error message to include ${JSON.stringify(includes)}, but got ${
      JSON.stringify(thrown.message)
    }${suffix(message)}`,
  );
}

/** Fails unless the function throws such an error, which it returns. */
export function assertThrows<E extends Error>(
  run: () => unknown,
  expectedClass: ErrorClass<E>,
  includes = "",
  message?: string,
): E {
  try {
    run();
  } catch (thrown) {
    return checkThrown(thrown, expectedClass, includes, message);
  }
  throw new AssertionError(`Expected function to throw${suffix(message)}`);
}

/** Fails unless the function returns a promise that rejects with such an error, which it resolves to. */
export async function assertRejects<E extends Error>(
  run: () => PromiseLike<unknown>,
  expectedClass: ErrorClass<E>,
  includes = "",
  message?: string,
): Promise<E> {
  let promise: PromiseLike<unknown>;
  try {
    promise = run();
    if (typeof promise?.then !== "function") throw new TypeError("Not a promise");
  } catch {
    throw new AssertionError(`Function throws when expected to reject${suffix(message)}`);
  }
  try {
    await promise;
  } catch (thrown) {
    return checkThrown(thrown, expectedClass, includes, message);
  }
  throw new AssertionError(`Expected function to reject${suffix(message)}`);
}
