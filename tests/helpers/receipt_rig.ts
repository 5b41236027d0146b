/**
 * A service with a simulated NSM, a session key and a master key, and clients that verify its receipts.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import {
  type ExpectedReply,
  ReceiptClient,
  type ReceiptRequester,
} from "../../lib/ctl/client/receipt_client.ts";
import { verifyDocument } from "../../lib/shared/attestation/document.ts";
import { WorkflowError } from "../../lib/workflow_context.ts";
import { PCR0, sealedRig } from "./sealed_rig.ts";

/** The session key. */
export const SESSION_KEY = new Uint8Array(32).fill(7);
/** What the workflow refuses, with the code `too_much`. */
export const REFUSED = "refuse";

/** Changes its input, so that input and result differ. */
function upper(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const text = new TextDecoder().decode(data);
  if (text === REFUSED) throw new WorkflowError("too_much", "no");
  data.set(new TextEncoder().encode(text.toUpperCase()));
  return data;
}

/** Starts it. */
export async function receiptRig(options: Parameters<typeof sealedRig>[0] = {}) {
  await using stack = new AsyncDisposableStack();
  const rig = stack.use(await sealedRig({ workflow: upper, ...options }));
  const client = stack.use(await rig.connect());
  const credentials = { aws_access_key_id: "t", aws_secret_access_key: "t" };
  const encrypted_tsk = encodeBase64(await rig.kms.encrypt(rig.keyArn, SESSION_KEY));
  const configure = { type: "configure", encrypted_tsk, ...credentials };
  await client.request(configure);
  await client.request({ type: "master_key.init", enclave_id: 1, ...credentials });
  const expected: ExpectedReply = {
    pcrs: { 0: PCR0 },
    verify: (document, expected) => rig.nsm.verify(document, expected),
  };
  const owned = stack.move();
  return {
    ...rig,
    client,
    configure,
    expected,
    /** As a client does that is not told of the simulated root. */
    verifyUnderAws: verifyDocument,
    receipts: (over: ReceiptRequester = client, wanted: Partial<ExpectedReply> = {}) =>
      new ReceiptClient(over, { ...expected, ...wanted }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
