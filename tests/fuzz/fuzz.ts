/**
 * Runs fuzz targets: parsers of untrusted input, fed with damaged examples for some time. A parser may refuse
 * input with its own errors; it must not throw anything else, hang, or use unbounded memory. `deno task fuzz
 * --target eif --seconds 60`.
 *
 * @module
 */
import { failureLines } from "../../lib/shared/cli/failure.ts";
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions } from "../../lib/shared/cli/options.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { Inputs } from "./inputs.ts";
import { type Target, TARGETS } from "./targets.ts";

const SPECS = [
  { name: "target", value: "NAME", help: "one of them; by default all, one after the other" },
  { name: "seconds", value: "S", default: "10", help: "for each" },
  { name: "seed", value: "N", help: "begin with this, as a failure told" },
  ...COMMON_OPTIONS,
] as const;

/** An input may take so long. Milliseconds. */
const SLOW_MS = 2_000;
const encoder = new TextEncoder();

async function fuzz(target: Target, seconds: number, firstSeed: number): Promise<void> {
  const all = new Inputs(target);
  const end = performance.now() + seconds * 1000;
  let seed = firstSeed;
  let inputs = 0;
  for (; performance.now() < end; seed++, inputs++) {
    const { corpus, input } = await all.of(seed);
    const started = performance.now();
    try {
      await corpus.run(input);
    } catch (thrown) {
      throw new EnclaveError(
        `${target.name}: seed ${seed} threw ${thrown instanceof Error ? thrown.stack : String(thrown)}`,
        {
          code: "fuzz",
          hint: `deno task fuzz --target ${target.name} --seed ${seed} --seconds 1 shows it again.`,
        },
      );
    }
    const took = performance.now() - started;
    if (took > SLOW_MS) {
      throw new EnclaveError(`${target.name}: seed ${seed} took ${Math.round(took)} ms`, { code: "fuzz" });
    }
  }
  console.log(
    `${target.name.padEnd(14)} ${inputs} damaged inputs, seeds ${firstSeed} to ${seed - 1}: refused or read`,
  );
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) {
    return console.log(`usage: deno task fuzz [options]\n\n${helpLines(SPECS)}`), EXIT.ok;
  }
  const seconds = options.number("seconds", { min: 1, max: 86_400 });
  const seed = options.text("seed") === undefined
    ? crypto.getRandomValues(new Uint32Array(1))[0] ?? 1
    : options.number("seed", { min: 0, max: 0xffff_ffff });
  const chosen = options.text("target") === undefined
    ? TARGETS
    : TARGETS.filter(({ name }) => name === options.choice("target", TARGETS.map((each) => each.name)));
  for (const target of chosen) await fuzz(target, seconds, seed);
  return EXIT.ok;
}

try {
  Deno.exit(await main(Deno.args));
} catch (thrown) {
  const { lines } = failureLines(thrown);
  Deno.stderr.writeSync(encoder.encode(`${lines.join("\n")}\n`));
  Deno.exit(EXIT.failed);
}
