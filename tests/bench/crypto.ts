/**
 * What opening and sealing cost by themselves, by implementation and size.
 *
 * @module
 */
import { openAeadLibrary } from "../../ffi/aead.ts";
import { type Aead, NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { AWS_LC, isFile } from "./peers.ts";

const SIZES = [64, 1024, 8192, 65_536, 1_048_576, 10_485_760];

/** Microseconds of one run, the best of three rounds. */
export function microseconds(times: number, once: () => unknown): number {
  let best = Infinity;
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    for (let time = 0; time < times; time++) once();
    best = Math.min(best, (performance.now() - started) / times * 1000);
  }
  return best;
}

/** Measures and prints. */
export async function benchCrypto(quick: boolean, print: (line: string) => void): Promise<unknown[]> {
  const awsLc = await isFile(AWS_LC) ? openAeadLibrary(AWS_LC) : undefined;
  const implementations: readonly Aead[] = [...(awsLc === undefined ? [] : [awsLc]), NODE_AEAD];
  if (awsLc === undefined) print("AWS-LC: left out, since it was not built (deno task build aws-lc)");
  print("open and seal, microseconds");
  print(`     bytes${implementations.map(({ name }) => name.padStart(14)).join("")}`);
  const raw = crypto.getRandomValues(new Uint8Array(32));
  const figures: unknown[] = [];
  for (const size of SIZES) {
    const times = Math.max(3, Math.min(quick ? 200 : 3_000, Math.floor(2e7 / size)));
    const us = implementations.map((aead) => {
      using key = new SealingKey(SecretBytes.copyOf(raw), { random: HOST_RANDOM.fill, aead });
      const blob = key.seal(new Uint8Array(size));
      return [aead.name, microseconds(times, () => key.seal(key.open(blob)))] as const;
    });
    print(`${String(size).padStart(10)}${us.map(([, time]) => time.toFixed(1).padStart(14)).join("")}`);
    figures.push({ size, us: Object.fromEntries(us) });
  }
  return figures;
}
