/**
 * The part of `@std/assert` that the tests use: same names, same contracts (tests/unit/std/assert_test.ts). Differences are shown by
 * `node:assert/strict`.
 *
 * @module
 */
import nodeAssert from "node:assert/strict";

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

/** Own and inherited names and symbols, except those of all objects and arrays. */
function keysOf(object: object): Set<string | symbol> {
  const keys = new Set<string | symbol>();
  for (
    let at: object | null = object;
    at !== null && at !== Object.prototype && at !== Array.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    for (const key of Reflect.ownKeys(at)) keys.add(key);
  }
  return keys;
}

function haveEqualPrototypes(a: object, b: object): boolean {
  // An object without a prototype counts as plain.
  const [ofA, ofB] = [a, b].map((object) => Object.getPrototypeOf(object) ?? Object.prototype);
  return ofA === ofB;
}

/** Whether each entry of one has an equal one in the other, each taken once. */
function haveEqualItems(a: Iterable<unknown>, b: Iterable<unknown>, same: Compare): boolean {
  const left = [...b];
  for (const item of a) {
    const at = left.findIndex((other) => same(item, other));
    if (at < 0) return false;
    left.splice(at, 1);
  }
  return left.length === 0;
}

type Compare = (a: unknown, b: unknown) => boolean;

/** Deep equality: of prototypes, properties (a getter's value too), items, bytes; an error is equal only to itself, since its stack counts. */
function equal(first: unknown, second: unknown): boolean {
  const seen = new Map<object, unknown>();
  const same: Compare = (a, b) => {
    if (a === b || Object.is(a, b)) return true;
    if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return false;
    if (!haveEqualPrototypes(a, b)) return false;
    if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
    if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
      return same(new Uint8Array(a), new Uint8Array(b));
    }
    if (ArrayBuffer.isView(a) && !(a instanceof DataView)) {
      const [x, y] = [a, b] as unknown as [Uint8Array, Uint8Array];
      return x.length === y.length && x.every((item, at) => same(item, y[at]));
    }
    if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
    if (a instanceof WeakMap || a instanceof WeakSet) throw new TypeError(`Cannot compare ${a}`);
    if (seen.get(a) === b) return true;
    seen.set(a, b);
    if (a instanceof Set && b instanceof Set) return haveEqualItems(a, b, same);
    if (a instanceof Map && b instanceof Map) return haveEqualItems(a, b, same);
    if (Object.keys(a).length !== Object.keys(b).length) return false;
    for (const key of keysOf(a).union(keysOf(b))) {
      if (key in a !== key in b || !same(Reflect.get(a, key), Reflect.get(b, key))) return false;
    }
    return true;
  };
  return same(first, second);
}

/** The differences that `node:assert` reports; empty where it finds the values equal. */
function differences(actual: unknown, expected: unknown): string {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
    return "";
  } catch (thrown) {
    return thrown instanceof Error ? `\n${thrown.message}` : "";
  }
}

/** Fails unless the two are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(`Values are not equal${suffix(message)}${differences(actual, expected)}`);
}

/** Fails if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  if (!equal(actual, expected)) return;
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
