/**
 * The dry run's master key section: made, stored, opened again after a restart, moved to another KMS key; what must be refused.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { SimulatedNsm } from "../nsm/simulated.ts";
import type { Report } from "./report.ts";
import { enclaveMasterKey } from "../../ctl/gateway/enclave.ts";
import {
  type GatewayTools,
  initMasterKey,
  requireStored,
  rewrapMasterKey,
  signWithMasterKey,
  verifyMasterKey,
} from "../../ctl/gateway/gateway.ts";
import { type MasterKeyStore, openMasterKeyStore } from "../../ctl/gateway/master_key_store.ts";
import { LocalKms } from "../kms/local.ts";
import { expectRefusal, startWithClient } from "./service.ts";

const REGION = "us-east-1";
const ENCLAVE = 1;
const DIGEST = new Uint8Array(32).fill(7);

/** One boot of the enclave, and the gateway's tools for it. */
async function boot(kms: LocalKms, store: MasterKeyStore, nsm: SimulatedNsm) {
  const service = await startWithClient(kms, { attester: nsm });
  const pcr0 = encodeHex(await nsm.pcr(0));
  const tools: GatewayTools = {
    store,
    enclave: enclaveMasterKey(ENCLAVE, service.client, service.credentials),
    origin: {
      expected: { pcrs: { 0: pcr0 }, verify: (document, expected) => nsm.verify(document, expected) },
      acceptUnproven: false,
    },
  };
  return { tools, [Symbol.asyncDispose]: () => service[Symbol.asyncDispose]() };
}

/** Runs the section. */
export async function dryRunMasterKey(report: Report): Promise<void> {
  report.section("Master key (SQLite in memory; the local KMS and a simulated NSM are stand-ins)");
  using nsm = await SimulatedNsm.start();
  await using kms = await LocalKms.open({ region: REGION });
  await kms.createKey();
  const [firstKey = "", secondKey = ""] = kms.keyArns;
  using store = openMasterKeyStore(":memory:");
  let publicKey = "";
  {
    await using first = await boot(kms, store, nsm);
    await report.step(
      "sign before there is a key",
      () =>
        expectRefusal("not_configured", () => first.tools.enclave.sign(new Uint8Array(33), DIGEST, "ecdsa")),
    );
    await report.step("gateway init: made, then stored", async () => {
      const { row, how } = await initMasterKey(first.tools, ENCLAVE, { keyId: firstKey, allowNew: true });
      publicKey = encodeHex(row.publicKey);
      return `${how}, epoch ${row.keyEpoch}, public key ${publicKey.slice(0, 16)}…`;
    });
    for (const scheme of ["ecdsa", "schnorr"] as const) {
      await report.step(`gateway sign, ${scheme}`, async () => {
        const { signature } = await signWithMasterKey(first.tools, ENCLAVE, { digest: DIGEST, scheme });
        return `${encodeHex(signature).slice(0, 16)}…, verified`;
      });
    }
  }
  await using second = await boot(kms, store, nsm);
  await report.step("restart: KMS opens the stored key", async () => {
    const { row, how, origin } = await initMasterKey(second.tools, ENCLAVE);
    if (encodeHex(row.publicKey) !== publicKey) throw new Error("it is another key");
    if (!origin.proven) throw new Error(origin.why);
    return `${how}, the same public key, generated in the enclave by its stored document`;
  });
  await report.step("another database: no second key is made", async () => {
    using empty = openMasterKeyStore(":memory:");
    return await expectRefusal(
      "master_key_missing",
      () => initMasterKey({ ...second.tools, store: empty }, ENCLAVE, { keyId: firstKey }),
    );
  });
  await report.step("a row with one bit changed", () => {
    const row = requireStored(store, ENCLAVE);
    const encryptedPrivateKey = row.encryptedPrivateKey.slice();
    encryptedPrivateKey[20] = (encryptedPrivateKey[20] ?? 0) ^ 1;
    return expectRefusal("row_rejected", () => second.tools.enclave.verify({ ...row, encryptedPrivateKey }));
  });
  await report.step("gateway rewrap: another KMS key", async () => {
    const { row } = await rewrapMasterKey(second.tools, ENCLAVE, secondKey);
    return `epoch ${row.keyEpoch}, the old row kept`;
  });
  await using third = await boot(kms, store, nsm);
  await report.step("restart: the new row opens and signs", async () => {
    const { kept } = await initMasterKey(third.tools, ENCLAVE);
    if (kept > 0) throw new Error("the old row is kept still");
    return `${(await verifyMasterKey(third.tools, ENCLAVE)).words}; the old row is gone`;
  });
}
