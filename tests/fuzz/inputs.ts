/**
 * Damaged inputs, each derived from its seed alone: the example, and what is done to it.
 *
 * @module
 */
import type { Corpus, Target } from "./targets.ts";

/** Inputs with examples in common: making new ones takes a while. */
const INPUTS_PER_CORPUS = 4096;

/** Gives the inputs of a target, by seed. */
export class Inputs {
  #target: Target;
  #corpus: { readonly number: number; readonly opened: Corpus } | undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  /** The input of a seed, and the corpus that it comes from: the same in each run. */
  async of(seed: number): Promise<{ readonly corpus: Corpus; readonly input: Uint8Array<ArrayBuffer> }> {
    const number = Math.floor(seed / INPUTS_PER_CORPUS);
    if (this.#corpus?.number !== number) {
      this.#corpus = { number, opened: await this.#target.open(number) };
    }
    const { opened } = this.#corpus;
    const random = generator(Math.imul(seed, 0x9e3779b1));
    const example = opened.examples[random(opened.examples.length)] ?? new Uint8Array();
    return { corpus: opened, input: damage(example, random) };
  }
}

/** A small generator that can be begun again (xorshift32). */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x5b, 0x5d, 0x7b, 0x7d, 0x22, 0x9f, 0xbf, 0x5f, 0x1b];

/** A damaged copy: bytes changed, cut, doubled, or replaced by those that parsers look at. */
function damage(bytes: Uint8Array<ArrayBuffer>, random: (below: number) => number): Uint8Array<ArrayBuffer> {
  let copy = bytes.slice();
  for (let times = 1 + random(6); times > 0; times--) {
    if (copy.length === 0) break;
    const at = random(copy.length);
    const length = 1 + random(Math.min(32, copy.length - at));
    switch (random(6)) {
      case 0:
        copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        copy[at] = INTERESTING[random(INTERESTING.length)] ?? 0;
        break;
      case 2:
        copy = copy.slice(0, at);
        break;
      case 3:
        copy = new Uint8Array([...copy.subarray(0, at), ...copy.subarray(at + length)]);
        break;
      case 4:
        copy = new Uint8Array([...copy.subarray(0, at + length), ...copy.subarray(at)]);
        break;
      default:
        copy.fill(INTERESTING[random(INTERESTING.length)] ?? 0, at, at + length);
    }
  }
  return copy;
}
