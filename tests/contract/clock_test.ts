/**
 * How the clock is set: against a recorder in C, which has another name than the C library's function. This test must
 * never open that function: it replaces the name before it opens anything.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { constants } from "node:os";
import { openWallClock } from "../../ffi/clock.ts";
import { Kernel } from "../../ffi/kernel.ts";
import type { Dlopen } from "../../ffi/library.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const RECORDER = `${NATIVE_DIR}/libclock-stub.so`;
const recorder = Deno.dlopen(RECORDER, {
  clock_stub_refuse: { parameters: ["i32"], result: "void" },
  clock_stub_calls: { parameters: [], result: "i32" },
  clock_stub_is_realtime: { parameters: [], result: "i32" },
  clock_stub_seconds: { parameters: [], result: "i64" },
  clock_stub_nanoseconds: { parameters: [], result: "i64" },
}).symbols;

/** Names of C functions that were asked for, beside those of the kernel's table. */
const asked: string[] = [];

/** The recorder. It needs the C library, whose other functions are found through it. */
const dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>(_path: string, symbols: S) => {
  const renamed = Object.entries(symbols).map(([name, symbol]) => {
    if (!name.includes("clock")) return [name, symbol];
    asked.push(name);
    return [name, { ...symbol, name: "clock_stub_set" }];
  });
  return Deno.dlopen(RECORDER, Object.fromEntries(renamed)) as unknown as Deno.DynamicLibrary<S>;
};

const setClock = openWallClock(new Kernel("record what sets the clock", dlopen));

Deno.test("one function is asked for", () => {
  assertEquals(asked, ["clock_settime"]);
});

for (
  const [time, seconds, nanoseconds] of [
    [Date.parse("2026-11-30T02:20:00.123Z"), 1_796_005_200n, 123_000_000n],
    [1_000, 1n, 0n],
    [4_102_444_800_999, 4_102_444_800n, 999_000_000n],
  ] as const
) {
  Deno.test(`${time} ms reach C as ${seconds} s and ${nanoseconds} ns of the wall clock`, () => {
    recorder.clock_stub_refuse(0);
    const before = recorder.clock_stub_calls();
    assertEquals(setClock(time), undefined);
    assertEquals(
      [recorder.clock_stub_seconds(), recorder.clock_stub_nanoseconds(), recorder.clock_stub_is_realtime()],
      [seconds, nanoseconds, 1],
    );
    assertEquals(recorder.clock_stub_calls() - before, 1);
  });
}

for (const name of ["EPERM", "EINVAL"] as const) {
  Deno.test(`a refusal is given by its name, ${name}`, () => {
    recorder.clock_stub_refuse(constants.errno[name]);
    assertEquals(setClock(1_000), name);
  });
}

Deno.test("what is no time is refused before C is called", () => {
  recorder.clock_stub_refuse(0);
  const before = recorder.clock_stub_calls();
  for (const time of [NaN, Infinity]) assertThrows(() => setClock(time), RangeError);
  assertEquals(recorder.clock_stub_calls(), before);
});
