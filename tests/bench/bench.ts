/**
 * The benchmark: ratios side by side in one run, since these machines are noisy. Nothing here passes or fails by time.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { EXIT, helpLines, parseOptions } from "../../lib/cli/options.ts";
import { describeFailure } from "../../lib/cli/failure.ts";
import { COMMON_OPTIONS } from "../../lib/cli/options.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/crypto/sealing.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { benchBinary } from "./binary.ts";
import { benchCrypto, measureBare } from "./crypto.ts";
import { benchFfi } from "./ffi.ts";
import { benchKms } from "./kms.ts";
import { BUILD, buildPeers, type LoadResult, type Peer, Peers } from "./peers.ts";
import { benchWallet } from "./wallet.ts";
import { encodeMessage } from "../../lib/wire/framing.ts";

const SPECS = [
  { name: "quick", help: "short rounds: to see that it works" },
  { name: "json", help: "print figures as JSON" },
  { name: "only", value: "PART", help: "crypto, ffi, kms, service, wallet or binary" },
  ...COMMON_OPTIONS,
] as const;
const HELP = `usage: deno task bench [options]\n\n${helpLines(SPECS)}\n`;

const SIZES = [64, 1024, 65_536, 1_048_576] as const;
const CONNECTIONS = [1, 8, 64] as const;

/** A `process` request with so many bytes of plaintext, as it goes onto the wire. */
async function requestFile(key: SealingKey, size: number): Promise<string> {
  const path = `${BUILD}/request-${size}`;
  const ciphertext = encodeHex(await key.seal(new Uint8Array(size)));
  await Deno.writeFile(path, encodeMessage("u32be", { type: "process", ciphertext }));
  return path;
}

/** The round with the median rate. */
function median(rounds: readonly LoadResult[]): LoadResult {
  const sorted = rounds.toSorted((a, b) => a.requests / a.seconds - b.requests / b.seconds);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new EnclaveError("No round was measured", { code: "bench" });
  return middle;
}

async function benchService(
  quick: boolean,
  print: (line: string) => void,
): Promise<Record<string, unknown>[]> {
  await buildPeers();
  const rawKey = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
  using key = await SealingKey.take(new SecretBytes(decodeHex(rawKey)));
  await using peers = await Peers.start(rawKey);
  const [rounds, ms] = quick ? [1, 300] : [3, 1_500];
  const figures: Record<string, unknown>[] = [];
  print("process, requests a second: ours beside the same service in Python (median of interleaved rounds)");
  print("     bytes  conn    ours/s   p50 us   p99 us    python/s   p50 us   p99 us    ratio");
  for (const size of SIZES) {
    const file = await requestFile(key, size);
    for (const connections of CONNECTIONS) {
      const results: Record<Peer, LoadResult[]> = { ours: [], python: [] };
      for (let round = 0; round < rounds; round++) {
        for (const peer of ["ours", "python"] as const) {
          results[peer].push(await peers.load(peer, connections, ms, file));
        }
      }
      const [ours, python] = [median(results.ours), median(results.python)];
      const rate = (result: LoadResult) => result.requests / result.seconds;
      const ratio = rate(ours) / rate(python);
      const cell = (value: number, width: number) => value.toFixed(0).padStart(width);
      print(
        `${cell(size, 10)}${cell(connections, 6)}${cell(rate(ours), 10)}${cell(ours.p50_us, 9)}${
          cell(ours.p99_us, 9)
        }` +
          `${cell(rate(python), 12)}${cell(python.p50_us, 9)}${cell(python.p99_us, 9)}${
            ratio.toFixed(2).padStart(9)
          }`,
      );
      figures.push({ size, connections, ours, python, ratio });
    }
  }
  const large = figures.find(({ size, connections }) => size === 1_048_576 && connections === 8);
  const bare = await measureBare(1_048_576, quick ? 5 : 40);
  const oursLarge = large?.["ours"] as LoadResult;
  const share = oursLarge.requests / oursLarge.seconds / bare;
  print(
    `\n1 MiB, 8 connections: ${
      (share * 100).toFixed(0)
    } % of the rate of bare AES-GCM and hex in one isolate (${bare.toFixed(1)}/s)`,
  );
  const memory = await measureMemory(rawKey, await requestFile(key, 1024), quick ? 500 : 10_000);
  print(
    `resident memory of our service (deno run): ${
      memory.map(({ after, mb }) => `${mb} MB ${after}`).join(", ")
    }`,
  );
  figures.push({ bare_1mib_per_s: bare, share_of_bare: share, memory });
  return figures;
}

/** Memory of a service that did nothing yet, and after so many requests, twice: flat is what is wanted. */
async function measureMemory(
  rawKey: string,
  file: string,
  requests: number,
): Promise<{ readonly after: string; readonly mb: number }[]> {
  await using peers = await Peers.start(rawKey);
  const seen = [{ after: "idle", mb: await peers.residentMb() }];
  for (const round of [1, 2, 3]) {
    for (let done = 0; done < requests;) done += (await peers.load("ours", 8, 200, file)).requests;
    seen.push({ after: `after ${round * requests} requests`, mb: await peers.residentMb() });
  }
  return seen;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const quick = options.on("quick");
  const json = options.on("json");
  const only = options.text("only");
  const print = json ? () => {} : (line: string) => console.log(line);
  print(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores, ${Deno.build.arch}\n`);
  const parts: Readonly<Record<string, () => Promise<unknown>>> = {
    crypto: () => benchCrypto(quick, print),
    ffi: () => benchFfi(quick, print),
    kms: () => benchKms(quick, print),
    service: () => benchService(quick, print),
    wallet: () => benchWallet(quick, print),
    binary: () => benchBinary(print),
  };
  const figures: Record<string, unknown> = {};
  for (const [name, run] of Object.entries(parts)) {
    if (only !== undefined && only !== name) continue;
    figures[name] = await run();
    print("");
  }
  if (json) {
    console.log(
      JSON.stringify({ deno: Deno.version.deno, cores: navigator.hardwareConcurrency, figures }, null, 2),
    );
  }
  return EXIT.ok;
}

try {
  Deno.exit(await main(Deno.args));
} catch (thrown) {
  const { text, exitCode } = describeFailure(thrown);
  Deno.stderr.writeSync(new TextEncoder().encode(text));
  Deno.exit(exitCode);
}
