/**
 * The Kms port over the SDK processes: attested, in an enclave. The only backend in the production entry.
 *
 * @module
 */
import { sdkError } from "../../../../ffi/errors.ts";
import type { Kms, KmsHealth } from "../kms.ts";
import { childStarter, selfCommand } from "../../children/child.ts";
import { MAX_LENGTH } from "./protocol.ts";
import { SdkPool, type SdkPoolOptions } from "./pool.ts";
import { maxClientsFor } from "./schedule.ts";

/**
 * KMS through the attested SDK, in the SDK processes. Takes ownership of a pool.
 *
 * @param started of the pool
 */
export function nitroKms(pool: SdkPool, started: Promise<void>): Kms {
  // Undefined until the first process has opened the SDK. The kernel's pool stays seeded after the process
  // that seeded it has ended.
  let seeded: boolean | undefined;
  const entropySeeded = () => {
    const { sessions } = pool.state;
    if (sessions.length > 0) seeded ||= sessions.some((session) => session.entropySeeded);
    return seeded;
  };
  const opened = started.then(() => void entropySeeded());
  // The service waits for it only once it listens.
  opened.catch(() => {});
  return {
    attested: true,
    opened,
    callsAtOnce: pool.callsAtOnce,
    get entropySeeded() {
      return entropySeeded();
    },
    decrypt: async ({ region, credentials }, request) => {
      const { plaintext } = await pool.call(region, credentials, { ...request, kind: "decrypt" });
      return plaintext;
    },
    generateDataKey: async ({ region, credentials }, request) => {
      const call = { ...request, kind: "generateDataKey" } as const;
      const { plaintext, ciphertext } = await pool.call(region, credentials, call);
      if (ciphertext !== undefined) return { plaintext, ciphertext };
      plaintext[Symbol.dispose]();
      throw sdkError("sdk_kms_data_key", "KMS gave no wrapped data key", { symbol: "sdk_process" });
    },
    health: () => healthOf(pool, entropySeeded()),
    [Symbol.asyncDispose]: () => Promise.resolve(pool[Symbol.dispose]()),
  };
}

function healthOf({ state }: SdkPool, seeded: boolean | undefined): KmsHealth {
  const { sessions, started, hung, lost, replaced, waiting } = state;
  const sum = (name: "clientsWarm" | "clientsSetAside") =>
    sessions.reduce((total, session) => total + session[name], 0);
  const blocking = sessions.find(({ blockingBecause }) => blockingBecause !== undefined)?.blockingBecause;
  return {
    backend: "nitro",
    attested: true,
    ...(seeded === undefined ? {} : {
      entropy_seeded: seeded,
      requests: blocking === undefined ? "attested requests" : `the SDK's blocking calls: ${blocking}`,
    }),
    sdk_processes: sessions.length,
    clients_warm: sum("clientsWarm"),
    clients_set_aside: sum("clientsSetAside"),
    calls_waiting: waiting,
    processes_started: started,
    processes_hung: hung,
    processes_lost: lost,
    processes_replaced: replaced,
  };
}

/** The operator's settings. */
export interface OpenNitroOptions extends Pick<SdkPoolOptions, "processes" | "log"> {
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  /** Time limit of one KMS call with its retry, milliseconds. */
  readonly deadlineMs: number;
}

/**
 * Bytes to seed the kernel's entropy pool with: the same number as in AWS's own tools. KMS closes connections
 * that are idle for long.
 */
const SESSION = { seedBytes: 1024, idleMs: 60_000, maxWarm: 32 } as const;
/** Calls of each kind that may wait; the next one is answered `busy`. */
const MAX_WAITING = { decrypt: 32, generateDataKey: 32, generateRandom: 8 } as const;
const START_MS = 20_000;
/** A failed TLS handshake takes 10 to 30 s. */
const CONNECT_MS = 35_000;
/** Time limit of one attempt, before the call is repeated. */
const CALL_MS = 5_000;

/**
 * Starts the SDK processes, and returns at once. The result's `opened` rejects with an `SdkError` when the
 * SDK cannot be opened.
 */
export function openNitroKms({ libraryDir, proxyPort, deadlineMs, log, processes }: OpenNitroOptions): Kms {
  const pool = new SdkPool({
    start: childStarter({ ...selfCommand("sdk-process", ["--allow-ffi"]), maxLength: MAX_LENGTH }),
    open: { ...SESSION, libraryDir, proxyPort },
    processes,
    deadlines: {
      startMs: START_MS,
      connectMs: Math.min(CONNECT_MS, deadlineMs),
      // Shorter for a short total, so that there is time for the second attempt.
      callMs: Math.min(CALL_MS, deadlineMs / 2),
      totalMs: deadlineMs,
    },
    maxClients: maxClientsFor(navigator.hardwareConcurrency),
    maxWaiting: MAX_WAITING,
    log,
  });
  const started = pool.start().then(() => {
    const [session] = pool.state.sessions;
    const { directory, entropySeeded } = session ?? {};
    log("info", "sdk_open", { processes, directory, entropy_seeded: entropySeeded });
  });
  return nitroKms(pool, started);
}
