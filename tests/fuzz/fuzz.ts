/**
 * Fuzz targets: parsers of what strangers give, fed with damaged examples for a while. A parser may refuse, by its own errors; it must not throw
 * anything else, hang, or grow. `deno task fuzz --target eif --seconds 60`.
 *
 * @module
 */
import { AttestationError } from "../../lib/attestation/errors.ts";
import { SimulatedNsm } from "../../lib/attestation/simulated.ts";
import { verifyDocumentUnder } from "../../lib/attestation/verify.ts";
import { EXIT, helpLines, parseOptions } from "../../lib/cli/options.ts";
import { describeFailure } from "../../lib/cli/failure.ts";
import { COMMON_OPTIONS } from "../../lib/cli/options.ts";
import { parseConfig } from "../../lib/config/mod.ts";
import { parsePayload } from "../../lib/crypto/ethereum/payload.ts";
import { bytesSource, EifError, MemorySink, readEif, writeEif } from "../../lib/eif/mod.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { readKeyPolicy } from "../../lib/aws/key_policy.ts";
import { FrameDecoder } from "../../lib/wire/framing.ts";
import { EIP712_MAIL } from "../fixtures/ethereum.ts";

/** A parser under test. */
interface Target {
  readonly name: string;
  /** Examples that are good, to damage. */
  seeds(): Promise<readonly Uint8Array<ArrayBuffer>[]>;
  /** Throws only what it may. */
  run(bytes: Uint8Array<ArrayBuffer>): void | Promise<void>;
}

const SPECS = [
  { name: "target", value: "NAME", help: "one of them; by default all, one after the other" },
  { name: "seconds", value: "S", default: "10", help: "for each" },
  { name: "seed", value: "N", help: "begin with this, as a failure told" },
  ...COMMON_OPTIONS,
] as const;

/** An input may take so long. Milliseconds. */
const SLOW_MS = 2_000;
const encoder = new TextEncoder();

/** Runs a parser of text; errors that this program throws on purpose are refusals. */
function refuses(run: () => unknown): void {
  try {
    run();
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError)) throw thrown;
  }
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function targets(): Promise<readonly Target[]> {
  const nsm = await SimulatedNsm.start({ nsmDevice: "/nonexistent" });
  return [
    {
      name: "eif",
      seeds: async () => {
        const sink = new MemorySink();
        await writeEif(sink, {
          architecture: "x86_64",
          kernel: bytesSource(new Uint8Array(300).fill(1)),
          commandLine: "console=ttyS0",
          ramdisks: [bytesSource(new Uint8Array(100).fill(2)), bytesSource(new Uint8Array(200).fill(3))],
          metadata: {
            ImageName: "fuzz",
            ImageVersion: "1",
            BuildMetadata: {
              BuildTime: "1970-01-01T00:00:00+00:00",
              BuildTool: "fuzz",
              BuildToolVersion: "1",
              OperatingSystem: "Linux",
              KernelVersion: "1",
            },
            DockerInfo: {},
            CustomMetadata: {},
          },
        });
        return [sink.bytes()];
      },
      run: async (bytes) => {
        try {
          await readEif(bytesSource(bytes));
        } catch (thrown) {
          if (!(thrown instanceof EifError)) throw thrown;
        }
      },
    },
    {
      name: "document",
      seeds: async () => [
        await nsm.attest(),
        await nsm.attest({ nonce: new Uint8Array(32), userData: new Uint8Array(9) }),
      ],
      run: async (bytes) => {
        try {
          await verifyDocumentUnder(nsm.root, bytes, { at: "made" });
        } catch (thrown) {
          if (!(thrown instanceof AttestationError)) throw thrown;
        }
      },
    },
    {
      name: "framing",
      seeds: () =>
        Promise.resolve(
          ['{"type":"ping"}\n', '\0\0\0\u000f{"type":"ping"}', '{"a":[{"b":"\\"}"}]}'].map((each) =>
            encoder.encode(each)
          ),
        ),
      run: (bytes) => {
        const decoder = new FrameDecoder(4096);
        for (let at = 0; at < bytes.length;) {
          const room = decoder.space();
          const part = bytes.subarray(at, at + Math.max(1, Math.min(room.length, 7)));
          room.set(part);
          decoder.commit(part.length);
          at += part.length;
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
            if ("problem" in frame && !frame.recoverable) return;
            decoder.release();
          }
        }
        decoder.end();
        decoder.next();
      },
    },
    {
      name: "typed-data",
      seeds: () => Promise.resolve([encoder.encode(JSON.stringify({ typedData: EIP712_MAIL.typedData }))]),
      run: (bytes) => {
        let json: unknown;
        try {
          json = JSON.parse(text(bytes));
        } catch {
          return;
        }
        if (typeof json !== "object" || json === null) return;
        refuses(() => parsePayload(json as Record<string, unknown>, EIP712_MAIL.address));
      },
    },
    {
      name: "policy",
      seeds: () =>
        Promise.resolve([
          encoder.encode(
            '{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}',
          ),
        ]),
      run: (bytes) => refuses(() => readKeyPolicy(text(bytes))),
    },
    {
      name: "config",
      seeds: async () => [await Deno.readFile(new URL("../../config/development.yaml", import.meta.url))],
      run: (bytes) => refuses(() => parseConfig(text(bytes), "fuzz.yaml")),
    },
  ];
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

async function fuzz(target: Target, seconds: number, firstSeed: number): Promise<void> {
  const seeds = await target.seeds();
  const end = performance.now() + seconds * 1000;
  let seed = firstSeed;
  let inputs = 0;
  for (; performance.now() < end; seed++, inputs++) {
    const random = generator(Math.imul(seed, 0x9e3779b1));
    const example = seeds[random(seeds.length)] ?? new Uint8Array();
    const input = damage(example, random);
    const started = performance.now();
    try {
      await target.run(input);
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
    `${target.name.padEnd(12)} ${inputs} damaged inputs, seeds ${firstSeed} to ${seed - 1}: refused or read`,
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
  const all = await targets();
  const chosen = options.text("target") === undefined
    ? all
    : all.filter(({ name }) => name === options.choice("target", all.map((each) => each.name)));
  for (const target of chosen) await fuzz(target, seconds, seed);
  return EXIT.ok;
}

try {
  Deno.exit(await main(Deno.args));
} catch (thrown) {
  const { text: words } = describeFailure(thrown);
  Deno.stderr.writeSync(encoder.encode(words));
  Deno.exit(EXIT.failed);
}
