/** Every key, nonce and id of the service comes from the port, and none is made when the port fails. */
import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { Kernel } from "../../../../ffi/kernel.ts";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { TSK_CONTEXT, tskContext } from "../../../../lib/shared/aws/tsk_context.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { Random, type RandomSources } from "../../../../lib/shared/crypto/random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { Client } from "../../../../lib/ctl/client/client.ts";
import { SealedSender } from "../../../../lib/shared/sealed/mod.ts";
import { startTestService } from "../../../helpers/test_service.ts";
import { CREDENTIAL } from "../../../helpers/wallet_rig.ts";

const NONCE = encodeBase64(new Uint8Array(16));
const DIGEST = encodeBase64(new Uint8Array(32).fill(9));
const TSK = new Uint8Array(32).fill(7);

/** A service that draws from these sources, and a client of it. */
async function rig(sources: RandomSources) {
  await using stack = new AsyncDisposableStack();
  const kms = await LocalKms.open({ region: "us-east-1" });
  const [keyArn = ""] = kms.keyArns;
  const service = stack.use(startTestService({
    kms,
    entropy: { kernelGenerator: "nsm-hwrng", random: new Random(sources) },
    attester: { attest: () => Promise.resolve(new Uint8Array(1)) },
    keys: [parseKeyArn(keyArn)],
    context: TSK_CONTEXT,
  }));
  const client = stack.use(await Client.connect(service.address));
  const configured = await client.exchange({
    type: "configure",
    encrypted_tsk: encodeBase64(await kms.encrypt(keyArn, TSK, tskContext(TSK_CONTEXT, undefined))),
    key_id: keyArn,
    ...CREDENTIAL,
  });
  assertEquals(configured["status"], "ok");
  using key = new SealingKey(SecretBytes.copyOf(TSK), { random: HOST_RANDOM.fill });
  const ciphertext = encodeHex(key.seal(new Uint8Array(4)));
  const life = stack.move();
  return {
    client,
    process: () => client.exchange({ type: "process", ciphertext }),
    init: () =>
      client.exchange({ type: "master_key.init", kms_key_id: keyArn, credential: CREDENTIAL, enclave_id: 1 }),
    generate: () =>
      client.exchange({
        apiRequest: "generateAccount",
        name: "alice",
        key_id: keyArn,
        credential: CREDENTIAL,
      }),
    attest: () => client.exchange({ type: "attest", nonce: NONCE }),
    [Symbol.asyncDispose]: () => life.disposeAsync(),
  };
}

type Fields = Readonly<Record<string, unknown>>;

/** The nonce in front of a sealed blob. */
const nonceOf = (blob: Uint8Array) => encodeHex(blob.subarray(0, 12));

/** One of each that the service makes. */
async function everything(sources: RandomSources): Promise<Readonly<Record<string, unknown>>> {
  await using made = await rig(sources);
  const account = (await made.generate())["content"] as Fields;
  const master = await made.init();
  const signature = await made.client.exchange({
    type: "master_key.sign",
    digest: DIGEST,
    scheme: "schnorr",
  });
  const attested = await made.attest();
  const sender = await SealedSender.create(decodeBase64(String(attested["public_key"])));
  const { message } = await sender.seal({ type: "ping" });
  const sealed = await made.client.exchange({ ...message });
  return {
    "account": account["address"],
    "nonce of the account's row": nonceOf(decodeBase64(String(account["encryptedPrivateKey"]))),
    "master key": master["public_key"],
    "nonce of the master key's row": nonceOf(decodeBase64(String(master["encrypted_private_key"]))),
    "boot id": master["boot_id"],
    "nonce of a Schnorr signature": String(signature["signature"]).slice(0, 40),
    "key for sealed requests": attested["key_id"],
    "nonce of a sealed reply": nonceOf(decodeBase64(String(sealed["ciphertext"]))),
    "nonce of a result": nonceOf(decodeHex(String((await made.process())["result"]))),
  };
}

Deno.test("with the runtime's generator fixed, two services have no key, nonce or id in common", async () => {
  using kernel = new Kernel("read random numbers");
  const sources = {
    kernel: (bytes: Uint8Array<ArrayBuffer>) => kernel.fillRandom(bytes),
    nsm: undefined,
    runtime: (bytes: Uint8Array) => void bytes.fill(7),
  };
  const { getRandomValues } = crypto;
  try {
    Object.assign(crypto, {
      getRandomValues: <A extends ArrayBufferView>(array: A): A => {
        new Uint8Array(array.buffer, array.byteOffset, array.byteLength).fill(7);
        return array;
      },
    });
    const [first, second] = [await everything(sources), await everything(sources)];
    for (const [what, value] of Object.entries(first)) {
      assertEquals([what, typeof value], [what, "string"]);
      assertNotEquals(value, second[what], what);
    }
  } finally {
    Object.assign(crypto, { getRandomValues });
  }
});

Deno.test("with kernel and runtime fixed, the NSM alone makes two services' keys differ", async () => {
  const keysOf = async (value: number) => {
    const fill = (bytes: Uint8Array) => void bytes.fill(7);
    const nsm = { random: () => Promise.resolve(new Uint8Array(256).fill(value)) };
    const made = await everything({ kernel: fill, runtime: fill, nsm });
    return ["account", "master key", "key for sealed requests"].map((what) => made[what]);
  };
  const [first, second] = [await keysOf(1), await keysOf(2)];
  assertEquals(first.filter((key, index) => key === second[index]), []);
});

for (
  const [what, random] of [
    ["fails", () => Promise.reject(new TypeError("in a test"))],
    ["gives 31 bytes", () => Promise.resolve(new Uint8Array(31))],
  ] as const
) {
  Deno.test(`an NSM whose GetRandom ${what}: no key is made, and process goes on`, async () => {
    await using made = await rig({ kernel: HOST_RANDOM.fill, nsm: { random } });
    for (const reply of [await made.generate(), await made.init(), await made.attest()]) {
      assertEquals(reply["msg"], "entropy_not_trusted");
      assertStringIncludes(String(reply["details"]), "No key is made: ");
    }
    assertEquals((await made.process())["status"], "ok");
  });
}

Deno.test("a kernel without random numbers: nothing is sealed", async () => {
  let works = true;
  const kernel = (bytes: Uint8Array<ArrayBuffer>) => {
    if (!works) throw new TypeError("in a test");
    HOST_RANDOM.fill(bytes);
  };
  await using made = await rig({ kernel, nsm: undefined });
  assertEquals((await made.process())["status"], "ok");
  works = false;
  assertEquals((await made.process())["msg"], "internal_error");
  assertEquals((await made.generate())["msg"], "entropy_not_trusted");
});
