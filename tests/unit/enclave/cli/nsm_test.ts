/** The NSM port over its device: the wire of AWS's nsm-api, with the driver mocked. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { encode } from "cborg";
import { NsmError } from "../../../../ffi/nsm.ts";
import { type Nsm, openNsm } from "../../../../lib/enclave/cli/nsm.ts";
import { encodeForm, INDEFINITE, WIDEST } from "../../../helpers/cbor_forms.ts";
import { MockNsm } from "../../../helpers/mock_nsm.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A module that gives one answer to everything, and the requests that it saw. */
function answering(
  response: Uint8Array,
): { readonly nsm: Nsm; readonly requests: Bytes[]; readonly mock: MockNsm } {
  const requests: Bytes[] = [];
  const mock = new MockNsm((request) => {
    requests.push(request);
    return { response: new Uint8Array(response) };
  });
  return { nsm: openNsm(mock.kernel), requests, mock };
}

const BYTES = new Uint8Array(48).fill(5);
const DESCRIPTION = {
  version_major: 1,
  version_minor: 0,
  version_patch: 0,
  module_id: "i-0123456789abcdef0-enc0123456789abcdef",
};

const ascii = (text: string) => encodeHex(new TextEncoder().encode(text));

// The requests byte for byte: serde_cbor's form of nsm-api's enum, typed in by hand from RFC 8949.
const CALLS: readonly (readonly [string, (nsm: Nsm) => Promise<unknown>, string, unknown, unknown])[] = [
  [
    "an attestation of nothing has three nulls",
    (nsm) => nsm.attest(),
    `a16b${ascii("Attestation")}a369${ascii("user_data")}f665${ascii("nonce")}f66a${ascii("public_key")}f6`,
    { Attestation: { document: new Uint8Array([1, 2]) } },
    new Uint8Array([1, 2]),
  ],
  [
    "an attestation of all three carries them as byte strings",
    (nsm) =>
      nsm.attest({
        userData: new Uint8Array([1]),
        nonce: new Uint8Array([2, 2]),
        publicKey: new Uint8Array([3, 3, 3]),
      }),
    `a16b${ascii("Attestation")}a369${ascii("user_data")}410165${ascii("nonce")}4202026a${
      ascii("public_key")
    }43030303`,
    { Attestation: { document: new Uint8Array([9]) } },
    new Uint8Array([9]),
  ],
  [
    "the module is described by a text",
    (nsm) => nsm.describe(),
    `6b${ascii("DescribeNSM")}`,
    { DescribeNSM: DESCRIPTION },
    {
      version: [1, 0, 0],
      moduleId: DESCRIPTION.module_id,
    },
  ],
  [
    "random bytes are asked for by a text",
    (nsm) => nsm.random(),
    `69${ascii("GetRandom")}`,
    { GetRandom: { random: new Uint8Array(256).fill(1) } },
    new Uint8Array(256).fill(1),
  ],
];
for (const [what, call, request, answer, expected] of CALLS) {
  Deno.test(`on the wire, ${what}`, async () => {
    const { nsm, requests } = answering(encode(answer));
    using _ = nsm;
    assertEquals(await call(nsm), expected);
    assertEquals(requests.map(encodeHex), [request]);
  });
  Deno.test(`where ${what}, the answer may be in any encoding`, async () => {
    for (const choose of [INDEFINITE, WIDEST]) {
      const { nsm } = answering(encodeForm(answer, choose));
      using _ = nsm;
      assertEquals(await call(nsm), expected);
    }
  });
}

for (const name of ["InvalidArgument", "InputTooLarge", "InternalError", "Surprise"]) {
  Deno.test(`a refusal of the module, ${name}, comes by its name, with a remedy`, async () => {
    for (const response of [encode({ Error: name }), encodeForm({ Error: name }, INDEFINITE)]) {
      const { nsm } = answering(response);
      using _ = nsm;
      const error = await assertRejects(() => nsm.attest(), NsmError, `refused Attestation: "${name}"`);
      assertEquals(error.code, "nsm_refused");
      assertMatch(error.hint ?? "", /\w/);
    }
  });
}

const NO_ANSWERS: readonly (readonly [string, Uint8Array])[] = [
  ["nothing", new Uint8Array(0)],
  ["no CBOR", new Uint8Array([0xff])],
  ["another variant", encode({ DescribeNSM: DESCRIPTION })],
  ["a text of its own name without fields", encode("GetRandom")],
  ["fields that are none", encode({ GetRandom: [] })],
  ["a field of another type", encode({ GetRandom: { random: 1 } })],
  ["a missing field", encode({ GetRandom: { data: BYTES } })],
  ["no random byte", encode({ GetRandom: { random: new Uint8Array(0) } })],
  ["two variants at once", encode({ GetRandom: { random: BYTES }, DescribeNSM: {} })],
  ["an error that is no text", encode({ Error: 1 })],
  ["more after the answer", new Uint8Array([...encode({ GetRandom: { random: BYTES } }), 0])],
  ["an empty map", new Uint8Array([0xbf, 0xff])],
  [
    "a map of indefinite length without its end",
    encodeForm({ GetRandom: { random: BYTES } }, INDEFINITE).slice(0, -1),
  ],
  [
    "two variants at once in a map of indefinite length",
    encodeForm({ GetRandom: { random: BYTES }, DescribeNSM: {} }, INDEFINITE),
  ],
  ["ten thousand lists in one another", new Uint8Array(10_000).fill(0x81)],
  ["a text of four gigabytes", new Uint8Array([0x7a, 0xff, 0xff, 0xff, 0xff])],
  ["a list of four gigabytes", new Uint8Array([0x9a, 0xff, 0xff, 0xff, 0xff])],
];
for (const [what, response] of NO_ANSWERS) {
  Deno.test(`${what} from the module is no answer`, async () => {
    const { nsm } = answering(response);
    using _ = nsm;
    const error = await assertRejects(() => nsm.random(), NsmError);
    assertEquals(error.code, "nsm_answer");
  });
}

Deno.test("a description with a field of another type is refused", async () => {
  const wrong = [
    { version_major: -1 },
    { version_minor: 0x1_0000 },
    { version_patch: "0" },
    { module_id: 1 },
  ];
  for (const change of wrong) {
    const { nsm } = answering(encode({ DescribeNSM: { ...DESCRIPTION, ...change } }));
    using _ = nsm;
    assertEquals((await assertRejects(() => nsm.describe(), NsmError)).code, "nsm_answer");
  }
});

Deno.test("lengths at the module's limits are accepted, and the largest request fits", async () => {
  const { nsm, requests } = answering(encode({ Attestation: { document: BYTES } }));
  using _ = nsm;
  const [userData, nonce, publicKey] = [new Uint8Array(512), new Uint8Array(512), new Uint8Array(1024)];
  await nsm.attest({ userData, nonce, publicKey });
  await nsm.attest({ userData: new Uint8Array(0), nonce: new Uint8Array(0) });
  assertEquals([requests.length, (requests[0]?.length ?? 0) < 4096], [2, true]);
});

Deno.test("an NSM that is disposed of closes its device", async () => {
  const { nsm, mock } = answering(encode("DescribeNSM"));
  nsm[Symbol.dispose]();
  assertEquals(mock.open, 0);
  await assertRejects(() => nsm.random(), TypeError, "closed");
});
