/**
 * The script of the browser test's page: the example's own code, and the client's other modules, under a
 * simulated root that the query names, in a browser whose newer functions were removed.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { verifyDocumentUnder } from "../../lib/shared/attestation/verify.ts";
import { sign } from "../../examples/web_page/sign.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { processData } from "../../lib/ctl/client/process.ts";
import { SealedClient } from "../../lib/ctl/client/sealed_client.ts";
import {
  CredentialSource,
  type OriginExpectation,
  requestWithCredentials,
  WalletClient,
} from "../../lib/ctl/client/wallet.ts";
import { ReceiptClient } from "../../lib/ctl/client/receipt_client.ts";
import { verifyReceipt, verifyReceiptDocument } from "../../lib/shared/receipts/mod.ts";

const query = new URLSearchParams(globalThis.location.search);
const read = (name: string) => query.get(name) ?? "";
const rootDer = Uint8Array.from(atob(read("root")), (digit) => digit.charCodeAt(0));
const verify = (document: Uint8Array, expected: Parameters<typeof verifyDocumentUnder>[2]) =>
  verifyDocumentUnder(rootDer, document, expected);

/** The error's code, or its message if it has none. */
const codeOf = (thrown: unknown) =>
  thrown instanceof Error ? ("code" in thrown ? String(thrown.code) : thrown.message) : String(thrown);

/** The receipt of a request is verified, as anybody may do again, and refused with another result. */
async function lookAtReceipt(client: SealedClient, expected: OriginExpectation): Promise<unknown> {
  const answer = await new ReceiptClient(client, expected)
    .process({ key: decodeHex(read("key")), data: new Uint8Array(9) });
  const key = await verifyReceiptDocument(answer.document, expected);
  const salt = answer.salts?.result ?? new Uint8Array();
  const verified = (bytes: Uint8Array) =>
    verifyReceipt(answer.receipt, key, { result: { bytes, salt } })
      .then(({ type, outcome }) => `${type} ${outcome}`, codeOf);
  return [await verified(answer.result), await verified(new Uint8Array(1))];
}

async function look(): Promise<Record<string, unknown>> {
  const bridge = read("bridge");
  const expected = { pcrs: { 0: read("pcr0") }, verify };
  const client = await SealedClient.connect(bridge, expected);
  const { document } = await client.attest();
  const credentials = new CredentialSource(() =>
    Promise.resolve({ accessKeyId: "local", secretAccessKey: "local" })
  );
  await requestWithCredentials(client, credentials, {
    type: "configure",
    encrypted_tsk: read("wrapped"),
  });
  const data = new Uint8Array(100_000).fill(7);
  const processed = await processData(client, { key: decodeHex(read("key")), data });
  const wallet = new WalletClient(client, credentials);
  const account = await wallet.generateAccount("alice", {});
  const { v } = await wallet.sign(account, { message: "hello" });
  await requestWithCredentials(client, credentials, { type: "master_key.init", enclave_id: 1 });
  const unsealed = await Client.connect(bridge);
  const { scheme } = await sign({ bridge, text: "hello", ...expected });
  const failed = (options: Partial<Parameters<typeof sign>[0]>) =>
    sign({ bridge, text: "hello", ...expected, ...options }).then(() => "trusted", codeOf);
  return {
    hasFromBase64: "fromBase64" in Uint8Array,
    module: document.moduleId,
    processed: processed.length,
    v: v === 27 || v === 28,
    scheme,
    receipt: await lookAtReceipt(client, expected).catch(codeOf),
    unsealed: await unsealed.request({ type: "master_key.sign", digest: "" }).catch(codeOf),
    noBridge: await failed({ bridge: "http://127.0.0.1:2" }),
    otherBuild: await failed({ pcrs: { 0: "cd".repeat(48) } }),
    awsRoot: await sign({ bridge, text: "hello", pcrs: expected.pcrs }).then(() => "trusted", codeOf),
  };
}

const result = await look().catch((thrown) => ({ error: codeOf(thrown) }));
await fetch("/result", { method: "POST", body: JSON.stringify(result) });
