/**
 * The parsers that are fuzzed, each with good examples to damage. Examples are derived from a number: the same number gives the same bytes, so that a
 * finding can be reproduced.
 *
 * @module
 */
import { AttestationError } from "../../lib/shared/attestation/errors.ts";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { verifyDocumentUnder } from "../../lib/shared/attestation/verify.ts";
import { parseConfig } from "../../lib/ctl/config/mod.ts";
import { documentOf } from "../../lib/ctl/commands/document_input.ts";
import { parsePayload } from "../../lib/enclave/wallet/ethereum/payload.ts";
import { bytesSource, EifError, readEif } from "../../lib/ctl/eif/mod.ts";
import { imageOf, smallParts } from "../fixtures/eif.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { readKeyPolicy } from "../../lib/ctl/aws/key_policy.ts";
import { FrameDecoder } from "../../lib/shared/wire/framing.ts";
import { EIP712_MAIL } from "../fixtures/ethereum.ts";
import { withSeededCrypto } from "../helpers/seeded_crypto.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Good examples, and the parser under test. */
export interface Corpus {
  readonly examples: readonly Bytes[];
  /** Throws only what it may. */
  run(bytes: Bytes): void | Promise<void>;
}

/** A parser under test. */
export interface Target {
  readonly name: string;
  /** The examples of this number: the same each time. */
  open(number: number): Promise<Corpus>;
}

/** A parser whose examples are always the same. */
interface FixedTarget extends Pick<Corpus, "run"> {
  readonly name: string;
  seeds(): Promise<readonly Bytes[]>;
}

const encoder = new TextEncoder();

/** Runs a parser of text; errors that this program throws on purpose are refusals. */
function refuses(run: () => unknown): void {
  try {
    run();
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError)) throw thrown;
  }
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const FIXED: readonly FixedTarget[] = [
  {
    name: "eif",
    seeds: async () => [await imageOf(smallParts())],
    run: async (bytes) => {
      try {
        await readEif(bytesSource(bytes));
      } catch (thrown) {
        if (!(thrown instanceof EifError)) throw thrown;
      }
    },
  },
  {
    name: "framing",
    seeds: () =>
      Promise.resolve(
        ['{"type":"ping"}\n', '\0\0\0\u000f{"type":"ping"}', '{"a":[{"b":"\\"}"}]}'].map((each) =>
          encoder.encode(each)
        ),
      ),
    run: (bytes) => {
      const decoder = new FrameDecoder(4096);
      for (let at = 0; at < bytes.length;) {
        const room = decoder.space();
        const part = bytes.subarray(at, at + Math.max(1, Math.min(room.length, 7)));
        room.set(part);
        decoder.commit(part.length);
        at += part.length;
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          if ("problem" in frame && !frame.recoverable) return;
          decoder.release();
        }
      }
      decoder.end();
      decoder.next();
    },
  },
  {
    name: "typed-data",
    seeds: () => Promise.resolve([encoder.encode(JSON.stringify({ typedData: EIP712_MAIL.typedData }))]),
    run: (bytes) => {
      let json: unknown;
      try {
        json = JSON.parse(text(bytes));
      } catch {
        return;
      }
      if (typeof json !== "object" || json === null) return;
      refuses(() => parsePayload(json as Record<string, unknown>, EIP712_MAIL.address));
    },
  },
  {
    name: "document-input",
    seeds: () =>
      Promise.resolve([
        encoder.encode('{"status":"ok","attestation_doc":"hEShATgioEC/"}'),
        encoder.encode("0x8444a1013822a040ff\n"),
        encoder.encode("hEShATgioEC_\n"),
        new Uint8Array([0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x40]),
      ]),
    run: (bytes) => {
      try {
        documentOf(bytes);
      } catch (thrown) {
        if (!(thrown instanceof SyntaxError)) throw thrown;
      }
    },
  },
  {
    name: "policy",
    seeds: () =>
      Promise.resolve([
        encoder.encode(
          '{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}',
        ),
      ]),
    run: (bytes) => refuses(() => readKeyPolicy(text(bytes))),
  },
  {
    name: "config",
    seeds: async () => [await Deno.readFile(new URL("../../config/development.yaml", import.meta.url))],
    run: (bytes) => refuses(() => parseConfig(text(bytes), "fuzz.yaml")),
  },
];

/** When the documents were made: their certificates say so. */
const MADE_AT = new Date(1_700_000_000_000);

const DOCUMENT: Target = {
  name: "document",
  open: (number) =>
    withSeededCrypto(number, async () => {
      const options = { nsmDevice: "/nonexistent", now: () => MADE_AT };
      using nsm = await SimulatedNsm.start(options);
      using old = await SimulatedNsm.start({ ...options, sibling: nsm, definiteLength: true });
      const { root } = nsm;
      return {
        examples: [
          await nsm.attest(),
          await nsm.attest({ nonce: new Uint8Array(32), userData: new Uint8Array(9) }),
          await old.attest(),
        ],
        run: async (bytes: Bytes) => {
          try {
            await verifyDocumentUnder(root, bytes, { at: "made" });
          } catch (thrown) {
            if (!(thrown instanceof AttestationError)) throw thrown;
          }
        },
      };
    }),
};

/** All parsers. */
export const TARGETS: readonly Target[] = [
  DOCUMENT,
  ...FIXED.map(({ name, seeds, run }) => ({
    name,
    open: async () => ({ examples: await seeds(), run }),
  })),
];
