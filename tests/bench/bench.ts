/**
 * The benchmark: compares services in one run, because single figures vary with other load on the machine. It
 * neither passes nor fails.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { EXIT, helpLines, parseOptions } from "../../lib/shared/cli/options.ts";
import { failureLines } from "../../lib/shared/cli/failure.ts";
import { COMMON_OPTIONS } from "../../lib/shared/cli/options.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { benchBinary } from "./binary.ts";
import { benchCrypto } from "./crypto.ts";
import { benchFfi } from "./ffi.ts";
import { benchKms } from "./kms.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import {
  BUILD,
  buildPeers,
  CONFIGURE,
  type LoadResult,
  type Peer,
  type PeerOptions,
  Peers,
  run,
} from "./peers.ts";
import { type Measured, ratio, readmeTable, type Row, serviceReport, withGenerated } from "./report.ts";
import { benchReceipts } from "./receipts.ts";
import { benchWallet } from "./wallet.ts";
import { benchWorkflow } from "./workflow.ts";
import { DEFAULT_MAX_LENGTH, encodeMessage } from "../../lib/shared/wire/framing.ts";

const SPECS = [
  { name: "quick", help: "short rounds: to see that it works" },
  { name: "json", help: "print figures as JSON" },
  { name: "docs", help: "write the figures of the services into README.md and docs/benchmarks.md" },
  {
    name: "before",
    value: "DIR",
    help: "a checkout of another commit, whose service and binary run beside these",
  },
  { name: "only", value: "PART", help: "crypto, ffi, kms, service, workflow, receipts, wallet or binary" },
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

/**
 * The round with the best rate: other load on the machine reduces rates, and makes each request take more
 * processor time.
 */
function best(rounds: readonly LoadResult[]): Measured {
  const rate = ({ requests, seconds }: LoadResult) => requests / seconds;
  const [first] = rounds.toSorted((a, b) => rate(b) - rate(a));
  if (first === undefined) throw new EnclaveError("No round was measured", { code: "bench" });
  const { p50_us, p99_us, cpu_seconds, requests } = first;
  return { per_second: rate(first), p50_us, p99_us, cpu_us: cpu_seconds / requests * 1e6 };
}

function cell(value: number, width: number, digits = 0): string {
  return value.toFixed(digits).padStart(width);
}

interface ServiceBench {
  readonly quick: boolean;
  readonly before: string | undefined;
  /** Whether to write the figures into the documents. */
  readonly docs: boolean;
  readonly print: (line: string) => void;
}

function printRow({ bytes, connections, services }: Row, print: (line: string) => void): void {
  const figures = Object.values(services).map(({ per_second, p50_us, p99_us, cpu_us }) =>
    `${cell(per_second, 12)}${cell(p50_us, 9)}${cell(p99_us, 9)}${cell(cpu_us, 9)}`
  );
  const others = Object.keys(services).filter((name) => name !== "ours");
  const ratios = others.map((name) => cell(ratio({ bytes, connections, services }, name), 12, 2));
  print(`${cell(bytes, 10)}${cell(connections, 6)}${figures.join("")}   ${ratios.join("")}`);
}

async function benchService({ quick, before, docs, print }: ServiceBench): Promise<Record<string, unknown>> {
  await buildPeers();
  const [load = ""] = (await run("cat", ["/proc/loadavg"])).split(" ");
  const rawKey = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
  using key = new SealingKey(new SecretBytes(decodeHex(rawKey)), { random: HOST_RANDOM.fill });
  await using peers = await Peers.start(["ours", "before", "rust", "python"], { key: rawKey, before });
  const { names } = peers;
  if (docs && !(names.includes("rust") && names.includes("python"))) {
    throw new EnclaveError("The documents compare with Rust and Python, and one of these is missing", {
      code: "bench",
    });
  }
  const [rounds, ms] = quick ? [1, 300] : [8, 600];
  const rows: Row[] = [];
  print(
    `process, requests a second (best of ${rounds} interleaved rounds), and ours by theirs`,
  );
  print(
    `     bytes  conn${
      names.map((name) => `${`${name}/s`.padStart(12)}   p50 us   p99 us   cpu us`).join("")
    }   ${names.slice(1).map((name) => `ours:${name}`.padStart(12)).join("")}`,
  );
  for (const [bytes, connections] of CELLS) {
    const file = await requestFile(key, bytes);
    const results = new Map<Peer, LoadResult[]>(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const peer of names) results.get(peer)?.push(await peers.load(peer, connections, ms, file));
    }
    const services = Object.fromEntries(names.map((name) => [name, best(results.get(name) ?? [])]));
    const row = { bytes, connections, services };
    printRow(row, print);
    rows.push(row);
  }
  const others: Record<string, unknown>[] = [];
  for (const peer of ["ours", "before"] as const) {
    if (!names.includes(peer)) continue;
    const options = { key: rawKey, before };
    const file = await requestFile(key, 1024);
    others.push(await benchMemory(peer, options, { file, requests: quick ? 1_000 : 100_000, print }));
    others.push(await benchConfigure(peer, options, { file, ms: quick ? 500 : 5_000, print }));
  }
  if (docs) await writeDocs(rows, load, print);
  return { load_before: Number(load), rows, others };
}

/** Writes the tables of README.md and docs/benchmarks.md. */
async function writeDocs(rows: readonly Row[], load: string, print: (line: string) => void): Promise<void> {
  const [model = ""] = (await run("sh", ["-c", "sed -n 's/^model name.*: //p' /proc/cpuinfo"])).split("\n");
  const [kernel = ""] = /^[0-9]+\.[0-9]+/.exec(await run("uname", ["-r"])) ?? [];
  const seen = `Seen on ${
    new Date().toISOString().slice(0, 10)
  } on ${navigator.hardwareConcurrency} cores (${model}), Linux ${kernel}, Deno ${Deno.version.deno}; load average before the run: ${load}.`;
  for (
    const [file, text] of [
      ["README.md", readmeTable(rows)],
      ["docs/benchmarks.md", `${seen}\n\n${serviceReport(rows)}`],
    ] as const
  ) {
    const path = new URL(`../../${file}`, import.meta.url).pathname;
    await Deno.writeTextFile(path, withGenerated(await Deno.readTextFile(path), text));
    print(`written: ${file}`);
  }
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
    service: () => benchService({ quick, before: options.text("before"), docs: options.on("docs"), print }),
    workflow: () => benchWorkflow(quick, print),
    receipts: () => benchReceipts(quick, print),
    wallet: () => benchWallet(quick, print),
    binary: () => benchBinary(options.text("before"), print),
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
  const { lines, exitCode } = failureLines(thrown);
  Deno.stderr.writeSync(new TextEncoder().encode(`${lines.join("\n")}\n`));
  Deno.exit(exitCode);
}
