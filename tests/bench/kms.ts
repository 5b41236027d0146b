/**
 * KMS calls a second by the number of SDK processes, against a stand-in that takes 20 ms for each.
 *
 * @module
 */
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { Credentials } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { childStarter } from "../../lib/enclave/children/child.ts";
import { SdkPool } from "../../lib/enclave/kms/sdk_process/pool.ts";
import { MAX_LENGTH } from "../../lib/enclave/kms/sdk_process/protocol.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const KMS_MS = 20;
const CALLERS = 16;
const PROCESSES = [1, 2, 4] as const;

function openPool(processes: number): SdkPool {
  return new SdkPool({
    // Through env(1), which becomes the program: this one may not set variables.
    start: childStarter({
      command: "/usr/bin/env",
      args: [
        `STUB_KMS_MS=${KMS_MS}`,
        Deno.execPath(),
        "run",
        "--quiet",
        "--no-prompt",
        `--allow-ffi=${[NATIVE_DIR, ...LIBC_PATHS].join(",")}`,
        MAIN,
        "sdk-process",
      ],
      maxLength: MAX_LENGTH,
    }),
    open: { libraryDir: NATIVE_DIR, proxyPort: 8000, seedBytes: 0, idleMs: 60_000, maxWarm: 32 },
    processes,
    deadlines: { startMs: 20_000, connectMs: 20_000, callMs: 5_000, totalMs: 20_000 },
    maxClients: 1_000,
    maxWaiting: { decrypt: CALLERS, generateDataKey: CALLERS, generateRandom: CALLERS },
    log: () => {},
  });
}

/** Calls a second, with so many sets of credentials among the callers. */
async function rateOf(processes: number, identities: number, ms: number): Promise<number> {
  using pool = openPool(processes);
  await pool.start();
  const ciphertext = stubWrap(new Uint8Array(32));
  const decrypt = async (caller: number) => {
    using credentials = Credentials.fromStrings({
      accessKeyId: `AKIDBENCH${caller % identities}`,
      secretAccessKey: "made-for-this",
      sessionToken: "made-for-this",
    });
    const { plaintext } = await pool.call("us-east-1", credentials, {
      kind: "decrypt",
      ciphertext,
      keyId: STUB_KEY_ARN,
    });
    plaintext[Symbol.dispose]();
  };
  const callers = Array.from({ length: CALLERS }, (_, caller) => caller);
  // Warm first, in every process.
  for (let round = 0; round < 10 || pool.state.sessions.length < processes; round++) {
    await Promise.all(callers.map(decrypt));
  }
  let calls = 0;
  const started = performance.now();
  await Promise.all(callers.map(async (caller) => {
    while (performance.now() - started < ms) {
      await decrypt(caller);
      calls++;
    }
  }));
  return calls / (performance.now() - started) * 1000;
}

/** Measures and prints. */
export async function benchKms(
  quick: boolean,
  print: (line: string) => void,
): Promise<Record<string, unknown>[]> {
  const figures: Record<string, unknown>[] = [];
  print(
    `KMS calls a second, ${CALLERS} callers, a KMS that takes ${KMS_MS} ms (C stand-ins: no network, no TLS)`,
  );
  print("  SDK processes   one set of credentials   as many as callers");
  for (const processes of PROCESSES) {
    const [one, many] = [
      await rateOf(processes, 1, quick ? 500 : 4_000),
      await rateOf(processes, CALLERS, quick ? 500 : 4_000),
    ];
    print(`${String(processes).padStart(15)}${one.toFixed(1).padStart(25)}${many.toFixed(1).padStart(22)}`);
    figures.push({ processes, one_set_per_s: one, many_sets_per_s: many });
  }
  return figures;
}
