/**
 * The connection to an enclave's service. What is secret leaves this process only sealed for a key that the
 * enclave attested to.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";
import type { Address } from "../../shared/wire/address.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import type { CredentialSource } from "../aws/credential_source.ts";
import { Client, ServiceError } from "../client/client.ts";
import { exchangeWithCredentials } from "../client/credentialed.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { SealedClient } from "../client/sealed_client.ts";
import { enclaveMasterKey } from "../gateway/enclave.ts";
import { initMasterKey } from "../gateway/gateway.ts";
import { openMasterKeyStore } from "../gateway/master_key_store.ts";
import type { LogSource } from "./follow_logs.ts";
import type { EnclavePlan } from "./plan.ts";
import type { EnclaveLink } from "./supervisor.ts";

/** What links share. */
export interface LinkContext {
  readonly verify: DocumentVerifier;
  readonly credentials: CredentialSource;
  /** ARN of the KMS key. */
  readonly keyArn: string;
  /** For a request that calls KMS. Milliseconds. */
  readonly requestMs: number;
}

/** For connecting, and for replies that need no KMS. Milliseconds. */
const ANSWER_MS = 4_000;

/**
 * A sealed connection to the enclave of a plan: it attests first, to the measurements of the plan, and not in
 * debug mode.
 */
export async function connectSealed(
  address: Address,
  { pcrs }: EnclavePlan,
  { verify, requestMs }: Pick<LinkContext, "verify" | "requestMs">,
): Promise<SealedClient> {
  return await SealedClient.connect(address, {
    pcrs,
    verify,
    allowDebug: false,
    connectMs: ANSWER_MS,
    timeoutMs: requestMs,
  });
}

/** A little more than the longest wait for an event. Milliseconds. */
const FOLLOW_MS = 45_000;

/** A connection for the log; sealed where the service answers nothing else. */
export async function openLogSource(
  address: Address,
  plan: EnclavePlan,
  { verify }: Pick<LinkContext, "verify">,
): Promise<LogSource> {
  const open = await Client.connect(address, { connectMs: ANSWER_MS, timeoutMs: FOLLOW_MS });
  let sealed: SealedClient | undefined;
  return {
    exchange: async (request) => {
      const reply = sealed === undefined ? await open.exchange(request) : undefined;
      if (reply !== undefined && reply["msg"] !== "sealed_required") return reply;
      sealed ??= await connectSealed(address, plan, { verify, requestMs: FOLLOW_MS });
      return await sealed.exchange(request);
    },
    [Symbol.dispose]: () => {
      open[Symbol.dispose]();
      sealed?.[Symbol.dispose]();
    },
  };
}

/** Opens connections as they are needed, and again after they have ended. */
export function openLink(address: Address, plan: EnclavePlan, context: LinkContext): EnclaveLink {
  const { credentials, keyArn } = context;
  let open: Client | undefined;
  let sealed: SealedClient | undefined;
  let isClosed = false;
  const drop = () => {
    open?.[Symbol.dispose]();
    sealed?.[Symbol.dispose]();
    open = sealed = undefined;
  };
  /** Runs on connections of which none is used after a failure. */
  async function attempt<T>(run: () => Promise<T>): Promise<T> {
    if (isClosed) throw new EnclaveError("The connection is closed", { code: "no_reply" });
    try {
      return await run();
    } catch (thrown) {
      if (!(thrown instanceof ServiceError)) drop();
      throw thrown;
    } finally {
      if (isClosed) drop();
    }
  }
  const secure = async () => sealed ??= await connectSealed(address, plan, context);
  const ask = (type: string) =>
    attempt(async () => {
      open ??= await Client.connect(address, { timeoutMs: ANSWER_MS });
      const reply = await open.exchange({ type });
      if (reply["msg"] !== "sealed_required") return reply;
      return await (await secure()).exchange({ type });
    });
  return {
    health: () => ask("health"),
    metrics: () => ask("metrics"),
    clockDifference: async () => {
      const asked = Date.now();
      const time = Date.parse(String((await ask("ping"))["timestamp"]));
      // The reply was written about half-way.
      return Number.isNaN(time) ? undefined : Math.round(time - (asked + Date.now()) / 2);
    },
    attest: () =>
      attempt(async () => {
        sealed?.[Symbol.dispose]();
        sealed = undefined;
        // The first sealed request has the enclave attest; those that follow are sealed for the same key.
        await (await secure()).request({ type: "ping" });
      }),
    sendSessionKey: (health) =>
      attempt(async () => {
        const { sessionKey } = plan;
        if (
          sessionKey === undefined || (sessionKey.epoch !== undefined && health["epoch"] === sessionKey.epoch)
        ) {
          return;
        }
        const request: WireObject = {
          type: "configure",
          encrypted_tsk: sessionKey.wrapped,
          kms_key_id: keyArn,
          ...(sessionKey.epoch === undefined ? {} : { epoch: sessionKey.epoch }),
        };
        const reply = await exchangeWithCredentials(await secure(), credentials, request);
        if (reply["status"] !== "ok") throw new ServiceError(reply);
      }),
    sendMasterKeys: () =>
      attempt(async () => {
        const { masterKeys } = plan;
        if (masterKeys === undefined) return;
        const { gateway, enclaveIds, builds } = masterKeys;
        const origin = { expected: { pcrs: builds, verify: context.verify }, acceptUnproven: false };
        using store = openMasterKeyStore(gateway.database.path, {
          create: false,
          busyMs: gateway.limits.databaseMs,
        });
        for (const id of enclaveIds) {
          const enclave = enclaveMasterKey(id, await secure(), credentials);
          await initMasterKey({ store, enclave, origin }, id, { keyId: gateway.kms.keyId });
        }
      }),
    [Symbol.dispose]: () => {
      isClosed = true;
      drop();
    },
  };
}
