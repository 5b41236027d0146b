/**
 * The benchmark: compares services in one run, because single figures vary with other load on the machine. It neither passes nor fails.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { EXIT, helpLines, parseOptions } from "../../lib/cli/options.ts";
import { describeFailure } from "../../lib/cli/failure.ts";
import { COMMON_OPTIONS } from "../../lib/cli/options.ts";
import { HOST_RANDOM } from "../../lib/crypto/host_random.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/crypto/sealing.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { benchBinary } from "./binary.ts";
import { benchCrypto } from "./crypto.ts";
import { benchFfi } from "./ffi.ts";
import { benchKms } from "./kms.ts";
import { Client } from "../../lib/parent/client.ts";
import {
  BUILD,
  buildPeers,
  CONFIGURE,
  type LoadResult,
  type Peer,
  type PeerOptions,
  Peers,
} from "./peers.ts";
import { benchWallet } from "./wallet.ts";
import { DEFAULT_MAX_LENGTH, encodeMessage } from "../../lib/wire/framing.ts";

const SPECS = [
  { name: "quick", help: "short rounds: to see that it works" },
  { name: "json", help: "print figures as JSON" },
  {
    name: "before",
    value: "DIR",
    help: "a checkout of another commit, whose service runs beside this one",
  },
  { name: "only", value: "PART", help: "crypto, ffi, kms, service, wallet or binary" },
  ...COMMON_OPTIONS,
] as const;
const HELP = `usage: deno task bench [options]\n\n${helpLines(SPECS)}\n`;

/** Half of the largest message, as hex, is what a blob can have. */
const LARGEST = Math.floor((DEFAULT_MAX_LENGTH - 64) / 2) - 28;
/** Bytes of plaintext, connections. */
const CELLS: readonly (readonly [number, number])[] = [
  [64, 8],
  [1024, 1],
  [1024, 8],
  [1024, 64],
  [65_536, 1],
  [65_536, 8],
  [1_048_576, 1],
  [1_048_576, 8],
  [LARGEST, 1],
];

/** A `process` request with so many bytes of plaintext, as it goes onto the wire. */
async function requestFile(key: SealingKey, size: number): Promise<string> {
  const path = `${BUILD}/request-${size}`;
  const ciphertext = encodeHex(key.seal(new Uint8Array(size)));
  await Deno.writeFile(path, encodeMessage("u32be", { type: "process", ciphertext }));
  return path;
}

function rate({ requests, seconds }: LoadResult): number {
  return requests / seconds;
}

/** The round with the best rate, because other load only reduces rates. The same holds for processor time. */
function best(rounds: readonly LoadResult[]): LoadResult {
  const [first] = rounds.toSorted((a, b) => rate(b) - rate(a));
  if (first === undefined) throw new EnclaveError("No round was measured", { code: "bench" });
  return { ...first, cpu_us: Math.min(...rounds.map(({ cpu_us }) => cpu_us)) };
}

function cell(value: number, width: number, digits = 0): string {
  return value.toFixed(digits).padStart(width);
}

interface ServiceBench {
  readonly quick: boolean;
  readonly before: string | undefined;
  readonly print: (line: string) => void;
}

async function benchService({ quick, before, print }: ServiceBench): Promise<Record<string, unknown>[]> {
  await buildPeers();
  const rawKey = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
  using key = SealingKey.take(new SecretBytes(decodeHex(rawKey)), { random: HOST_RANDOM.fill });
  await using peers = await Peers.start(["ours", "before", "rust", "python"], { key: rawKey, before });
  const { names } = peers;
  const [rounds, ms] = quick ? [1, 300] : [8, 600];
  const figures: Record<string, unknown>[] = [];
  print(`process, requests a second (best of ${rounds} interleaved rounds), and ours by theirs`);
  print(
    `     bytes  conn${
      names.map((name) => `${`${name}/s`.padStart(12)}   p50 us   p99 us   cpu us`).join("")
    }   ${names.slice(1).map((name) => `ours:${name}`.padStart(12)).join("")}`,
  );
  for (const [size, connections] of CELLS) {
    const file = await requestFile(key, size);
    const results = new Map<Peer, LoadResult[]>(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const peer of names) results.get(peer)?.push(await peers.load(peer, connections, ms, file));
    }
    const found = names.map((name) => [name, best(results.get(name) ?? [])] as const);
    const ours = rate(best(results.get("ours") ?? []));
    const ratios = found.slice(1).map(([name, result]) => [name, ours / rate(result)] as const);
    print(
      `${cell(size, 10)}${cell(connections, 6)}${
        found.map(([, result]) =>
          `${cell(rate(result), 12)}${cell(result.p50_us, 9)}${cell(result.p99_us, 9)}${
            cell(result.cpu_us, 9)
          }`
        ).join("")
      }   ${ratios.map(([, ratio]) => cell(ratio, 12, 2)).join("")}`,
    );
    figures.push({ size, connections, ...Object.fromEntries(found), ratios: Object.fromEntries(ratios) });
  }
  for (const peer of ["ours", "before"] as const) {
    if (!names.includes(peer)) continue;
    const options = { key: rawKey, before };
    const file = await requestFile(key, 1024);
    figures.push(await benchMemory(peer, options, { file, requests: quick ? 1_000 : 100_000, print }));
    figures.push(await benchConfigure(peer, options, { file, ms: quick ? 500 : 5_000, print }));
  }
  return figures;
}

/** Memory of a service that did nothing yet, and after many requests. */
async function benchMemory(
  peer: Peer,
  options: PeerOptions,
  { file, requests, print }: {
    readonly file: string;
    readonly requests: number;
    readonly print: (line: string) => void;
  },
): Promise<Record<string, unknown>> {
  await using peers = await Peers.start([peer], options);
  const idle = await peers.residentMb(peer);
  for (let done = 0; done < requests;) done += (await peers.load(peer, 8, 500, file)).requests;
  const after = await peers.residentMb(peer);
  print(
    `resident memory (deno run, ${peer}): ${idle} MB idle, ${after} MB after ${requests} requests of 1 KiB`,
  );
  return { peer, resident_idle_mb: idle, resident_after_mb: after, requests };
}

/** Clients that configure against a slow KMS, all at once. */
const CONFIGURING = 64;
const SLOW_KMS_MS = 200;

/** `process` by itself, and while others `configure`. */
async function benchConfigure(
  peer: Peer,
  options: PeerOptions,
  { file, ms, print }: {
    readonly file: string;
    readonly ms: number;
    readonly print: (line: string) => void;
  },
): Promise<Record<string, unknown>> {
  await using peers = await Peers.start([peer], { ...options, kmsMs: SLOW_KMS_MS });
  const alone = await peers.load(peer, 8, ms, file);
  let ended = false;
  let configured = 0;
  let refused = 0;
  const clients = Array.from({ length: CONFIGURING }, async () => {
    using client = await Client.connect({ transport: "tcp", hostname: "127.0.0.1", port: peers.port(peer) });
    while (!ended) {
      const { status } = await client.exchange(CONFIGURE);
      if (status === "ok") configured++;
      else {
        refused++;
        await new Promise((resolve) => setTimeout(resolve, SLOW_KMS_MS));
      }
    }
  });
  const beside = await peers.load(peer, 8, ms, file);
  ended = true;
  await Promise.all(clients);
  print(
    `process, 1 KiB, 8 connections (${peer}): p99 ${cell(alone.p99_us, 0)} us alone, ${
      cell(beside.p99_us, 0)
    } us while ${CONFIGURING} clients configure (KMS takes ${SLOW_KMS_MS} ms; ${configured} configured, ${refused} refused)`,
  );
  return { peer, p99_us_alone: alone.p99_us, p99_us_while_configuring: beside.p99_us, configured, refused };
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
    service: () => benchService({ quick, before: options.text("before"), print }),
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
