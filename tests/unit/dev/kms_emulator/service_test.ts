/** The local KMS, called as an enclave calls it: with the simulated module's documents, over loopback. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { verifyDocument } from "../../../../lib/shared/attestation/document.ts";
import { SimulatedNsm } from "../../../../lib/dev/nsm/simulated.ts";
import { Credentials } from "../../../../lib/enclave/kms/aws_ne/mod.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { kmsErrorName } from "../../../../lib/enclave/kms/kms.ts";
import { openAwsKms } from "../../../../lib/dev/kms/https_api.ts";
import { jsonAnswer, startScriptedKms } from "../../../helpers/scripted_kms.ts";
import { REAL_DOCUMENTS, realDocuments } from "../../../helpers/vectors.ts";
import {
  ACCOUNT,
  BUILD,
  CONTEXT,
  type Fields,
  KmsPlace,
  policyFor,
  REGION,
  ROLE,
  STRINGS,
  ZERO,
} from "../../../helpers/kms_place.ts";

const REAL = realDocuments();

Deno.test("the right PCR is served: a data key comes in an envelope, and opens again", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old.toUpperCase()]) }],
  });
  await using place = opened;
  const made = await place.dataKey(kms);
  using plaintext = made.plaintext;
  using again = await place.decrypt(kms, made);
  assertEquals(again.expose(), plaintext.expose());
  assertEquals(place.problems, []);
  assertEquals([kms.attested, kms.health()["failed"]], [true, 0]);
});

Deno.test("the wrong PCR is refused, and the event says by which statement", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.new, {
    policies: [{ policy: policyFor([BUILD.old]) }],
  });
  await using place = opened;
  assertEquals(await place.refusal(() => place.dataKey(kms)), "AccessDeniedException");
  const [event] = place.events;
  assertEquals([event?.errorCode, event?.additionalEventData?.["keyPolicy"]], [
    "AccessDeniedException",
    { decidedBy: "Guard" },
  ]);
  assertStringIncludes(event?.errorMessage ?? "", "explicit deny");
});

for (const [what, more] of [["with a guard", []], ["without one", [{}]]] as const) {
  Deno.test(`without a document a policy with conditions ${what} refuses`, async () => {
    const statement = {
      Effect: "Allow",
      Principal: { AWS: ROLE },
      Action: "kms:*",
      Resource: "*",
      Condition: { StringEquals: { "kms:RecipientAttestation:PCR0": BUILD.old } },
    };
    const policy = more.length === 0
      ? policyFor([BUILD.old])
      : JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
    const { place: opened, kms } = await KmsPlace.open(BUILD.old, { policies: [{ policy }] });
    await using place = opened;
    const made = await place.dataKey(kms);
    made.plaintext[Symbol.dispose]();
    assertEquals(
      await place.refusal(async () => place.decrypt(await place.plain(), made)),
      "AccessDeniedException",
    );
    assertEquals(
      await place.refusal(async () => place.dataKey(await place.plain())),
      "AccessDeniedException",
    );
    using opens = await place.decrypt(kms, made);
    assertEquals(opens.length, 32);
  });
}

Deno.test("a policy is rolled over from an old build to a new one", async () => {
  const { place: opened, kms: old, nsm } = await KmsPlace.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old]) }],
  });
  await using place = opened;
  using newModule = await SimulatedNsm.start({ sibling: nsm, pcrs: { 0: BUILD.new } });
  const newer = await place.attested(newModule);
  const made = await place.dataKey(old);
  made.plaintext[Symbol.dispose]();
  const served = async () => {
    const results: boolean[] = [];
    for (const kms of [old, newer]) {
      const opened = await place.decrypt(kms, made).catch((thrown: unknown) => {
        assertEquals(kmsErrorName(thrown), "AccessDeniedException");
      });
      opened?.[Symbol.dispose]();
      results.push(opened !== undefined);
    }
    return results;
  };
  assertEquals(await served(), [true, false]);
  place.server.kms.putPolicy(place.keyArn, policyFor([BUILD.old, BUILD.new]));
  assertEquals(await served(), [true, true]);
  place.server.kms.putPolicy(place.keyArn, policyFor([BUILD.new]));
  assertEquals(await served(), [false, true]);
});

Deno.test("a document of an enclave in debug mode has PCRs of zeros, which no build has", async () => {
  const { place: opened, kms } = await KmsPlace.open(ZERO, {
    policies: [{ policy: policyFor([BUILD.old]) }],
  });
  await using place = opened;
  assertEquals(await place.refusal(() => place.dataKey(kms)), "AccessDeniedException");
  // As on AWS: a policy of zeros would let it in.
  place.server.kms.putPolicy(place.keyArn, policyFor([ZERO]));
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
});

Deno.test("a document under another root is refused, whatever its PCRs", async () => {
  const { place: opened } = await KmsPlace.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old]) }],
  });
  await using place = opened;
  using stranger = await SimulatedNsm.start({ pcrs: { 0: BUILD.old } });
  const kms = await place.attested(stranger);
  assertEquals(await place.refusal(() => place.dataKey(kms)), "ValidationException");
  assertStringIncludes(place.events[0]?.errorMessage ?? "", "attestation_root");
});

Deno.test("without --root, AWS's root is used, and no simulated document is accepted", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { root: undefined });
  await using place = opened;
  assertEquals(await place.refusal(() => place.dataKey(kms)), "ValidationException");
});

for (const kind of REAL_DOCUMENTS) {
  Deno.test({
    name: `the real document ${kind} is verified under AWS's root, and within five minutes alone`,
    ignore: REAL === undefined,
    fn: async () => {
      assert(REAL !== undefined);
      const { bytes, at } = REAL[kind];
      let now = at;
      const { place: opened } = await KmsPlace.open(BUILD.old, { root: undefined, now: () => now });
      await using place = opened;
      const ask = async () => {
        const { answer } = await place.ask("GenerateRandom", {
          NumberOfBytes: 1,
          Recipient: {
            AttestationDocument: encodeBase64(bytes),
            KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256",
          },
        });
        return `${answer["__type"]}: ${answer["message"]}`;
      };
      const { publicKey } = await verifyDocument(bytes, {
        at: "made",
        allowDebug: true,
        insecureSkipPcrs: true,
        insecureSkipNonce: true,
      });
      // These published documents may have any public key or none: the error shows that the document itself was accepted.
      const expected = publicKey === undefined ? "has no public key" : "public key cannot be used";
      assertStringIncludes(await ask(), expected);
      now = new Date(at.getTime() + 10 * 60_000);
      assertStringIncludes(await ask(), "attestation_stale");
    },
  });
}

Deno.test("a document that is replayed is refused after five minutes", async () => {
  let now = new Date("2026-06-01T12:00:00Z");
  const clock = { now: () => now };
  const { place: opened, nsm } = await KmsPlace.open(BUILD.old, {
    ...clock,
    policies: [{ policy: policyFor([BUILD.old]) }],
  }, clock);
  await using place = opened;
  let kept: Uint8Array<ArrayBuffer> | undefined;
  const kms = await place.attested({ attest: async (request) => kept ??= await nsm.attest(request) });
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
  now = new Date(now.getTime() + 5 * 60_000);
  (await place.decrypt(kms, made))[Symbol.dispose]();
  now = new Date(now.getTime() + 1);
  assertEquals(await place.refusal(() => place.decrypt(kms, made)), "ValidationException");
  assertStringIncludes(place.events.at(-1)?.errorMessage ?? "", "attestation_stale");
});

Deno.test("a parent that replays a fresh document gets what it cannot open", async () => {
  const { place: opened, nsm, kms } = await KmsPlace.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old]) }],
  });
  await using place = opened;
  let seen: Uint8Array<ArrayBuffer> | undefined;
  const enclave = await place.attested({ attest: async (request) => seen = await nsm.attest(request) });
  const made = await place.dataKey(enclave);
  made.plaintext[Symbol.dispose]();
  assert(seen !== undefined);
  const document = seen;
  const parent = await place.attested({ attest: () => Promise.resolve(document) });
  const thrown = await assertRejects(() => place.decrypt(parent, made), EnclaveError);
  assertEquals(thrown.code, "cms_open");
  (await place.decrypt(kms, made))[Symbol.dispose]();
});

const RECIPIENTS: readonly (readonly [string, (document: string) => unknown, string])[] = [
  ["a text", (document) => document, "not an object"],
  ["no algorithm", (document) => ({ AttestationDocument: document }), "no KeyEncryptionAlgorithm"],
  [
    "another algorithm",
    (document) => ({ AttestationDocument: document, KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_1" }),
    "not one of",
  ],
  ["no document", () => ({ KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256" }), "AttestationDocument is missing"],
  [
    "half a document",
    (document) => ({
      AttestationDocument: document.slice(0, 1000),
      KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256",
    }),
    "attestation_malformed",
  ],
];
Deno.test("an invalid Recipient is refused, not ignored", async () => {
  const { place: opened, nsm } = await KmsPlace.open(BUILD.old);
  await using place = opened;
  const document = encodeBase64(await nsm.attest({ publicKey: new Uint8Array(294) }));
  for (const [what, make, words] of RECIPIENTS) {
    const { status, answer } = await place.ask("GenerateRandom", {
      NumberOfBytes: 1,
      Recipient: make(document),
    });
    assertEquals([status, answer["__type"]], [400, "ValidationException"], what);
    assertStringIncludes(String(answer["message"]), words);
  }
});

Deno.test("a document without a key, or with an invalid one, gets nothing", async () => {
  const { place: opened, nsm } = await KmsPlace.open(BUILD.old);
  await using place = opened;
  const ecKeys = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, true, ["deriveBits"]);
  const ec = new Uint8Array(await crypto.subtle.exportKey("spki", (ecKeys as CryptoKeyPair).publicKey));
  for (const publicKey of [undefined, new Uint8Array(32), ec]) {
    const document = encodeBase64(await nsm.attest({ publicKey }));
    const { status, answer } = await place.ask("GenerateRandom", {
      NumberOfBytes: 1,
      Recipient: { AttestationDocument: document, KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256" },
    });
    assertEquals([status, answer["__type"]], [400, "ValidationException"]);
    assertStringIncludes(String(answer["message"]), "public key");
  }
});

Deno.test("a ciphertext does not open under another EncryptionContext, and the policy may require one", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, {
    policies: [{
      policy: policyFor([BUILD.old], [{
        Sid: "Context",
        Effect: "Deny",
        Principal: "*",
        Action: "kms:GenerateDataKey",
        Resource: "*",
        Condition: { StringNotEquals: { "kms:EncryptionContext:app": "denclave" } },
      }]),
    }],
  });
  await using place = opened;
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
  const other = { ...CONTEXT, purpose: "tsk" };
  assertEquals(await place.refusal(() => place.decrypt(kms, made, other)), "InvalidCiphertextException");
  assertEquals(await place.refusal(() => place.decrypt(kms, made, {})), "InvalidCiphertextException");
  assertEquals(await place.refusal(() => place.dataKey(kms, { app: "other" })), "AccessDeniedException");
  assertEquals(await place.refusal(() => place.dataKey(kms, {})), "AccessDeniedException");
});

Deno.test("a condition on an EncryptionContext with one key in two cases refuses", async () => {
  const policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{
      Effect: "Allow",
      Principal: "*",
      Action: "kms:*",
      Resource: "*",
      Condition: { StringEquals: { "kms:EncryptionContext:app": "denclave" } },
    }],
  });
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { policies: [{ policy }] });
  await using place = opened;
  (await place.dataKey(kms, { app: "denclave" })).plaintext[Symbol.dispose]();
  const twice = { app: "denclave", App: "denclave" };
  assertEquals(await place.refusal(() => place.dataKey(kms, twice)), "AccessDeniedException");
});

Deno.test("a disabled key does nothing until it is enabled", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
  await using place = opened;
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
  await place.ask("DisableKey", { KeyId: place.keyArn });
  const described = await place.ask("DescribeKey", { KeyId: place.keyArn });
  assertEquals((described.answer["KeyMetadata"] as Fields)["KeyState"], "Disabled");
  assertEquals(await place.refusal(() => place.decrypt(kms, made)), "DisabledException");
  assertEquals(await place.refusal(() => place.dataKey(kms)), "DisabledException");
  await place.ask("EnableKey", { KeyId: place.keyArn });
  (await place.decrypt(kms, made))[Symbol.dispose]();
});

Deno.test("a ciphertext of another key, of a missing key or of no known format is refused with KMS's error name", async () => {
  const { place: opened, kms } = await KmsPlace.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
  await using place = opened;
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
  const { answer } = await place.ask("CreateKey", { Description: "another" });
  const { Arn: other } = answer["KeyMetadata"] as Fields;
  const decrypt = (keyId: string, ciphertext: Uint8Array<ArrayBuffer>) =>
    place.refusal(() => kms.decrypt(place.access, { ciphertext, keyId, context: CONTEXT }));
  assertEquals(await decrypt(String(other), made.ciphertext), "IncorrectKeyException");
  assertEquals(await decrypt(`${place.keyArn.slice(0, -1)}_`, made.ciphertext), "NotFoundException");
  assertEquals(await decrypt(place.keyArn, new Uint8Array(64)), "InvalidCiphertextException");
  const changed = new Uint8Array(made.ciphertext);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  assertEquals(await decrypt(place.keyArn, changed), "InvalidCiphertextException");
  const foreign = new Uint8Array(made.ciphertext);
  foreign.set(new TextEncoder().encode("us-west-2"), 6 + "arn:aws:kms:".length);
  const { answer: refused } = await place.ask("Decrypt", {
    CiphertextBlob: encodeBase64(foreign),
    EncryptionContext: CONTEXT,
  });
  assertEquals(refused["__type"], "AccessDeniedException");
});

const ANSWERS: readonly (readonly [string, Fields, string])[] = [
  ["a plaintext", { Plaintext: "AQID" }, "only this enclave may read it"],
  ["nothing", {}, "CiphertextForRecipient is missing"],
  ["an invalid envelope", { CiphertextForRecipient: "AQID" }, "Cannot read the envelope"],
  ["an envelope beyond all measure", {
    CiphertextForRecipient: encodeBase64(new Uint8Array(17_000)),
  }, "has 17000 bytes"],
];
for (const [what, answer, words] of ANSWERS) {
  Deno.test(`the simulated enclave does not take ${what} for an answer`, async () => {
    await using server = startScriptedKms(() => jsonAnswer(answer));
    using nsm = await SimulatedNsm.start();
    await using kms = await openAwsKms({ nsm, endpoint: server.url });
    using credentials = Credentials.fromStrings(STRINGS);
    const request = { keyId: "alias/a", keySpec: "AES_256" } as const;
    const access = { region: REGION, credentials };
    await assertRejects(() => kms.generateDataKey(access, request), EnclaveError, words);
    const { Recipient: recipient } = JSON.parse(server.seen[0]?.body ?? "");
    const document = await nsm.verify(decodeBase64(recipient.AttestationDocument), { maxAgeMs: 60_000 });
    assertEquals(document.publicKey?.length, 294);
  });
}
