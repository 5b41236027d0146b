/**
 * What sealing costs by itself: the two implementations by size, and the bare rate that a service could reach at best.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { createCipheriv, createDecipheriv } from "node:crypto";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { SealingKey, SMALL_LENGTH } from "../../lib/crypto/sealing.ts";

const RAW = crypto.getRandomValues(new Uint8Array(32));

/** Microseconds of one run, the best of three rounds. */
async function microseconds(times: number, once: () => unknown): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    for (let time = 0; time < times; time++) await once();
    best = Math.min(best, (performance.now() - started) / times * 1000);
  }
  return best;
}

/** Open, seal, and hex both ways, a second, one after the other in this isolate. */
export async function measureBare(size: number, times: number): Promise<number> {
  using key = await SealingKey.take(SecretBytes.copyOf(RAW));
  const hex = encodeHex(await key.seal(new Uint8Array(size)));
  const us = await microseconds(times, async () => encodeHex(await key.seal(await key.open(decodeHex(hex)))));
  return 1e6 / us;
}

/** By size: open and seal by `node:crypto`, and by WebCrypto. */
export async function benchCrypto(quick: boolean, print: (line: string) => void): Promise<unknown[]> {
  const web = await crypto.subtle.importKey("raw", RAW, "AES-GCM", false, ["encrypt", "decrypt"]);
  const iv = new Uint8Array(12);
  print(
    `open and seal, microseconds: node:crypto and WebCrypto (the program changes over at ${SMALL_LENGTH} bytes)`,
  );
  const figures: unknown[] = [];
  for (const size of [64, 1024, 4096, 8192, 16_384, 32_768, 65_536, 1_048_576]) {
    const times = Math.max(3, Math.min(quick ? 200 : 3_000, Math.floor(2e7 / size)));
    const plaintext = new Uint8Array(size);
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, web, plaintext));
    const node = await microseconds(times, () => {
      const decipher = createDecipheriv("aes-256-gcm", RAW, iv);
      decipher.setAuthTag(sealed.subarray(size));
      const opened = decipher.update(sealed.subarray(0, size));
      decipher.final();
      const cipher = createCipheriv("aes-256-gcm", RAW, iv);
      cipher.update(opened);
      cipher.final();
      return cipher.getAuthTag();
    });
    const subtle = await microseconds(times, async () => {
      const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, web, sealed);
      return await crypto.subtle.encrypt({ name: "AES-GCM", iv }, web, opened);
    });
    print(`${String(size).padStart(10)}${node.toFixed(1).padStart(12)}${subtle.toFixed(1).padStart(12)}`);
    figures.push({ size, node_us: node, web_us: subtle });
  }
  return figures;
}
