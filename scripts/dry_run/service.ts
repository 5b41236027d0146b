/**
 * The service as the dry run starts it: on a loopback socket, over a local KMS that outlives it.
 *
 * @module
 */
import { hashConfiguration } from "../../lib/attestation/statement.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { ServiceError } from "../../lib/parent/client.ts";
import { CredentialSource } from "../../lib/aws/credential_source.ts";
import { TSK_CONTEXT } from "../../lib/aws/tsk_context.ts";
import { parseKeyArn } from "../../lib/aws/key_arn.ts";
import type { LocalKms } from "../../lib/kms/local.ts";
import { EventLog } from "../../lib/service/events.ts";
import { DEFAULT_LIMITS } from "../../lib/service/limits.ts";
import { NODE_AEAD } from "../../lib/crypto/aead.ts";
import { HOST_RANDOM } from "../../lib/crypto/host_random.ts";
import type { Attester } from "../../lib/service/ports.ts";
import { OPEN_TO_ALL } from "../../lib/service/sealed.ts";
import type { SessionKeyOptions } from "../../lib/service/session_key.ts";
import { startService } from "../../lib/service/start.ts";
import { NO_GUARDS, type WalletGuards } from "../../lib/service/wallet_guards.ts";
import { VERSION } from "../../lib/version.ts";
import type { Address } from "../../lib/wire/address.ts";
import { listen } from "../../lib/wire/socket.ts";
import { workflow } from "../../lib/workflow.ts";

/** A service that runs. */
export interface DryRunService extends AsyncDisposable {
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
    version: VERSION,
    session: {
      keys: kms.keyArns.map(parseKeyArn),
      region: undefined,
      context: TSK_CONTEXT,
      configureOnce: false,
      requireEpoch: false,
      workflow,
      ...options.session,
    },
    wallet: { guards: options.guards ?? NO_GUARDS, cache: { entries: 16, maxAgeMs: 60_000 } },
    sealed: OPEN_TO_ALL,
    minEpoch: 1,
    entropy: { kernelGenerator: undefined, random: HOST_RANDOM },
    attester: options.attester,
    measurements: undefined,
    configurationHash: await hashConfiguration({ dry_run: true }),
    selfTest: () => Promise.resolve([]),
    aead: NODE_AEAD,
    isDevelopment: true,
    permissions: [],
    warnings: [],
  });
  return { address, [Symbol.asyncDispose]: () => service.stop(1_000) };
}

/** The local KMS does not check credentials. */
export function dryRunCredentials(): CredentialSource {
  return new CredentialSource(() => Promise.resolve({ accessKeyId: "dry-run", secretAccessKey: "dry-run" }));
}

/** Describes the refusal if the call fails with this code; throws otherwise. */
export async function expectRefusal(code: string, run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError) || thrown.code !== code) throw thrown;
    const [, why = ""] = thrown instanceof ServiceError ? /: (.*)$/.exec(thrown.message) ?? [] : [];
    return `refused: ${code}${why === "" ? "" : ` (${why})`}`;
  }
  throw new Error(`expected ${code}, but it was done`);
}
