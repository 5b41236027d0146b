/** The assertions fail where they must: a table of what each refuses. */
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

const boom = () => {
  throw new RangeError("out of it");
};
const FAILS: Readonly<Record<string, () => unknown>> = {
  "assert of what is falsy": () => assert(0),
  "assertEquals of other bytes": () => assertEquals(new Uint8Array([1]), new Uint8Array([2])),
  "assertEquals of another property": () => assertEquals<unknown>({}, { a: undefined }),
  "assertNotEquals of equal values": () => assertNotEquals({ a: [1] }, { a: [1] }),
  "assertInstanceOf of another class": () => assertInstanceOf(new TypeError(), RangeError),
  "assertStringIncludes": () => assertStringIncludes("abc", "x"),
  "assertMatch": () => assertMatch("abc", /x/),
  "assertThrows of what does not throw": () => assertThrows(() => 1, Error),
  "assertThrows of another class": () => assertThrows(boom, TypeError),
  "assertThrows of another message": () => assertThrows(boom, RangeError, "inside"),
  "assertRejects of what resolves": () => assertRejects(() => Promise.resolve(1), Error),
  "assertRejects of another class": () => assertRejects(() => Promise.reject(new Error("a")), TypeError),
  "assertRejects of what throws instead": () => assertRejects(boom, RangeError),
};
for (const [what, run] of Object.entries(FAILS)) {
  Deno.test(`${what} fails with an AssertionError`, async () => {
    const thrown = await Promise.try(run).then(() => undefined, (reason: unknown) => reason);
    if (!(thrown instanceof AssertionError)) throw new Error(String(thrown));
  });
}

Deno.test("assertThrows and assertRejects give the error", async () => {
  assertEquals(assertThrows(boom, Error, "out").message, "out of it");
  assertEquals((await assertRejects(() => Promise.reject(new Error("a")), Error)).message, "a");
});
