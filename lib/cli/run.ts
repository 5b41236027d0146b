/**
 * Runs the service from its configuration until it is told to end. What both entries do alike.
 *
 * @module
 */
import { hashConfiguration } from "../attestation/statement.ts";
import { EnclaveError } from "../errors.ts";
import type { Aead } from "../crypto/aead.ts";
import type { Kms } from "../kms/kms.ts";
import type { Measurements } from "../kms/observed.ts";
import type { Log } from "../log.ts";
import { EventLog } from "../service/events.ts";
import type { Attester, EntropySource } from "../service/ports.ts";
import type { SessionKeyOptions } from "../service/session_key.ts";
import { startService } from "../service/start.ts";
import { formatAddress } from "../wire/address.ts";
import { listen } from "../wire/socket.ts";
import { VERSION } from "../version.ts";
import { EXIT } from "./options.ts";
import type { SelfCheck } from "./self_test.ts";
import { measuredConfiguration, type ServeConfig } from "./serve.ts";

/** What an entry gives. */
export interface RunIo {
  /** Synchronous. */
  readonly stdout: (text: string) => void;
  /** Resolves when the service is to end. */
  readonly untilSignal: () => Promise<string>;
  readonly workflow: SessionKeyOptions["workflow"];
  /** What is known of the kernel's random numbers. */
  readonly entropy: EntropySource;
  /** The NSM, where there is one. */
  readonly attester?: Attester | undefined;
  /** AES-256-GCM; `node:crypto` unless given. */
  readonly aead: Aead;
  /** Of this image, where there is an NSM. */
  readonly measurements?: Measurements | undefined;
  /** Run for every `health`. */
  readonly selfTest: () => Promise<readonly SelfCheck[]>;
  /** Shown in `health`, and logged. */
  readonly warnings?: readonly string[];
  /** Called once the listener is open: permissions that are no longer needed can go. */
  readonly onListening?: () => void;
  /** Opens the KMS; calls `onFatal` later if it can no longer go on. */
  readonly openKms: (log: Log, onFatal: (error: Error) => void) => Promise<Kms>;
}

/**
 * Opens the KMS, listens, serves, drains.
 *
 * @returns the exit code
 * @throws {EnclaveError} when something that it needs is not there.
 */
export async function runService(config: ServeConfig, io: RunIo): Promise<number> {
  const events = new EventLog({ write: io.stdout, level: config.logLevel });
  const { log } = events;
  const fatal = Promise.withResolvers<Error>();
  // Listened for from the start: a signal while the SDK opens must not kill half-way.
  const signalled = io.untilSignal();
  const kms = await io.openKms(log, fatal.resolve);
  await using opened = new AsyncDisposableStack();
  opened.use(kms);
  const { listener, address } = listen(config.address);
  io.onListening?.();
  const service = startService({
    kms,
    acceptor: listener,
    transport: address.transport,
    limits: config.limits,
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
    warnings: io.warnings ?? [],
    aead: io.aead,
    measurements: io.measurements,
    selfTest: io.selfTest,
  });
  log("info", "listening", {
    address: formatAddress(address),
    version: VERSION,
    kms_keys: config.keys.length,
  });
  const ended = await Promise.race([signalled, fatal.promise]);
  if (typeof ended === "string") log("info", "signal", { signal: ended });
  await service.stop(config.drainMs);
  if (typeof ended === "string") return EXIT.ok;
  log("error", "fatal", {
    reason: ended.message,
    hint: ended instanceof EnclaveError ? ended.hint : undefined,
  });
  return EXIT.software;
}
