/**
 * The part of `@std/assert` that the tests use, over `node:assert/strict`: same names, same contracts.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

/** The class of a failed assertion. */
export const AssertionError = nodeAssert.AssertionError;

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Fails unless the value is truthy. */
export function assert(value: unknown, message?: string): asserts value {
  nodeAssert.ok(value, message ?? "Expected a truthy value");
}

/** Fails unless the two are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.deepStrictEqual(actual, expected, message);
}

/** Fails if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.notDeepStrictEqual(actual, expected, message);
}

/** Fails unless the value is an instance of the class. */
export function assertInstanceOf<E extends Error>(
  actual: unknown,
  expectedClass: ErrorClass<E>,
  message?: string,
): asserts actual is E {
  assert(
    actual instanceof expectedClass,
    message ?? `Expected an instance of ${expectedClass.name}, got ${String(actual)}`,
  );
}

/** Fails unless the text contains the part. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  assert(actual.includes(expected), message ?? `Expected ${JSON.stringify(actual)} to include ${expected}`);
}

/** Fails unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  nodeAssert.match(actual, expected, message);
}

function checkThrown<E extends Error>(thrown: unknown, expectedClass: ErrorClass<E>, includes: string): E {
  assertInstanceOf(thrown, expectedClass);
  assertStringIncludes(thrown.message, includes);
  return thrown;
}

/** Fails unless the function throws such an error, which it returns. */
export function assertThrows<E extends Error>(
  run: () => unknown,
  expectedClass: ErrorClass<E>,
  includes = "",
): E {
  try {
    run();
  } catch (thrown) {
    return checkThrown(thrown, expectedClass, includes);
  }
  throw new AssertionError({ message: `Expected ${expectedClass.name} to be thrown` });
}

/** Fails unless the promise rejects with such an error, which it resolves to. */
export async function assertRejects<E extends Error>(
  run: () => PromiseLike<unknown>,
  expectedClass: ErrorClass<E>,
  includes = "",
): Promise<E> {
  try {
    await run();
  } catch (thrown) {
    return checkThrown(thrown, expectedClass, includes);
  }
  throw new AssertionError({ message: `Expected a rejection with ${expectedClass.name}` });
}
