/**
 * A service with a simulated NSM on a loopback socket in this process, and clients of it that seal.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { SealedClient, type SealedClientOptions } from "../../lib/ctl/client/sealed_client.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { SealedSender, type SealedSenderOptions } from "../../lib/shared/sealed/mod.ts";
import { EventLog } from "../../lib/enclave/server/events.ts";
import { type Limits } from "../../lib/shared/cli/limits.ts";
import { DEFAULT_LIMITS } from "../../lib/dev/defaults.ts";
import { type SealedConfig } from "../../lib/shared/cli/sealed_options.ts";
import { OPEN_TO_ALL } from "../../lib/dev/defaults.ts";
import type { Address } from "../../lib/shared/wire/address.ts";
import { inProcess } from "../../lib/dev/in_process_workflow.ts";
import { FEATURES } from "../../lib/shared/cli/serve_options.ts";
import type { Workflow } from "../../lib/workflow_context.ts";
import { startTestService } from "./test_service.ts";

/** PCR0 of the simulated image. */
export const PCR0 = "ab".repeat(48);
/** Hash of the rig's configuration. */
export const CONFIGURATION_HASH = new Uint8Array(32).fill(0xc0);

/** Starts it. */
export async function sealedRig(
  {
    sealed = {},
    limits = DEFAULT_LIMITS,
    withNsm = true,
    pcrs = { 0: PCR0 },
    workflow = (data) => data,
    served = FEATURES,
  }: {
    readonly workflow?: Workflow;
    readonly served?: readonly string[];
    readonly sealed?: Partial<SealedConfig>;
    readonly limits?: Limits;
    readonly pcrs?: Readonly<Record<number, string>>;
    readonly withNsm?: boolean;
  } = {},
) {
  const kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const nsm = await SimulatedNsm.start({ pcrs });
  const lines: string[] = [];
  const clock = { ms: 0 };
  /** How far the enclave's clock is ahead of this one. */
  const ahead = { ms: 0 };
  const service = startTestService({
    kms,
    events: new EventLog({ write: (line) => void lines.push(line), level: "debug" }),
    limits,
    keys: kms.keyArns.map(parseKeyArn),
    sealed: { ...OPEN_TO_ALL, ...sealed },
    workflows: inProcess(workflow),
    served,
    attester: withNsm ? nsm : undefined,
    configurationHash: CONFIGURATION_HASH,
    now: () => new Date(Date.now() + ahead.ms),
    monotonic: () => clock.ms,
    kernel: "4.14.256",
    clockAhead: () => ahead.ms,
  });
  const { address } = service;
  const connect = () => Client.connect(address, { timeoutMs: 20_000 });
  /** A client that seals, and trusts the simulated root. */
  const connectSealed = (options: Partial<SealedClientOptions> = {}, to: Address = address) =>
    SealedClient.connect(to, {
      timeoutMs: 20_000,
      pcrs: { 0: PCR0 },
      verify: (document, expected) => nsm.verify(document, expected),
      now: () => clock.ms,
      ...options,
    });
  /** The key that is given to clients now. */
  const publicKey = async (client: Client) => {
    const reply = await client.request({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
    return String(reply["public_key"]);
  };
  return {
    kms,
    keyArn,
    nsm,
    address,
    /** The service's log. */
    lines,
    clock,
    ahead,
    connect,
    connectSealed,
    publicKey,
    /** Seals for the present key, message by message. */
    sender: async (client: Client, options: SealedSenderOptions = {}) =>
      await SealedSender.create(
        decodeBase64(await publicKey(client)),
        options,
      ),
    [Symbol.asyncDispose]: async () => {
      await service.stop(1_000);
      nsm[Symbol.dispose]();
    },
  };
}
