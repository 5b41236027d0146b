/**
 * What receipts cost: `process` of 1 KiB over eight connections with a receipt each, against without; and the size of one.
 *
 * @module
 */
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { createHash, createPrivateKey, hkdfSync, sign } from "node:crypto";
import { Client } from "../../lib/ctl/client/client.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { encodeMessage } from "../../lib/shared/wire/framing.ts";
import { microseconds } from "./crypto.ts";
import { BUILD, buildPeers, type LoadResult, Peers } from "./peers.ts";

const CONNECTIONS = 8;
const SIZE = 1024;
/** With a receipt, at least this part of the rate without. */
const TARGET = 0.45;

const rate = ({ requests, seconds }: LoadResult) => requests / seconds;

/** Measures, prints, and gives the figures. */
export async function benchReceipts(quick: boolean, print: (line: string) => void): Promise<unknown> {
  await buildPeers();
  const rawKey = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
  using key = new SealingKey(new SecretBytes(decodeHex(rawKey)), { random: HOST_RANDOM.fill });
  const ciphertext = encodeHex(key.seal(new Uint8Array(SIZE)));
  const requests = {
    without: { type: "process", ciphertext },
    with: { type: "process", ciphertext, receipt: { nonce: encodeBase64(new Uint8Array(32)) } },
  } as const;
  await using peers = await Peers.start(["ours"], { key: rawKey });
  using client = await Client.connect({ transport: "tcp", hostname: "127.0.0.1", port: peers.port("ours") });
  const reply = await client.request(requests.with);
  const bytes = decodeBase64(String(reply["receipt"])).length;

  const [rounds, ms] = quick ? [3, 400] : [12, 600];
  const best = { without: 0, with: 0 };
  const cpu = { without: Infinity, with: Infinity };
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["without", "with"] as const) {
      const file = `${BUILD}/request-receipt-${kind}`;
      await Deno.writeFile(file, encodeMessage("u32be", requests[kind]));
      const seen = await peers.load("ours", CONNECTIONS, ms, file);
      best[kind] = Math.max(best[kind], rate(seen));
      cpu[kind] = Math.min(cpu[kind], seen.cpu_seconds / seen.requests * 1e6);
    }
  }
  const ratio = best.with / best.without;
  print(
    `process, 1 KiB, ${CONNECTIONS} connections: ${best.without.toFixed(0)}/s without receipts, ${
      best.with.toFixed(0)
    }/s with one each: ${ratio.toFixed(2)} (at least ${TARGET}); CPU µs ${cpu.without.toFixed(0)} and ${
      cpu.with.toFixed(0)
    }`,
  );

  const data = new Uint8Array(SIZE);
  const seed = new Uint8Array(48).fill(1);
  const der = new Uint8Array([...decodeHex("302e020100300506032b657004220420"), ...new Uint8Array(32)]);
  const privateKey = createPrivateKey({
    key: encodeBase64(der),
    format: "der",
    type: "pkcs8",
    encoding: "base64",
  });
  const times = quick ? 200 : 5_000;
  const parts = {
    ed25519: microseconds(times, () => sign(null, data.subarray(0, 341), privateKey)),
    sha384: microseconds(times, () => createHash("sha384").update(seed).update(data).digest()),
    hkdf: microseconds(times, () => hkdfSync("sha384", seed, new Uint8Array(0), seed, 48)),
  };
  const shown = Object.entries(parts).map(([name, us]) => `${name} ${us.toFixed(1)}`).join(", ");
  print(
    `a receipt: ${bytes} bytes; one signature, three hashes and two derivations of node:crypto, each in microseconds: ${shown}`,
  );
  return { ...best, ratio, cpu_us: cpu, bytes, us: parts };
}
