/** When up restarts an enclave, and how long it waits before it tries again. */
import { assertEquals } from "@std/assert";
import { Misses, Pauses, Turn } from "../../../../lib/ctl/up/pauses.ts";

const LIMITS = { firstPauseMs: 1_000, longestPauseMs: 300_000, steadyMs: 600_000 };
const S = 1_000;

Deno.test("pauses after failures double from 1 s to 5 min", () => {
  const pauses = new Pauses(LIMITS);
  const seconds = Array.from({ length: 12 }, () => pauses.afterFailure() / S);
  assertEquals(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
});

Deno.test("an enclave that served and ended is started at once the first time, then after pauses that double", () => {
  const pauses = new Pauses(LIMITS);
  const seconds = Array.from({ length: 5 }, (_, round) => {
    pauses.serving(round);
    return pauses.afterServing(round) / S;
  });
  assertEquals(seconds, [0, 1, 2, 4, 8]);
});

Deno.test("ten minutes of health make the pauses short again, a moment less does not", () => {
  const pauses = new Pauses(LIMITS);
  for (let round = 0; round < 5; round++) pauses.afterFailure();
  pauses.serving(0);
  assertEquals(pauses.afterServing(599_999), 32_000);
  pauses.serving(0);
  assertEquals(pauses.afterServing(600_000), 0);
  assertEquals(pauses.afterFailure(), 1_000);
});

Deno.test("time in which it does not serve is no health", () => {
  const pauses = new Pauses(LIMITS);
  pauses.serving(0);
  assertEquals(pauses.afterFailure(), 1_000);
  assertEquals(pauses.afterServing(10_000_000), 2_000);
});

Deno.test("three misses over 15 s are a hung enclave; fewer, or in less time, are not", () => {
  const often = new Misses(0);
  assertEquals([1, 2, 3, 14.9, 15].map((second) => often.missed(second * S)), [
    false,
    false,
    false,
    false,
    true,
  ]);
  const seldom = new Misses(0);
  assertEquals([15, 30, 45].map((second) => seldom.missed(second * S)), [false, false, true]);
  const answered = new Misses(0);
  assertEquals([5, 10].map((second) => answered.missed(second * S)), [false, false]);
  answered.answered(11 * S);
  assertEquals([15, 20, 25, 26].map((second) => answered.missed(second * S)), [false, false, false, true]);
});

Deno.test("one enclave at a time has the turn, and keeps it until it gives it back", () => {
  const turn = new Turn();
  assertEquals([turn.take("a"), turn.take("b"), turn.take("a")], [true, false, true]);
  turn.give("b");
  assertEquals(turn.take("b"), false);
  turn.give("a");
  assertEquals(turn.take("b"), true);
});
