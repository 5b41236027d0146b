/**
 * The compiled binary: size, time to listening, resident memory. Looks for the one that `scripts/build_test_binary.sh` makes.
 *
 * @module
 */
import { Client } from "../../lib/parent/client.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { run } from "./peers.ts";

const BINARY = `${NATIVE_DIR}/denclave-test`;

/** Measures and prints; prints the reason if there is no binary. */
export async function benchBinary(
  print: (line: string) => void,
): Promise<Record<string, number> | undefined> {
  const file = await Deno.stat(BINARY).catch(() => undefined);
  if (file === undefined) {
    print("binary: skipped, since there is none (scripts/build_test_binary.sh makes it)");
    return undefined;
  }
  const starts: number[] = [];
  let residentMb = 0;
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    await using service = await ServiceProcess.start({
      command: BINARY,
      args: ["--listen", "tcp:127.0.0.1:0"],
    });
    using client = await Client.connect(service.address);
    await client.request({ type: "ping" });
    starts.push(performance.now() - started);
    residentMb = Math.round(Number(await run("ps", ["-o", "rss=", "-p", String(service.pid)])) / 1024);
  }
  const figures = {
    size_mb: Math.round(file.size / 1e5) / 10,
    start_to_first_answer_ms: Math.round(Math.min(...starts)),
    resident_idle_mb: residentMb,
  };
  print(
    `binary: ${figures.size_mb} MB, ${figures.start_to_first_answer_ms} ms from start to its first answer, ${residentMb} MB resident when idle`,
  );
  return figures;
}
