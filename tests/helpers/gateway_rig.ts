/**
 * A service with a master key, in this process, that can be started again over the same KMS; and the gateway's tools for it.
 *
 * @module
 */
import { Client } from "../../lib/ctl/client/client.ts";
import { CredentialSource } from "../../lib/ctl/aws/credential_source.ts";
import { enclaveMasterKey } from "../../lib/ctl/gateway/enclave.ts";
import type { GatewayTools } from "../../lib/ctl/gateway/gateway.ts";
import type { OriginPolicy } from "../../lib/ctl/gateway/origin.ts";
import type { Attester } from "../../lib/enclave/server/feature.ts";
import { type MasterKeyStore, openMasterKeyStore } from "../../lib/ctl/gateway/master_key_store.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { startTestService } from "./test_service.ts";
import { countCalls } from "./wallet_rig.ts";

const credentials = new CredentialSource(() =>
  Promise.resolve({ accessKeyId: "test", secretAccessKey: "test" })
);

/** There is no NSM, and the tools accept that. */
const UNPROVEN: OriginPolicy = { expected: undefined, acceptUnproven: true };

/** Makes it, with two KMS keys and a database in memory. */
export async function gatewayRig(
  store: MasterKeyStore = openMasterKeyStore(":memory:"),
  { attester, origin = UNPROVEN }: { readonly attester?: Attester; readonly origin?: OriginPolicy } = {},
) {
  const local = await LocalKms.open({ region: "us-east-1" });
  await local.createKey();
  const [firstArn = "", secondArn = ""] = local.keyArns;
  const kms = countCalls(local);

  /** One run of the enclave. */
  async function boot(enclaveId = 1) {
    const service = startTestService({
      // The KMS outlives it.
      kms: {
        attested: false,
        decrypt: (access, request) => kms.decrypt(access, request),
        generateDataKey: (access, request) => kms.generateDataKey(access, request),
        health: () => kms.health(),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      },
      keys: local.keyArns.map(parseKeyArn),
      attester,
    });
    const client = await Client.connect(service.address, { timeoutMs: 20_000 });
    const enclave = enclaveMasterKey(enclaveId, client, credentials);
    const tools: GatewayTools = { store, enclave, origin };
    return {
      tools,
      client,
      [Symbol.asyncDispose]: async () => {
        client[Symbol.dispose]();
        await service.stop(1_000);
      },
    };
  }

  return { local, kms, store, boot, firstArn, secondArn, [Symbol.dispose]: () => store[Symbol.dispose]() };
}

/** Stops dead at a step, as if the process had been killed: before it, or after it was done. */
export class Killed extends Error {
  override name = "Killed";
}

/** Wraps what has methods so that the n-th call of any of them kills. */
export function killAt<T extends object>(
  target: T,
  plan: { left: number; readonly when: "before" | "after" },
): T {
  const wrapped: Record<string | symbol, unknown> = {};
  for (const name of Reflect.ownKeys(target)) {
    const value: unknown = Reflect.get(target, name);
    wrapped[name] = typeof value !== "function" ? value : (...args: unknown[]) => {
      const hit = --plan.left === 0;
      if (hit && plan.when === "before") throw new Killed();
      const result: unknown = Reflect.apply(value, target, args);
      if (!hit) return result;
      if (!(result instanceof Promise)) throw new Killed();
      return result.then(() => {
        throw new Killed();
      });
    };
  }
  return wrapped as T;
}
