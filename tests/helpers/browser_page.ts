/**
 * The script of the browser test's page: the example's own code, under a simulated root that the query names,
 * in a browser whose newer functions were removed.
 *
 * @module
 */
import { verifyDocumentUnder } from "../../lib/shared/attestation/verify.ts";
import { verifyReceipt, verifyReceiptDocument } from "../../lib/shared/receipts/mod.ts";
import { connectEnclave } from "../../examples/clients/browser/sealed_bridge.ts";

const query = new URLSearchParams(globalThis.location.search);
const [bridge, pcr0, root] = ["bridge", "pcr0", "root"].map((name) => query.get(name) ?? "");
const rootDer = Uint8Array.from(atob(root ?? ""), (digit) => digit.charCodeAt(0));
const verify = (document: Uint8Array, expected: Parameters<typeof verifyDocumentUnder>[2]) =>
  verifyDocumentUnder(rootDer, document, expected);

/** The error's code, or its message if it has none. */
const codeOf = (thrown: unknown) =>
  thrown instanceof Error ? ("code" in thrown ? String(thrown.code) : thrown.message) : String(thrown);

/** An answer's proof, in the fragment: verified offline, and refused with another result. */
async function lookAtReceipt(): Promise<unknown> {
  const proof = JSON.parse(decodeURIComponent(globalThis.location.hash.slice(1)));
  const bytes = (name: string) => Uint8Array.from(atob(proof[name]), (digit) => digit.charCodeAt(0));
  const key = await verifyReceiptDocument(bytes("document"), { pcrs: { 0: pcr0 ?? "" }, verify });
  const verified = (result: Uint8Array) =>
    verifyReceipt(bytes("receipt"), key, { result: { bytes: result, salt: bytes("salt") } })
      .then(({ type, outcome }) => `${type} ${outcome}`, codeOf);
  return [await verified(bytes("result")), await verified(new Uint8Array(1))];
}

async function look(): Promise<Record<string, unknown>> {
  const options = { bridge: bridge ?? "", pcr0: pcr0 ?? "", verify };
  const enclave = await connectEnclave(options);
  const reply = await enclave.exchange({ type: "ping" });
  const failed = (given: Partial<typeof options>) =>
    connectEnclave({ ...options, ...given }).then(() => "trusted", codeOf);
  const { verify: _, ...awsRoot } = options;
  return {
    hasFromBase64: "fromBase64" in Uint8Array,
    module: enclave.document.moduleId,
    ping: reply["msg"],
    otherBuild: await failed({ pcr0: "cd".repeat(48) }),
    receipt: await lookAtReceipt().catch(codeOf),
    awsRoot: await connectEnclave(awsRoot).then(() => "trusted", codeOf),
  };
}

const result = await look().catch((thrown) => ({ error: codeOf(thrown) }));
await fetch("/result", { method: "POST", body: JSON.stringify(result) });
