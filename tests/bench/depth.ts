/**
 * What the depth limit costs and saves: scanning a document's brackets compared with parsing it, and refusing 5 million brackets.
 *
 *     deno run --lock=tests/deno.lock --frozen tests/bench/depth.ts
 *
 * @module
 */
import { measureJson } from "../../lib/shared/wire/json_shape.ts";
import { decodeText, parseObject, WireError } from "../../lib/shared/wire/messages.ts";

const LENGTH = 10 * 1024 * 1024;
const ROUNDS = 5;
const encoder = new TextEncoder();

/** The least of some rounds. Milliseconds. */
function time(run: () => void): number {
  let least = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    run();
    least = Math.min(least, performance.now() - started);
  }
  return least;
}

function refuse(body: Uint8Array): void {
  try {
    parseObject(body);
  } catch (thrown) {
    if (thrown instanceof WireError) return;
    throw thrown;
  }
  throw new Error("it was taken");
}

const documents = {
  "one string of 10 MiB": encoder.encode(`{"ciphertext":"${"a".repeat(LENGTH)}"}`),
  "10 MiB of {}": encoder.encode(`{"x":[${"{},".repeat(LENGTH / 3)}0]}`),
};
for (const [name, body] of Object.entries(documents)) {
  const text = decodeText(body);
  const look = time(() => void measureJson(text));
  const all = time(() => void parseObject(body));
  console.log(`${name}: look ${look.toFixed(1)} ms, decode, look and parse ${all.toFixed(1)} ms`);
}
const deep = new Uint8Array(5_000_000).fill("[".charCodeAt(0));
console.log(`5 million brackets refused in ${time(() => refuse(deep)).toFixed(1)} ms`);
