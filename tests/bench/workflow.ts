/**
 * What the processes of the workflow cost and give: two of them against one, `ping` while workflows loop, the time from a loop's deadline to the next
 * right reply, and the memory of each process.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { Client } from "../../lib/ctl/client/client.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { encodeMessage } from "../../lib/shared/wire/framing.ts";
import { BUILD, buildPeers, type LoadResult, Peers, run } from "./peers.ts";

const CONNECTIONS = 8;
const LOOP_MS = 200;
/** What the first byte of the data asks for (`workflows.ts`). */
const WORK = { none: 0, computes: 1, loops: 2 } as const;

function quantile(values: readonly number[], at: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * at)] ?? NaN;
}

const rate = ({ requests, seconds }: LoadResult) => requests / seconds;

/** Proportional memory of a service and of its children, by what they are. MB. */
async function memory(pid: number): Promise<Readonly<Record<string, number>>> {
  const children = (await run("sh", ["-c", `cat /proc/${pid}/task/*/children`])).trim().split(/\s+/);
  const pss = async (id: number | string) => {
    const [, kib = "0"] = /^Pss:\s+([0-9]+)/m.exec(await run("cat", [`/proc/${id}/smaps_rollup`])) ?? [];
    return Math.round(Number(kib) / 1024);
  };
  return { service: await pss(pid), workflow_process: await pss(children[0] ?? pid) };
}

/** Measures, prints, and gives the figures. */
export async function benchWorkflow(quick: boolean, print: (line: string) => void): Promise<unknown> {
  await buildPeers();
  const rawKey = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
  using key = new SealingKey(new SecretBytes(decodeHex(rawKey)), { random: HOST_RANDOM.fill });
  const request = (what: number) => ({
    type: "process",
    ciphertext: encodeHex(key.seal(new Uint8Array(1_024).fill(what))),
  });
  const [rounds, ms] = quick ? [1, 300] : [6, 800];

  const file = `${BUILD}/request-computes`;
  await Deno.writeFile(file, encodeMessage("u32be", request(WORK.computes)));
  const rates: Record<number, number[]> = { 1: [], 2: [] };
  for (let round = 0; round < rounds; round++) {
    for (const processes of [1, 2]) {
      await using peers = await Peers.start(["ours"], { key: rawKey, processes });
      const result = await peers.load("ours", CONNECTIONS, ms, file);
      rates[processes]?.push(rate(result));
    }
  }
  const [one, two] = [Math.max(...rates[1] ?? []), Math.max(...rates[2] ?? [])];
  print(
    `workflow of 2 ms, ${CONNECTIONS} connections: ${one.toFixed(0)}/s with one process, ${
      two.toFixed(0)
    }/s with two: ${(two / one).toFixed(2)}`,
  );

  await using peers = await Peers.start(["ours"], { key: rawKey, processes: 1, workflowMs: LOOP_MS });
  const address = { transport: "tcp", hostname: "127.0.0.1", port: peers.port("ours") } as const;
  using looping = await Client.connect(address);
  using other = await Client.connect(address);
  await other.request(request(WORK.none));
  const figures = await memory(peers.pid("ours"));
  const gaps: number[] = [];
  const pings: number[] = [];
  for (let round = 0; round < (quick ? 2 : 20); round++) {
    let isLooping = true;
    const loop = looping.exchange(request(WORK.loops)).then((reply) => {
      isLooping = false;
      return { reply, at: performance.now() };
    });
    const behind = other.exchange(request(WORK.none)).then((reply) => ({ reply, at: performance.now() }));
    using pinging = await Client.connect(address);
    while (isLooping) {
      const asked = performance.now();
      await pinging.exchange({ type: "ping" });
      pings.push(performance.now() - asked);
    }
    const [ended, next] = [await loop, await behind];
    if (ended.reply["msg"] !== "workflow_timeout" || next.reply["status"] !== "ok") {
      throw new TypeError("not as expected");
    }
    gaps.push(Math.max(0, next.at - ended.at));
    // The one that is kept ready has to start again.
    while (
      Number(JSON.stringify(await other.exchange({ type: "health" })).match(/"started":([0-9]+)/)?.[1]) <
        3 + round
    ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  const [p99, gap] = [quantile(pings, 0.99), quantile(gaps, 0.5)];
  print(`ping while workflows loop: p99 ${p99.toFixed(2)} ms of ${pings.length}`);
  print(
    `from a loop's deadline to the reply of the request behind it: median ${gap.toFixed(1)} ms, longest ${
      Math.max(...gaps).toFixed(1)
    } ms`,
  );
  print(
    `proportional memory, idle: service ${figures["service"]} MB, workflow process ${
      figures["workflow_process"]
    } MB`,
  );
  return { one_process: one, two_processes: two, ping_p99_ms: p99, gap_ms: gap, memory_mb: figures };
}
