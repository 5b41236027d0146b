/** The contract of `@std/assert`, as far as the tests use it: what passes, and what fails. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  AssertionError,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

class Point {
  readonly x: number;
  #hidden: number;
  constructor(x: number, hidden = 0) {
    this.x = x;
    this.#hidden = hidden;
  }
  get shown(): number {
    return this.#hidden;
  }
}
class OtherPoint {
  readonly x: number;
  constructor(x: number) {
    this.x = x;
  }
}
function circle(n: number): unknown {
  const object: Record<string, unknown> = { n };
  object["self"] = object;
  return object;
}
const error = new Error("a");

const EQUAL: readonly (readonly [unknown, unknown])[] = [
  [1, 1],
  [NaN, NaN],
  [0, -0],
  ["a", "a"],
  [null, null],
  [[1, [2]], [1, [2]]],
  [{ a: 1, b: { c: 2 } }, { b: { c: 2 }, a: 1 }],
  [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  [new Uint8Array([1, 2]), new Uint8Array([1, 2])],
  [new Uint8Array([0, 1, 2]).subarray(1), new Uint8Array([1, 2])],
  [new Uint8Array([1]).buffer, new Uint8Array([1]).buffer],
  [new Date(5), new Date(5)],
  [/a/g, /a/g],
  [new URL("http://a/"), new URL("http://a")],
  [new Set([1, { a: 1 }]), new Set([{ a: 1 }, 1])],
  [new Map([["a", [1]], ["b", [2]]]), new Map([["b", [2]], ["a", [1]]])],
  [new Point(1, 2), new Point(1, 2)],
  [circle(1), circle(1)],
  [error, error],
  [{ [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 1 }],
];
const DIFFERENT: readonly (readonly [unknown, unknown])[] = [
  [1, "1"],
  [1, 1n],
  [null, undefined],
  [{}, { a: undefined }],
  [{ b: undefined }, { a: undefined }],
  [[1], [1, undefined]],
  [[], {}],
  [{ a: 1 }, { a: 2 }],
  [new Uint8Array([1]), new Uint8Array([1, 2])],
  [new Uint8Array([1]), [1]],
  [new Uint8Array([1]), new Uint16Array([1])],
  [new Uint8Array([1]).buffer, new Uint8Array([2]).buffer],
  [new Date(5), new Date(6)],
  [/a/g, /a/i],
  [new URL("http://a/"), new URL("http://b/")],
  [new Set([1]), new Set([2])],
  [new Set([1]), new Set([1, 2])],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Point(1), new OtherPoint(1)],
  [new Point(1), { x: 1 }],
  // A getter's value counts, though nothing else of what it reads does.
  [new Point(1, 2), new Point(1, 3)],
  [circle(1), circle(2)],
  [new Error("a"), new Error("b")],
  // Their stacks differ.
  [new Error("a"), new Error("a")],
  [() => 1, () => 1],
  [{ [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 2 }],
];

Deno.test("what is equal passes assertEquals and fails assertNotEquals", () => {
  for (const [a, b] of EQUAL) {
    assertEquals(a, b);
    assertEquals(b, a);
    assertThrows(() => assertNotEquals(a, b), AssertionError);
  }
});

DIFFERENT.forEach(([a, b], index) => {
  Deno.test(`what differs fails assertEquals and passes assertNotEquals (${index})`, () => {
    assertNotEquals(a, b);
    assertNotEquals(b, a);
    assertThrows(() => assertEquals(a, b), AssertionError, "Values are not equal");
  });
});

const boom = () => {
  throw new RangeError("out of it");
};
const PASSES: readonly (readonly [string, () => unknown])[] = [
  ["assert of what is truthy", () => assert("a")],
  ["assertInstanceOf of a subclass", () => assertInstanceOf(new RangeError(), Error)],
  ["assertInstanceOf of any class", () => assertInstanceOf(new Point(1), Point)],
  ["assertStringIncludes", () => assertStringIncludes("abc", "b")],
  ["assertMatch", () => assertMatch("abc", /b/)],
  ["assertThrows", () => assertThrows(boom, RangeError)],
  ["assertThrows of a superclass, by a part of the message", () => assertThrows(boom, Error, "out")],
  [
    "assertRejects",
    () => assertRejects(() => Promise.reject(new RangeError("out of it")), RangeError, "out"),
  ],
];
const FAILS: readonly (readonly [string, () => unknown])[] = [
  ["assert of what is falsy", () => assert(0)],
  ["assertInstanceOf of another class", () => assertInstanceOf(new TypeError(), RangeError)],
  ["assertInstanceOf of null", () => assertInstanceOf(null, Error)],
  ["assertStringIncludes", () => assertStringIncludes("abc", "x")],
  ["assertMatch", () => assertMatch("abc", /x/)],
  ["assertThrows of what does not throw", () => assertThrows(() => 1, Error)],
  ["assertThrows of another class", () => assertThrows(boom, TypeError)],
  ["assertThrows of another message", () => assertThrows(boom, RangeError, "inside")],
  ["assertThrows of what is no error", () =>
    assertThrows(() => {
      throw "a word";
    }, Error)],
  ["assertRejects of what resolves", () => assertRejects(() => Promise.resolve(1), Error)],
  ["assertRejects of another class", () => assertRejects(() => Promise.reject(new Error("a")), TypeError)],
  ["assertRejects of another message", () => assertRejects(() => Promise.reject(new Error("a")), Error, "b")],
  ["assertRejects of what is no error", () => assertRejects(() => Promise.reject("a word"), Error)],
  ["assertRejects of what throws instead", () => assertRejects(boom, RangeError)],
  // @ts-expect-error Not a promise.
  ["assertRejects of what gives no promise", () => assertRejects(() => 1, Error)],
];

for (const [what, run] of PASSES) Deno.test(`${what} passes`, async () => void await run());

for (const [what, run] of FAILS) {
  Deno.test(`${what} fails with an AssertionError`, async () => {
    let thrown: unknown;
    try {
      await run();
    } catch (caught) {
      thrown = caught;
    }
    assert(thrown instanceof AssertionError, String(thrown));
  });
}

Deno.test("assertThrows and assertRejects give the error, and a message is in theirs", async () => {
  assertEquals(assertThrows(boom, RangeError).message, "out of it");
  assertEquals((await assertRejects(() => Promise.reject(error), Error)) === error, true);
  assertThrows(() => assert(false, "because"), AssertionError, "because");
  assertThrows(() => assertEquals(1, 2, "because"), AssertionError, "because");
});
