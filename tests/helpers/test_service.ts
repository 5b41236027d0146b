/**
 * What a service in a test has when the test is not about it: no guards, no cache, no NSM, requests sealed or not.
 *
 * @module
 */
import { NO_CACHE } from "../../lib/service/key_cache.ts";
import { DEFAULT_LIMITS } from "../../lib/service/limits.ts";
import { OPEN_TO_ALL } from "../../lib/service/sealed.ts";
import type { ServiceOptions } from "../../lib/service/start.ts";
import { NO_GUARDS } from "../../lib/service/wallet_guards.ts";

/** Spread into the options of `startService` before the test's own. */
export const TEST_SERVICE = {
  transport: "tcp",
  limits: DEFAULT_LIMITS,
  wallet: { guards: NO_GUARDS, cache: NO_CACHE },
  minEpoch: 1,
  sealed: OPEN_TO_ALL,
  entropy: { kernelGenerator: undefined },
  attester: undefined,
  measurements: undefined,
  configurationHash: new Uint8Array(32),
  selfTest: [],
  warnings: [],
  version: "test",
} as const satisfies Partial<ServiceOptions>;
