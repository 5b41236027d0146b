/**
 * Starts the SDK in the host that was chosen, and gives the Kms port over it.
 *
 * @module
 */
import type { SdkHostError } from "../aws_ne/errors.ts";
import type { Log } from "../log.ts";
import { NitroKms } from "./nitro.ts";
import type { StartCarrier } from "./sdk_process/carrier.ts";
import { SdkHost } from "./sdk_process/host.ts";
import { processCarrier } from "./sdk_process/process_carrier.ts";
import { startWorkerCarrier } from "./sdk_process/worker_carrier.ts";

/** What the operator chooses. */
export interface OpenNitroOptions {
  readonly kind: "worker" | "process";
  readonly libraryDir: string | undefined;
  readonly proxyPort: number;
  readonly deadlineMs: number;
  readonly log: Log;
  /** The SDK hung too often for the process to go on. */
  readonly onFatal: (error: SdkHostError) => void;
}

/** Bytes to seed the kernel's entropy pool with: as much as AWS's own tools take. */
const SEED_LENGTH = 1024;
/** KMS closes a connection that is idle for long. */
const CLIENT_IDLE_MS = 60_000;
const MAX_WARM_CLIENTS = 32;
/** Each holds a thread or two, and four descriptors of the usual 1,024. */
const MAX_CLIENTS = 192;
/** Two for each call that hangs twice. */
const MAX_GIVEN_UP = 6;
const MAX_QUEUED = 64;

/** How this program starts itself again as an SDK host: compiled, or run from source. */
function selfAsHost(): StartCarrier {
  const self = Deno.execPath();
  if (Deno.build.standalone) return processCarrier(self, ["sdk-host"]);
  return processCarrier(self, ["run", "--allow-ffi", "--no-prompt", Deno.mainModule, "sdk-host"]);
}

/** @throws {SdkError} when the SDK cannot be opened. */
export async function openNitroKms(options: OpenNitroOptions): Promise<NitroKms> {
  const { libraryDir, proxyPort, deadlineMs, log, onFatal } = options;
  const host = new SdkHost({
    start: options.kind === "worker" ? startWorkerCarrier : selfAsHost(),
    open: {
      libraryDir,
      proxyPort,
      seedBytes: SEED_LENGTH,
      idleMs: CLIENT_IDLE_MS,
      maxWarm: MAX_WARM_CLIENTS,
      maxClients: MAX_CLIENTS,
    },
    deadlineMs,
    maxGivenUp: MAX_GIVEN_UP,
    maxQueued: MAX_QUEUED,
    log,
    onFatal,
  });
  try {
    await host.start();
  } catch (thrown) {
    host[Symbol.dispose]();
    throw thrown;
  }
  const { session } = host.state;
  log("info", "sdk_open", {
    host: options.kind,
    directory: session?.directory,
    entropy_seeded: session?.entropySeeded,
  });
  return new NitroKms(host);
}
