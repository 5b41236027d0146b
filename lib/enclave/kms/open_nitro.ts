/**
 * Starts the SDK processes and returns a Kms port that uses them.
 *
 * @module
 */
import type { Log } from "../../shared/log.ts";
import { NitroKms } from "./nitro.ts";
import { childStarter, selfCommand } from "../children/child.ts";
import { MAX_LENGTH } from "./sdk_process/protocol.ts";
import { SdkPool } from "./sdk_process/pool.ts";
import { maxClientsFor } from "./sdk_process/schedule.ts";

/** The operator's settings. */
export interface OpenNitroOptions {
  /** SDK processes, 1 to 8. */
  readonly processes: number;
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  /** Time limit of one KMS call with its retry, milliseconds. */
  readonly deadlineMs: number;
  readonly log: Log;
}

/** Bytes to seed the kernel's entropy pool with: the same number as in AWS's own tools. */
const SEED_LENGTH = 1024;
/** KMS closes connections that are idle for long. */
const CLIENT_IDLE_MS = 60_000;
const MAX_WARM_CLIENTS = 32;
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
export function openNitroKms(options: OpenNitroOptions): NitroKms {
  const { libraryDir, proxyPort, deadlineMs, log, processes } = options;
  const pool = new SdkPool({
    start: childStarter({
      ...selfCommand("sdk-process", ["--allow-ffi"]),
      maxLength: MAX_LENGTH,
    }),
    open: {
      libraryDir,
      proxyPort,
      seedBytes: SEED_LENGTH,
      idleMs: CLIENT_IDLE_MS,
      maxWarm: MAX_WARM_CLIENTS,
    },
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
    log("info", "sdk_open", {
      processes,
      directory: session?.directory,
      entropy_seeded: session?.entropySeeded,
    });
  });
  return new NitroKms(pool, started);
}
