/**
 * The service as the dry run starts it: on a loopback socket, over a local KMS that outlives it.
 *
 * @module
 */
import { hashConfiguration } from "../../shared/attestation/statement.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { Client, ServiceError } from "../../ctl/client/client.ts";
import { CredentialSource } from "../../ctl/aws/credential_source.ts";
import { TSK_CONTEXT } from "../../shared/aws/tsk_context.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import type { LocalKms } from "../kms/local.ts";
import { kmsErrorName } from "../../enclave/kms/kms.ts";
import { EventLog } from "../../enclave/server/events.ts";
import { DEFAULT_LIMITS } from "../defaults.ts";
import { NODE_AEAD } from "../../shared/crypto/aead.ts";
import { HOST_RANDOM } from "../../shared/crypto/host_random.ts";
import type { Attester } from "../../enclave/server/feature.ts";
import { OPEN_TO_ALL } from "../defaults.ts";
import type { SessionKeyOptions } from "../../enclave/session_key/session_key.ts";
import { openFeatures } from "../../enclave/features.ts";
import { startService } from "../../enclave/server/start.ts";
import { type WalletGuards } from "../../shared/cli/wallet_options.ts";
import { NO_GUARDS } from "../defaults.ts";
import { FEATURES } from "../../shared/cli/serve_options.ts";
import type { Address } from "../../shared/wire/address.ts";
import { listen } from "../../shared/wire/listen.ts";
import { workflow } from "../../workflow.ts";
import { inProcess } from "../in_process_workflow.ts";

/** A service that runs. */
interface DryRunService extends AsyncDisposable {
  readonly address: Address;
}

/** Starts it. */
export async function startDryRunService(
  kms: LocalKms,
  options: {
    readonly guards?: WalletGuards;
    readonly attester?: Attester;
    readonly session?: Partial<SessionKeyOptions>;
  } = {},
): Promise<DryRunService> {
  const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
  const features = {
    region: undefined,
    context: TSK_CONTEXT,
    configureOnce: false,
    requireEpoch: false,
    workflows: inProcess(workflow),
    ...options.session,
    wallet: { guards: options.guards ?? NO_GUARDS, cache: { entries: 16, maxAgeMs: 60_000 } },
    sealed: OPEN_TO_ALL,
    minEpoch: 1,
  };
  const service = startService({
    kms: {
      attested: kms.attested,
      decrypt: (access, request) => kms.decrypt(access, request),
      generateDataKey: (access, request) => kms.generateDataKey(access, request),
      health: () => kms.health(),
      // The error is the dry run's own.
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
    acceptor: listener,
    transport: "tcp",
    limits: DEFAULT_LIMITS,
    events: new EventLog({ write: () => {}, level: "info" }),
    keys: kms.keyArns.map(parseKeyArn),
    served: FEATURES,
    features: (ports) => openFeatures(features, ports),
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: options.attester,
    configurationHash: await hashConfiguration({ dry_run: true }),
    aead: NODE_AEAD,
    permissions: [],
  });
  return { address, [Symbol.asyncDispose]: () => service.stop(1_000) };
}

/** A service, a client of it and that client's credentials. */
export async function startWithClient(kms: LocalKms, options: Parameters<typeof startDryRunService>[1]) {
  const service = await startDryRunService(kms, options);
  const client = await Client.connect(service.address, { timeoutMs: 10_000 });
  return {
    client,
    // The local KMS does not check them.
    credentials: new CredentialSource(() =>
      Promise.resolve({ accessKeyId: "dry-run", secretAccessKey: "dry-run" })
    ),
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await service[Symbol.asyncDispose]();
    },
  };
}

/** Describes the refusal if the call fails with this code, or with this name of KMS's; throws otherwise. */
export async function expectRefusal(code: string, run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError) || ![thrown.code, kmsErrorName(thrown)].includes(code)) {
      throw thrown;
    }
    const [, why = ""] = thrown instanceof ServiceError ? /: (.*)$/.exec(thrown.message) ?? [] : [];
    return `refused: ${code}${why === "" ? "" : ` (${why})`}`;
  }
  throw new Error(`expected ${code}, but it was done`);
}
