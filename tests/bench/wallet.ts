/**
 * What a signature costs: through the wallet's socket, and in-process by noble, ethers and viem, one after
 * the other in one run; a batch; and accounts made.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { signDigest } from "../../lib/shared/crypto/secp256k1.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { encodeMessage } from "../../lib/shared/wire/framing.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { SigningKey } from "../deps/ethers.ts";
import { privateKeyToAccount } from "../deps/viem.ts";
import { BUILD, buildPeers, type LoadResult, run, start } from "./peers.ts";
import { newSecretKey } from "../helpers/new_secret_key.ts";

const CONNECTIONS = 8;
const BATCH = 1_000;
const CREDENTIAL = { aws_access_key_id: "bench", aws_secret_access_key: "bench", aws_session_token: "" };

/** The rate per second of an operation that is repeated for some time. */
async function rate(ms: number, once: () => unknown): Promise<number> {
  const started = performance.now();
  let times = 0;
  while (performance.now() - started < ms) {
    await once();
    times++;
  }
  return times / (performance.now() - started) * 1000;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function contentOf(reply: WireObject): WireObject {
  if ("content" in reply) return reply["content"] as WireObject;
  throw new EnclaveError(`The wallet answered ${JSON.stringify(reply)}`, { code: "bench" });
}

/** Measures, prints, and gives the figures. */
export async function benchWallet(quick: boolean, print: (line: string) => void): Promise<unknown> {
  await buildPeers();
  const { child, port } = await start(Deno.execPath(), [
    "run",
    "--quiet",
    "--no-prompt",
    "--allow-net=127.0.0.1",
    "--allow-ffi",
    new URL("wallet_main.ts", import.meta.url).pathname,
  ]);
  try {
    using client = await Client.connect({ transport: "tcp", hostname: "127.0.0.1", port });
    const account = async (name: string) =>
      contentOf(await client.exchange({ apiRequest: "generateAccount", credential: CREDENTIAL, name }));
    const row = await account("bench");
    const signing = { apiRequest: "sign", credential: CREDENTIAL, ...row, key_id: row["keyId"] };
    const digest = encodeHex(crypto.getRandomValues(new Uint8Array(32)));
    const file = `${BUILD}/sign-digest`;
    await Deno.writeFile(file, encodeMessage("u32be", { ...signing, digest }));
    const items = Array.from({ length: BATCH }, () => ({ digest }));

    using key = newSecretKey();
    const hex: `0x${string}` = `0x${encodeHex(key.expose())}`;
    const [ethers, viem] = [new SigningKey(hex), privateKeyToAccount(hex)];
    const bytes = decodeHex(digest);
    const ms = quick ? 200 : 1_500;
    const ways: Readonly<Record<string, () => Promise<number>>> = {
      "noble, in process": () => rate(ms, () => signDigest(key, bytes)),
      "ethers, in process": () => rate(ms, () => ethers.sign(`0x${digest}`)),
      "viem, in process": () => rate(ms, () => viem.sign({ hash: `0x${digest}` })),
      [`the wallet, ${CONNECTIONS} connections, cached key`]: async () => {
        const args = [String(port), String(CONNECTIONS), String(ms), file];
        const { requests, seconds, errors } = JSON.parse(
          await run(`${BUILD}/load_generator`, args),
        ) as LoadResult;
        if (errors > 0) throw new EnclaveError(`${errors} signatures failed`, { code: "bench" });
        return requests / seconds;
      },
      [`the wallet, batches of ${BATCH}`]: async () => {
        const started = performance.now();
        const { signatures } = contentOf(await client.exchange({ ...signing, items }));
        if ((signatures as unknown[]).length !== BATCH) {
          throw new EnclaveError("a short batch", { code: "bench" });
        }
        return BATCH / (performance.now() - started) * 1000;
      },
    };
    const rounds: Record<string, number[]> = {};
    for (let round = 0; round < (quick ? 1 : 5); round++) {
      for (const [name, measure] of Object.entries(ways)) (rounds[name] ??= []).push(await measure());
    }
    const noble = median(rounds["noble, in process"] ?? []);
    print("signatures of a digest, a second (median of interleaved rounds)");
    const figures: Record<string, number> = {};
    for (const [name, values] of Object.entries(rounds)) {
      figures[name] = median(values);
      print(
        `  ${name.padEnd(42)}${median(values).toFixed(0).padStart(8)}   ${
          (median(values) / noble).toFixed(2)
        } of noble`,
      );
    }
    let made = 0;
    figures["accounts"] = await rate(ms, () => account(`account ${made++}`));
    print(
      `  ${"accounts made, one connection, local KMS".padEnd(42)}${
        figures["accounts"].toFixed(0).padStart(8)
      }`,
    );
    return figures;
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}
