/**
 * Runs the service from its configuration until it is told to end. Used by the production and the development entry.
 *
 * @module
 */
import { hashConfiguration } from "../../shared/attestation/statement.ts";
import type { Aead } from "../../shared/crypto/aead.ts";
import type { Kms } from "../kms/kms.ts";
import type { Measurements } from "../kms/observed.ts";
import type { EventLog } from "../server/events.ts";
import type { Attester, EntropySource } from "../server/ports.ts";
import type { SessionKeyOptions } from "../session_key/session_key.ts";
import { limitsFor, memoryWarnings } from "../../shared/cli/limits.ts";
import { startService } from "../server/start.ts";
import { formatAddress } from "../../shared/wire/address.ts";
import { listen } from "../../shared/wire/socket.ts";
import { VERSION } from "../../shared/version.ts";
import { EXIT } from "../../shared/cli/options.ts";
import { guardProcess, heldPermissions } from "./process_guard.ts";
import type { SelfCheck } from "./self_test.ts";
import { measuredConfiguration, type ServeConfig } from "../../shared/cli/serve_options.ts";

/** What an entry provides. */
export interface RunIo {
  readonly events: EventLog;
  /** Resolves when the service is to end. Called before anything else starts, so that a signal cannot end the process half-way. */
  readonly signalled: Promise<string>;
  readonly workflow: SessionKeyOptions["workflow"];
  /** What is known of the kernel's random numbers. */
  readonly entropy: EntropySource;
  /** The NSM, where there is one. */
  readonly attester?: Attester | undefined;
  /** AES-256-GCM; `node:crypto` by default. */
  readonly aead: Aead;
  /** The PCRs of this image, where there is an NSM. */
  readonly measurements?: Measurements | undefined;
  /** The self-test, run for every `health`. */
  readonly selfTest: () => Promise<readonly SelfCheck[]>;
  /** Warnings, shown in `health` and logged. */
  readonly warnings?: readonly string[];
  /** The machine's memory, where it is known. Bytes. */
  readonly memory?: number | undefined;
  /** Processes that share the memory. */
  readonly sdkProcesses?: number;
  /** The permissions that the process was started with, to report which ones it still holds. */
  readonly grants?: readonly Deno.PermissionDescriptor[];
  /** Called once the listener is open, to revoke permissions that are no longer needed. */
  readonly onListening?: () => void;
  /** Whether the log shows the messages of the workflow's errors. Never in production. */
  readonly isDevelopment?: boolean;
  readonly kms: Kms;
}

/** Rejects when a KMS that opens while the service listens cannot be opened. Never resolves. */
function failureOf({ opened }: Kms): Promise<never> {
  return new Promise((_, reject) => void opened?.catch(reject));
}

/**
 * Listens, serves, drains. Takes ownership of the KMS.
 *
 * @returns the exit code
 * @throws {EnclaveError} when something required is unavailable.
 */
export async function runService(config: ServeConfig, io: RunIo): Promise<number> {
  const { events } = io;
  const { log } = events;
  const { isDevelopment = false } = io;
  await using opened = new AsyncDisposableStack();
  const kms = opened.use(io.kms);
  const { listener, address } = listen(config.address);
  io.onListening?.();
  const permissions = heldPermissions(io.grants);
  opened.use(guardProcess({ log, isDevelopment }));
  const machine = { memory: io.memory, sdkProcesses: io.sdkProcesses };
  const limits = limitsFor(config.limits, machine);
  const service = startService({
    kms,
    acceptor: listener,
    transport: address.transport,
    limits,
    memory: io.memory,
    events,
    version: VERSION,
    session: {
      keys: config.keys,
      region: config.region,
      context: config.context,
      configureOnce: config.configureOnce,
      requireEpoch: config.requireEpoch,
      minEpoch: config.minTskEpoch,
      bindProcess: config.bindProcess,
      workflow: io.workflow,
    },
    sealed: config.sealed,
    wallet: config.wallet,
    minEpoch: config.minEpoch,
    configurationHash: await hashConfiguration(measuredConfiguration(config)),
    entropy: io.entropy,
    attester: io.attester,
    warnings: [...io.warnings ?? [], ...memoryWarnings(limits, machine)],
    aead: io.aead,
    measurements: io.measurements,
    selfTest: io.selfTest,
    isDevelopment,
    permissions,
  });
  log("info", "listening", {
    address: formatAddress(address),
    version: VERSION,
    kms_keys: config.keys.length,
    permissions: permissions.join(","),
  });
  try {
    log("info", "signal", { signal: await Promise.race([io.signalled, failureOf(kms)]) });
  } finally {
    await service.stop(config.drainMs);
  }
  return EXIT.ok;
}
