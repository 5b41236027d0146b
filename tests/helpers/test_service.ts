/**
 * The one place where tests assemble a service. What a test does not set has the defaults below.
 *
 * @module
 */
import { NODE_AEAD } from "../../lib/shared/crypto/aead.ts";
import type { Kms } from "../../lib/enclave/kms/kms.ts";
import { inProcess } from "../../lib/dev/in_process_workflow.ts";
import { EventLog } from "../../lib/enclave/server/events.ts";
import { DEFAULT_LIMITS } from "../../lib/dev/defaults.ts";
import { OPEN_TO_ALL } from "../../lib/dev/defaults.ts";
import { type FeatureOptions, openFeatures } from "../../lib/enclave/features.ts";
import { type Service, type ServiceOptions, startService } from "../../lib/enclave/server/start.ts";
import { NO_GUARDS } from "../../lib/dev/defaults.ts";
import type { Address } from "../../lib/shared/wire/address.ts";
import { listen } from "../../lib/shared/wire/listen.ts";
import { FEATURES } from "../../lib/shared/cli/serve_options.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";

/** No guards, no cache, no NSM, requests sealed or not. */
const TEST_SERVICE = {
  transport: "tcp",
  limits: DEFAULT_LIMITS,
  memory: 2 ** 31,
  keys: [],
  served: FEATURES,
  entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
  configurationHash: new Uint8Array(32),
  selfTest: () => Promise.resolve([]),
  aead: NODE_AEAD,
  permissions: [],
} as const satisfies Partial<ServiceOptions>;

/** A workflow that returns its input. */
const TEST_FEATURES: FeatureOptions = {
  region: undefined,
  context: undefined,
  configureOnce: false,
  requireEpoch: false,
  workflows: inProcess((plaintext) => plaintext),
  wallet: { guards: NO_GUARDS, cache: { entries: 0, maxAgeMs: 0 } },
  minEpoch: 1,
  sealed: OPEN_TO_ALL,
};

/** What a test may set for its service. */
export type TestServiceOptions =
  & Partial<Omit<ServiceOptions, "transport" | "features">>
  & Partial<FeatureOptions>
  & { readonly kms: Kms };

/** A service that runs. Disposing of it stops it. */
export interface TestService extends Service, AsyncDisposable {
  /** On loopback, unless the test gave an acceptor. */
  readonly address: Address & { readonly transport: "tcp" };
}

/** Starts one. Without an `acceptor` it listens on a port of loopback; without `events` its log goes nowhere. */
export function startTestService(options: TestServiceOptions): TestService {
  const { acceptor, address } = options.acceptor === undefined
    ? listenOnLoopback()
    : { acceptor: options.acceptor, address: { transport: "tcp", hostname: "none", port: 0 } as const };
  const service = startService({
    events: new EventLog({ write: () => {}, level: "info" }),
    ...TEST_SERVICE,
    ...options,
    acceptor,
    features: (ports) => openFeatures({ ...TEST_FEATURES, ...options }, ports),
  });
  return { ...service, address, [Symbol.asyncDispose]: () => service.stop(1_000) };
}

function listenOnLoopback() {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  if (address.transport !== "tcp") throw new TypeError("It listens on TCP");
  return { acceptor: listener, address };
}
