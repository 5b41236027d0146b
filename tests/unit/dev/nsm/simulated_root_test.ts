/** The root of simulated modules, kept in files. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { verifyDocumentOf } from "../../../../lib/shared/attestation/document.ts";
import { parseCertificate } from "../../../../lib/shared/attestation/pem.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { openSimulatedRoot } from "../../../../lib/dev/nsm/simulated_root.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { Folder } from "../../../helpers/folder.ts";

const nonce = new Uint8Array(32).fill(7);
const nsmDevice = "/nonexistent/nsm";
const YEAR_MS = 365 * 24 * 3_600_000;

Deno.test("a root is made once, and modules of later runs sign under it", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/root.pem`;
  await openSimulatedRoot(file);
  assertEquals(((await Deno.stat(`${file}.key`)).mode ?? 0) & 0o777, 0o600);
  const kept = parseCertificate(await Deno.readFile(file));
  for (const _run of [1, 2]) {
    using nsm = await SimulatedNsm.start({ root: await openSimulatedRoot(file), nsmDevice });
    assertEquals(nsm.root, kept);
    const expected = { nonce, insecureSkipPcrs: true };
    const { moduleId } = await verifyDocumentOf(kept, await nsm.attest({ nonce }), expected);
    assertEquals(moduleId, nsm.moduleId);
  }
});

Deno.test("PCRs that are not given are the same in every run", async () => {
  using first = await SimulatedNsm.start({ nsmDevice });
  using second = await SimulatedNsm.start({ nsmDevice });
  for (const index of [0, 1, 2]) {
    assertEquals(await first.pcr(index), await second.pcr(index));
  }
});

Deno.test("a named root does not skip the checks of the nonce, the PCRs or the root itself", async () => {
  using nsm = await SimulatedNsm.start({ nsmDevice });
  using other = await SimulatedNsm.start({ nsmDevice });
  const document = await nsm.attest({ nonce });
  const insecureSkipPcrs = true;
  await assertRejects(() => verifyDocumentOf(nsm.root, document, { nonce }), TypeError);
  for (
    const [root, expected, code] of [
      [nsm.root, { insecureSkipPcrs }, "attestation_nonce"],
      [nsm.root, { nonce, pcrs: { 0: "ab".repeat(48) } }, "attestation_pcr"],
      [other.root, { nonce, insecureSkipPcrs }, "attestation_root"],
    ] as const
  ) {
    const error = await assertRejects(() => verifyDocumentOf(root, document, expected), AttestationError);
    assertEquals(error.code, code);
  }
});

const DAMAGE: readonly (readonly [string, (file: string) => Promise<void>, RegExp])[] = [
  ["without its key", (file) => Deno.remove(`${file}.key`), /its key .*root\.pem\.key is missing/],
  ["without its certificate", (file) => Deno.remove(file), /the certificate is missing beside its key/],
  ["with a key that others can read", (file) => Deno.chmod(`${file}.key`, 0o644), /chmod 600/],
  [
    "with an invalid certificate",
    (file) => Deno.writeTextFile(file, "garbage"),
    /there is no CERTIFICATE/,
  ],
  [
    "with the key of another",
    async (file) => {
      await openSimulatedRoot(`${file}.other`);
      await Deno.rename(`${file}.other.key`, `${file}.key`);
    },
    /the key is of another certificate/,
  ],
];
for (const [what, damage, message] of DAMAGE) {
  Deno.test(`a root ${what} is refused, with what to remove`, async () => {
    await using folder = await Folder.make();
    const file = `${folder.path}/root.pem`;
    await openSimulatedRoot(file);
    await damage(file);
    const error = await assertRejects(() => openSimulatedRoot(file), EnclaveError);
    assertMatch(error.message, message);
    assertMatch(error.hint ?? "", /remove it and .*root\.pem\.key/);
  });
}

Deno.test("an expired root is refused", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/root.pem`;
  await openSimulatedRoot(file);
  const now = new Date(Date.now() + YEAR_MS + 60_000);
  await assertRejects(() => openSimulatedRoot(file, { now }), EnclaveError, "it was valid until");
});

Deno.test("a simulated module refuses the lengths that a real one refuses", async () => {
  using nsm = await SimulatedNsm.start({ nsmDevice });
  for (
    const request of [
      { userData: new Uint8Array(513) },
      { nonce: new Uint8Array(513) },
      { publicKey: new Uint8Array(1025) },
      { publicKey: new Uint8Array(0) },
    ]
  ) await assertRejects(() => nsm.attest(request), RangeError);
});
