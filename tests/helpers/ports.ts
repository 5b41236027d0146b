/**
 * The ports of features in tests, and features that are asked without a socket.
 *
 * @module
 */
import { NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { DEFAULT_LIMITS } from "../../lib/dev/defaults.ts";
import { createDispatcher, type Handler } from "../../lib/enclave/server/dispatch.ts";
import type { EventLog } from "../../lib/enclave/server/events.ts";
import type { Feature, Ports } from "../../lib/enclave/server/feature.ts";
import { createMemory } from "../../lib/enclave/server/memory_budget.ts";
import { Metrics } from "../../lib/enclave/server/metrics.ts";
import { statusRoutes } from "../../lib/enclave/server/status.ts";

/** Without allowed keys, log or NSM; the host's random numbers, and a clock that stands. */
export function testPorts(ports: Partial<Ports> & Pick<Ports, "kms">): Ports {
  return {
    keys: [],
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: undefined,
    aead: NODE_AEAD,
    configurationHash: new Uint8Array(32),
    log: () => {},
    now: () => new Date(0),
    monotonic: () => 0,
    bootId: "00",
    ...ports,
  };
}

/** Answers the requests of these features, and the server's own. */
export function testHandler(features: readonly Feature[], ports: Ports, events: EventLog): Handler {
  const routes = statusRoutes({ ...ports, events, permissions: [] }, {
    features,
    metrics: new Metrics(),
    warnings: [],
    stats: () => ({ connections: 1 }),
    requestMs: 60_000,
  });
  return createDispatcher([{ routes }, ...features], {
    requestMemory: createMemory(DEFAULT_LIMITS.maxInFlight).requests,
    log: events.log,
  });
}
