/** Receipts as the service makes them: what they commit to, for whom they can be opened, and the life of their key. */
import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { parseReceipt, receiptSalts, receiptSecretOf } from "../../../../lib/shared/receipts/mod.ts";
import { verifyReceipt, verifyReceiptDocument } from "../../../../lib/shared/receipts/mod.ts";
import { RECEIPT_KEY_LIFE_MS } from "../../../../lib/shared/receipts/claims.ts";
import { NODE_PRIMITIVES, ReceiptService } from "../../../../lib/enclave/receipts/receipts.ts";
import { NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { FEATURES } from "../../../../lib/shared/cli/serve_options.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { inProcess } from "../../../../lib/dev/in_process_workflow.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";
import { testPorts } from "../../../helpers/ports.ts";
import { sealedRig } from "../../../helpers/sealed_rig.ts";
import { configureOn, CREDENTIAL, plainSession } from "../../../helpers/wallet_rig.ts";
import { receiptRig, REFUSED, SESSION_KEY } from "../../../helpers/receipt_rig.ts";

const encoder = new TextEncoder();
const bytes = (text: string) => encoder.encode(text);
const sha384 = async (...parts: readonly Uint8Array<ArrayBuffer>[]) =>
  new Uint8Array(await crypto.subtle.digest("SHA-384", await new Blob([...parts]).bytes()));
const DIGEST = new Uint8Array(32).fill(5);
const NONCE = encodeBase64(new Uint8Array(32).fill(9));

/** What a receipt is begun for. */
const ABOUT = {
  type: "process",
  nonce: new Uint8Array(16),
  blob: bytes("b"),
  input: bytes("i"),
  secret: SecretBytes.copyOf(new Uint8Array(48).fill(7)),
} as const;
const CALL = { signal: new AbortController().signal };

/** A plain `process` request with a nonce of the test's choice. */
function blobOf(text: string): string {
  using key = new SealingKey(SecretBytes.copyOf(SESSION_KEY), { random: HOST_RANDOM.fill });
  return encodeHex(key.seal(bytes(text)));
}

for (const isSealed of [false, true]) {
  const how = isSealed ? "sealed" : "plain";
  Deno.test(`a ${how} process gives a receipt of its request, input and result, which verifies offline`, async () => {
    await using rig = await receiptRig();
    using sealed = await rig.connectSealed();
    const client = rig.receipts(isSealed ? sealed : rig.client);
    const { result, receipt, salts, document, claims } = await client.process({
      key: SESSION_KEY,
      data: bytes("question"),
    });
    assertEquals(new TextDecoder().decode(result), "QUESTION");
    assertEquals([claims.type, claims.outcome], ["process", "ok"]);
    const key = await verifyReceiptDocument(document, rig.expected);
    await verifyReceipt(receipt, key, {
      result: { bytes: bytes("QUESTION"), salt: salts?.result },
      input: { bytes: bytes("question"), salt: salts?.input },
    });
    assertEquals(claims.result, await sha384(salts?.result ?? bytes(""), bytes("QUESTION")));
    assertEquals(claims.input, await sha384(salts?.input ?? bytes(""), bytes("question")));
    assertNotEquals(salts?.result, salts?.input);
  });

  Deno.test(`a ${how} master_key.sign gives a receipt of its signature, ${isSealed ? "with salts" : "without"}`, async () => {
    await using rig = await receiptRig();
    using sealed = await rig.connectSealed();
    const client = rig.receipts(isSealed ? sealed : rig.client);
    for (const scheme of ["ecdsa", "schnorr"] as const) {
      const { reply, result, salts, claims } = await client.sign({ digest: DIGEST, scheme });
      assertEquals([encodeBase64(result), result.length], [reply["signature"], 64]);
      assertEquals([claims.type, salts !== undefined], ["master_key.sign", isSealed]);
      assertEquals(claims.result, await sha384(salts?.result ?? bytes(""), result));
      assertEquals(claims.input, await sha384(salts?.input ?? bytes(""), DIGEST));
    }
  });
}

Deno.test("a refusal by the workflow has a receipt of its code, and other errors have none", async () => {
  await using rig = await receiptRig();
  const { reply, result, claims } = await rig.receipts().process({ key: SESSION_KEY, data: bytes(REFUSED) });
  assertEquals([reply["msg"], reply["code"], new TextDecoder().decode(result)], [
    "workflow_failed",
    "too_much",
    "too_much",
  ]);
  assertEquals(claims.outcome, "workflow_failed");
  const broken = await rig.client.exchange({ type: "process", ciphertext: "00", receipt: { nonce: NONCE } });
  assertEquals([broken["msg"], broken["receipt"]], ["decrypt_failed", undefined]);
});

Deno.test("without a request for one, a reply has no receipt", async () => {
  await using rig = await receiptRig();
  const replies = [
    await rig.client.request({ type: "process", ciphertext: blobOf("a") }),
    await rig.client.request({ type: "process", ciphertext: blobOf("a"), receipt: null }),
    await rig.client.request({ type: "master_key.sign", digest: encodeHex(DIGEST) }),
  ];
  assertEquals(replies.map((reply) => "receipt" in reply), [false, false, false]);
});

Deno.test("a nonce of another length, or a receipt that is no object, is refused by name", async () => {
  await using rig = await receiptRig();
  for (
    const receipt of [1, [], {}, { nonce: encodeBase64(new Uint8Array(15)) }, {
      nonce: encodeBase64(new Uint8Array(65)),
    }]
  ) {
    const reply = await rig.client.exchange({ type: "process", ciphertext: blobOf("a"), receipt });
    assertEquals(reply["msg"], "missing_fields", JSON.stringify(receipt));
  }
});

Deno.test("whoever carries plain requests cannot see by the receipts whether two results or inputs are equal", async () => {
  await using rig = await receiptRig();
  const ciphertext = blobOf("yes");
  const claims = [];
  // The same nonce twice, for one blob and for another of the same data.
  for (const blob of [ciphertext, ciphertext, blobOf("yes")]) {
    const reply = await rig.client.request({ type: "process", ciphertext: blob, receipt: { nonce: NONCE } });
    claims.push(parseReceipt(decodeBase64(String(reply["receipt"]))));
  }
  assertEquals(new Set(claims.flatMap(({ result, input }) => [encodeHex(result), encodeHex(input)])).size, 6);
  for (const { result } of claims) assertNotEquals(result, await sha384(bytes("YES")));
});

Deno.test("another client's blob in a request that the parent seals itself gives it a receipt whose salts it does not know", async () => {
  await using rig = await receiptRig();
  using parent = await rig.connectSealed();
  const asked = { type: "process", ciphertext: blobOf("yes"), receipt: { nonce: NONCE } };
  const { reply, secret } = await parent.exchangeForReceipt(asked);
  const { id, nonce, result, input } = parseReceipt(decodeBase64(String(reply["receipt"])));
  const salts = await receiptSalts(await secret(), { nonce, id });
  assertNotEquals(result, await sha384(salts.result, bytes("YES")));
  assertNotEquals(input, await sha384(salts.input, bytes("yes")));
});

Deno.test("the salts are those of the session key with which the reply was sealed, also after another was configured", async () => {
  await using rig = await receiptRig();
  const other = new Uint8Array(32).fill(8);
  const ask = { type: "process", receipt: { nonce: NONCE } } as const;
  const claimsOf = async (ciphertext: string) => {
    const reply = await rig.client.request({ ...ask, ciphertext });
    return parseReceipt(decodeBase64(String(reply["receipt"])));
  };
  const before = await claimsOf(blobOf("a"));
  await rig.client.request({
    ...rig.configure,
    encrypted_tsk: encodeBase64(await rig.kms.encrypt(rig.keyArn, other)),
  });
  using key = new SealingKey(SecretBytes.copyOf(other), { random: HOST_RANDOM.fill });
  const after = await claimsOf(encodeHex(key.seal(bytes("a"))));
  for (const [secret, claims] of [[SESSION_KEY, before], [other, after]] as const) {
    const salts = await receiptSalts(await receiptSecretOf(secret), claims);
    assertEquals(claims.result, await sha384(salts.result, bytes("A")));
  }
});

Deno.test("a receipt key signs for 24 hours; its document is given for 24 more, and then it is unknown", async () => {
  await using rig = await receiptRig();
  const { client } = rig;
  const attested = async (key?: unknown) => {
    const reply = await client.exchange({ type: "attest", purpose: "receipt", nonce: NONCE, key });
    return reply["key_id"] ?? reply["msg"];
  };
  const signer = async () => {
    const reply = await client.request({
      type: "process",
      ciphertext: blobOf("a"),
      receipt: { nonce: NONCE },
    });
    return encodeBase64(parseReceipt(decodeBase64(String(reply["receipt"]))).keyHash);
  };
  const first = await attested();
  const at = async (ms: number) => {
    rig.clock.ms = ms;
    return [await attested(first), await signer() === first, await attested() === first];
  };
  assertEquals(await at(RECEIPT_KEY_LIFE_MS - 1), [first, true, true]);
  assertEquals(await at(RECEIPT_KEY_LIFE_MS), [first, false, false]);
  assertEquals(await at(2 * RECEIPT_KEY_LIFE_MS - 1), [first, false, false]);
  assertEquals(await at(2 * RECEIPT_KEY_LIFE_MS), ["receipt_key_unknown", false, false]);
});

Deno.test("the receipt key is none that requests are sealed for, and each needs the other's document for nothing", async () => {
  await using rig = await receiptRig();
  const key = await rig.receipts().attest();
  assertNotEquals(encodeBase64(key.publicKey), await rig.publicKey(rig.client));
  const unknown = await rig.client.exchange({
    type: "sealed",
    key_id: encodeBase64(key.keyHash),
    client_id: encodeBase64(new Uint8Array(16)),
    counter: 1,
    enc: encodeBase64(new Uint8Array(32)),
    ciphertext: encodeBase64(new Uint8Array(16)),
  });
  assertEquals(unknown["msg"], "sealed_key_unknown");
});

for (const off of ["receipts", "sealed"]) {
  Deno.test(`without ${off} in --features, receipts are ${off === "sealed" ? "served" : "refused before anything is done"}`, async () => {
    let runs = 0;
    await using rig = await receiptRig({
      served: FEATURES.filter((name) => name !== off),
      workflow: (data) => (runs++, data),
    });
    const process = { type: "process", ciphertext: blobOf("a"), receipt: { nonce: NONCE } };
    const replies = [
      await rig.client.exchange({ type: "attest", purpose: "receipt", nonce: NONCE }),
      await rig.client.exchange(process),
      await rig.client.exchange({
        type: "master_key.sign",
        digest: encodeHex(DIGEST),
        receipt: { nonce: NONCE },
      }),
    ];
    const wanted = off === "sealed" ? undefined : "feature_off";
    assertEquals([...replies.map(({ msg }) => msg), runs], [
      wanted,
      wanted,
      wanted,
      off === "sealed" ? 1 : 0,
    ]);
  });
}

Deno.test("with --require-sealed the receipt key is attested unsealed, and plain requests for receipts are refused", async () => {
  await using rig = await sealedRig({ sealed: { required: true } });
  using client = await rig.connect();
  const attested = await client.exchange({ type: "attest", purpose: "receipt", nonce: NONCE });
  const plain = await client.exchange({
    type: "process",
    ciphertext: blobOf("a"),
    receipt: { nonce: NONCE },
  });
  assertEquals([attested["status"], plain["msg"]], ["ok", "sealed_required"]);
});

Deno.test("the secret of the salts is wiped with its session key", async () => {
  const kms = await LocalKms.open({ region: "us-east-1" });
  const secrets: Uint8Array[] = [];
  using receipts = new ReceiptService(testPorts({ kms }));
  const session = plainSession({
    kms,
    receipts: {
      begin: (...given) => receipts.begin(...given),
      secretOf: (key) => {
        const secret = receipts.secretOf(key);
        secrets.push(secret.expose());
        return secret;
      },
    },
  });
  const configure = async () => {
    const encrypted_tsk = encodeBase64(await kms.encrypt(kms.keyArns[0] ?? "", SESSION_KEY));
    await configureOn(session, { type: "configure", encrypted_tsk, ...CREDENTIAL });
    await session.process({ ciphertext: blobOf("a"), receipt: { nonce: NONCE } });
  };
  const wiped = () => secrets.map((secret) => secret.every((byte) => byte === 0));
  await configure();
  assertEquals(wiped(), [false]);
  await configure();
  assertEquals(wiped(), [true, false]);
  session[Symbol.dispose]();
  assertEquals(wiped(), [true, true]);
});

Deno.test("no receipt is made after the service has ended", async () => {
  const ports = testPorts({ kms: await LocalKms.open({ region: "us-east-1" }) });
  const receipts = new ReceiptService(ports);
  using begun = await receipts.begin(ABOUT, CALL);
  receipts[Symbol.dispose]();
  await assertRejects(() => begun.finish("ok", bytes("r")), WireError);
  await assertRejects(() => receipts.begin(ABOUT, CALL), WireError);
});

/** Receipts whose keys are counted, and a clock. */
async function countedKeys() {
  const [made, disposed]: [number[], number[]] = [[], []];
  const ed25519: typeof NODE_PRIMITIVES.ed25519 = (seed) => {
    const number = made.push(made.length);
    return { ...NODE_PRIMITIVES.ed25519(seed), [Symbol.dispose]: () => void disposed.push(number) };
  };
  const kms = await LocalKms.open({ region: "us-east-1" });
  let time = 0;
  const aead = { ...NODE_AEAD, primitives: { ...NODE_PRIMITIVES, ed25519 } };
  const receipts = new ReceiptService(testPorts({ kms, aead, monotonic: () => time }));
  const make = async () => {
    using begun = await receipts.begin(ABOUT, CALL);
    return await begun.finish("ok", bytes("r"));
  };
  return { made, disposed, receipts, make, advance: (ms: number) => void (time += ms) };
}

Deno.test("the private key of receipts is wiped when another takes its place, and when the service ends", async () => {
  const { disposed, receipts, make, advance } = await countedKeys();
  await make();
  assertEquals(disposed, []);
  advance(RECEIPT_KEY_LIFE_MS);
  await make();
  assertEquals(disposed, [1]);
  receipts[Symbol.dispose]();
  assertEquals(disposed, [1, 2]);
});

Deno.test("a service that ends while its key of receipts is being made makes none", async () => {
  const { made, receipts, make } = await countedKeys();
  const making = make();
  await Promise.resolve();
  receipts[Symbol.dispose]();
  await assertRejects(() => making, WireError, "ending");
  assertEquals(made, []);
});

/** Asks for a receipt, and gives what becomes of the plaintexts and salts. */
async function afterRequest(workflow: () => never, isOff: boolean): Promise<readonly string[]> {
  const secrets: Uint8Array[] = [];
  const aead: typeof NODE_AEAD = {
    ...NODE_AEAD,
    newKey: (raw) => {
      const key = NODE_AEAD.newKey(raw);
      return {
        seal: (...given) => key.seal(...given),
        open: (out, input) => secrets.push(out) > 0 && key.open(out, input),
        [Symbol.dispose]: () => key[Symbol.dispose](),
      };
    },
    primitives: {
      ...NODE_PRIMITIVES,
      hkdf: (secret, info, length) => {
        const derived = NODE_PRIMITIVES.hkdf(secret, info, length);
        if (length === 96) secrets.push(derived);
        return derived;
      },
    },
  };
  const kms = await LocalKms.open({ region: "us-east-1" });
  using receipts = new ReceiptService(testPorts({ kms, aead }));
  using session = plainSession({ kms, aead, receipts, workflows: inProcess(workflow) });
  const encrypted_tsk = encodeBase64(await kms.encrypt(kms.keyArns[0] ?? "", SESSION_KEY));
  await configureOn(session, { type: "configure", encrypted_tsk, ...CREDENTIAL });
  if (isOff) receipts[Symbol.dispose]();
  const asked = async () =>
    await session.process({ ciphertext: blobOf("secret"), receipt: { nonce: NONCE } });
  await assertRejects(asked, Error);
  return secrets.map((secret) => secret.length === 0 ? "" : encodeHex(secret));
}

Deno.test("nothing that the salts come from stays in memory when a receipt cannot be begun", async () => {
  for (const broken of ["sha384", "hkdf"] as const) {
    const [lent, derived]: [Uint8Array[], Uint8Array[]] = [[], []];
    let hashes = 0;
    const primitives: typeof NODE_PRIMITIVES = {
      ...NODE_PRIMITIVES,
      // The second hash is the input's.
      sha384: (data) => {
        if (broken === "sha384" && ++hashes === 2) throw new TypeError("no hash");
        return NODE_PRIMITIVES.sha384(data);
      },
      hkdf: (secret, ...given) => {
        lent.push(secret);
        if (broken === "hkdf") throw new TypeError("no derivation");
        const salts = NODE_PRIMITIVES.hkdf(secret, ...given);
        derived.push(salts);
        return salts;
      },
    };
    const kms = await LocalKms.open({ region: "us-east-1" });
    using receipts = new ReceiptService(testPorts({ kms, aead: { ...NODE_AEAD, primitives } }));
    const exported = new Uint8Array(32).fill(8);
    const sealed = { ciphertext: bytes("c"), receiptSecret: () => Promise.resolve(exported) };
    await assertRejects(
      () => receipts.begin(ABOUT, { ...CALL, sealed }),
      TypeError,
    );
    assertEquals([exported, ...lent, ...derived].map((each) => each.some((byte) => byte !== 0)), [
      ...(broken === "hkdf" ? [false, false] : [false, false, false]),
    ]);
  }
});

Deno.test("a receipt that was disposed of cannot be finished: its salts would be zeros", async () => {
  const kms = await LocalKms.open({ region: "us-east-1" });
  using receipts = new ReceiptService(testPorts({ kms }));
  const begun = await receipts.begin(ABOUT, CALL);
  begun[Symbol.dispose]();
  await assertRejects(() => begun.finish("ok", bytes("r")), TypeError, "wiped");
});

Deno.test("a plaintext for which no receipt can be begun is wiped", async () => {
  const workflow = () => {
    throw new TypeError("it must not be run");
  };
  assertEquals(await afterRequest(workflow, true), [""]);
});

Deno.test("the salts of a receipt are wiped when the workflow fails", async () => {
  const workflow = () => {
    throw new TypeError("broken");
  };
  const [, salts] = await afterRequest(workflow, false);
  assertEquals(salts, "00".repeat(96));
});
