/**
 * The compiled binary: size, time to its first answer and to an open SDK process, resident memory. Looks for
 * the one that `scripts/build_test_binary.sh` makes, in this checkout and in another one.
 *
 * @module
 */
import { Client } from "../../lib/ctl/client/client.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { isFile, run } from "./peers.ts";

const BINARY = "denclave-test";
const ROUNDS = 10;

/** One start. Milliseconds, and MB when idle. */
interface Start {
  readonly first_answer_ms: number;
  readonly sdk_open_ms: number;
  readonly resident_mb: number;
}

async function start(binary: string): Promise<Start> {
  const started = performance.now();
  await using service = await ServiceProcess.start({
    command: binary,
    args: ["--listen", "tcp:127.0.0.1:0"],
  });
  const opened = service.logged("sdk_open").then(() => performance.now() - started);
  using client = await Client.connect(service.address);
  await client.request({ type: "ping" });
  const first_answer_ms = performance.now() - started;
  const sdk_open_ms = await opened;
  const resident_mb = Number(await run("ps", ["-o", "rss=", "-p", String(service.pid)])) / 1024;
  return { first_answer_ms, sdk_open_ms, resident_mb };
}

function median(values: readonly number[]): number {
  return Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN);
}

/**
 * Measures and prints; prints the reason if there is no binary. Those of two checkouts are started in turns.
 */
export async function benchBinary(
  before: string | undefined,
  print: (line: string) => void,
): Promise<Record<string, unknown> | undefined> {
  const binaries = new Map([["ours", `${NATIVE_DIR}/${BINARY}`]]);
  if (before !== undefined) binaries.set("before", `${before}/tests/native/build/${BINARY}`);
  for (const [name, path] of binaries) {
    if (await isFile(path)) continue;
    print(`binary (${name}): skipped, since there is none (scripts/build_test_binary.sh makes it)`);
    binaries.delete(name);
  }
  const starts = new Map<string, Start[]>([...binaries.keys()].map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, path] of binaries) starts.get(name)?.push(await start(path));
  }
  const figures: Record<string, unknown> = {};
  for (const [name, path] of binaries) {
    const all = starts.get(name) ?? [];
    const found = {
      size_mb: Math.round((await Deno.stat(path)).size / 1e5) / 10,
      first_answer_ms: median(all.map(({ first_answer_ms }) => first_answer_ms)),
      sdk_open_ms: median(all.map(({ sdk_open_ms }) => sdk_open_ms)),
      resident_mb: median(all.map(({ resident_mb }) => resident_mb)),
    };
    figures[name] = found;
    print(
      `binary (${name}): ${found.size_mb} MB; medians of ${ROUNDS} starts: ${found.first_answer_ms} ms to the first answer, ${found.sdk_open_ms} ms to an open SDK process, ${found.resident_mb} MB resident when idle`,
    );
  }
  return figures;
}
