/**
 * Attestation documents, judged by a second verifier in another language with other libraries: both must
 * agree.
 */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { AttestationError, AWS_NITRO_ROOT } from "../../lib/shared/attestation/mod.ts";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { verifyDocumentUnder } from "../../lib/shared/attestation/verify.ts";
import { hasMoto } from "../helpers/peers.ts";
import { type PythonPeer, startPythonPeer } from "../helpers/python_peer.ts";
import { REAL_DOCUMENTS, realDocuments } from "../helpers/vectors.ts";

const real = realDocuments();

interface Verdict {
  readonly ok: boolean;
  readonly module_id?: string;
  readonly pcrs?: Readonly<Record<string, string>>;
  readonly nonce?: string | null;
  readonly user_data?: string | null;
}

let verifier: PythonPeer | undefined;
Deno.test.afterAll(async () => await verifier?.end());

/** What the second verifier says. */
async function ask(root: Uint8Array, document: Uint8Array): Promise<Verdict> {
  verifier ??= startPythonPeer("verify_document.py");
  return await verifier.ask({ root: encodeBase64(root), document: encodeBase64(document) }) as Verdict;
}

/** Whether ours takes it, as of its own time. */
async function ours(root: Uint8Array, document: Uint8Array): Promise<boolean> {
  try {
    await verifyDocumentUnder(root, document, { at: "made", allowDebug: true });
    return true;
  } catch (thrown) {
    if (thrown instanceof AttestationError) return false;
    throw thrown;
  }
}

async function agree(root: Uint8Array, document: Uint8Array): Promise<boolean> {
  const [verdict, mine] = [await ask(root, document), await ours(root, document)];
  assertEquals(verdict.ok, mine, JSON.stringify(verdict));
  return mine;
}

// The second verifier's packages are in the same venv.
if (hasMoto()) {
  Deno.test("second verifier: both accept a simulated document with the same fields, and neither under another root", async () => {
    using nsm = await SimulatedNsm.start();
    using other = await SimulatedNsm.start();
    const [nonce, userData] = [crypto.getRandomValues(new Uint8Array(32)), new TextEncoder().encode("hello")];
    const document = await nsm.attest({ nonce, userData });
    assert(await agree(nsm.root, document));
    assertEquals(await agree(other.root, document), false);
    assertEquals(await agree(AWS_NITRO_ROOT, document), false);
    const [verdict, mine] = [await ask(nsm.root, document), await nsm.verify(document)];
    assertEquals(verdict, {
      ok: true,
      module_id: mine.moduleId,
      pcrs: Object.fromEntries([...mine.pcrs].map(([index, value]) => [String(index), value])),
      nonce: encodeHex(nonce),
      user_data: encodeHex(userData),
    });
  });

  if (real !== undefined) {
    for (const name of REAL_DOCUMENTS) {
      Deno.test(`second verifier: the real document ${name} is good to both, and with one bit changed to neither`, async () => {
        const { bytes } = real[name];
        assert(await agree(AWS_NITRO_ROOT, bytes));
        const verdict = await ask(AWS_NITRO_ROOT, bytes);
        const mine = await verifyDocumentUnder(AWS_NITRO_ROOT, bytes, { at: "made", allowDebug: true });
        assertEquals([verdict.module_id, verdict.pcrs?.["0"]], [mine.moduleId, mine.pcrs.get(0)]);
        const changed = bytes.slice();
        changed[bytes.length - 1] = (changed.at(-1) ?? 0) ^ 1;
        assertEquals(await agree(AWS_NITRO_ROOT, changed), false);
      });
    }
  }
}
