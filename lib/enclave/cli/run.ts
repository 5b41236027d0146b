/**
 * Runs the service from its configuration until it is told to end. Used by the production and the development entry.
 *
 * @module
 */
import { hashConfiguration } from "../../shared/attestation/statement.ts";
import { kindOf, positionOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { limitsFor, memoryWarnings } from "../../shared/cli/limits.ts";
import { type ServiceParts, startService } from "../server/start.ts";
import { formatAddress } from "../../shared/wire/address.ts";
import { listen } from "../../shared/wire/listen.ts";
import { VERSION } from "../../shared/version.ts";
import { EXIT } from "../../shared/cli/options.ts";
import { type ClockPorts, keepClock } from "./clock.ts";
import { heldPermissions } from "./permissions.ts";
import { FEATURES, measuredConfiguration, type ServeConfig } from "../../shared/cli/serve_options.ts";

/** What an entry provides. */
export interface RunIo extends ServiceParts {
  /** Resolves when the service is to end. Called before anything else starts, so that a signal cannot end the process half-way. */
  readonly signalled: Promise<string>;
  /** The NSM and the clock that is kept at its time, where there are both. */
  readonly clock?: ClockPorts | undefined;
  /** Processes that share the memory. */
  readonly sdkProcesses?: number;
  /** Processes of the workflow. */
  readonly workflowProcesses?: number;
  /** The permissions that the process was started with, to report which ones it still holds. */
  readonly grants?: readonly Deno.PermissionDescriptor[];
  /** Called once the listener is open, to revoke permissions that are no longer needed. */
  readonly onListening?: () => void;
  /** Whether the log shows the messages of uncaught errors. Never in production. */
  readonly isDevelopment?: boolean;
}

const ALL_FEATURES =
  "all features are served, since --features (FEATURES) names none: an image should name those that it is for";

/** An error that nobody caught is a line in the log, not the end of the keys in memory. */
function logUncaught(log: Log): Disposable {
  const ended = new AbortController();
  const onError = (event: PromiseRejectionEvent | ErrorEvent) => {
    event.preventDefault();
    const thrown: unknown = "reason" in event ? event.reason : event.error;
    log("error", "uncaught", { class: kindOf(thrown), at: positionOf(thrown) });
  };
  for (const name of ["unhandledrejection", "error"] as const) {
    globalThis.addEventListener(name, onError, { signal: ended.signal });
  }
  return { [Symbol.dispose]: () => ended.abort() };
}

/**
 * Listens, serves, drains. Takes ownership of the KMS.
 *
 * @returns the exit code
 * @throws {EnclaveError} when something required is unavailable.
 */
export async function runService(config: ServeConfig, io: RunIo): Promise<number> {
  const { events: { log }, isDevelopment = false } = io;
  await using opened = new AsyncDisposableStack();
  const kms = opened.use(io.kms);
  const { listener, address } = listen(config.address);
  io.onListening?.();
  const permissions = heldPermissions(io.grants);
  opened.use(logUncaught(log));
  const clock = io.clock && opened.use(await keepClock(io.clock, config.clock === "nsm", log));
  const limits = limitsFor(config.limits, io);
  const service = startService({
    ...io,
    acceptor: listener,
    transport: address.transport,
    limits,
    keys: config.keys,
    served: config.features ?? FEATURES,
    configurationHash: await hashConfiguration(measuredConfiguration(config)),
    warnings: [
      ...io.warnings ?? [],
      ...memoryWarnings(limits, io),
      ...(config.features === undefined && !isDevelopment ? [ALL_FEATURES] : []),
    ],
    permissions,
    clockAhead: clock?.ahead,
  });
  log("info", "listening", {
    address: formatAddress(address),
    version: VERSION,
    kms_keys: config.keys.length,
    permissions: permissions.join(","),
  });
  try {
    // A KMS opens while the service listens; if it cannot be opened, that ends the service.
    const failed = new Promise<never>((_, reject) => void kms.opened?.catch(reject));
    log("info", "signal", { signal: await Promise.race([io.signalled, failed]) });
  } finally {
    await service.stop(config.drainMs);
  }
  return EXIT.ok;
}
