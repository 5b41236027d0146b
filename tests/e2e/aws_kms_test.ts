/** One contract of the development KMS backends, over the local KMS and moto's; and the development service with moto as its KMS, as a process. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Credentials } from "../../lib/shared/aws/credentials.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { openAwsKms } from "../../lib/dev/kms/https_api.ts";
import { type Kms, type KmsAccess, kmsErrorName } from "../../lib/enclave/kms/kms.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { devLaunch } from "../helpers/ctl_process.ts";
import { createMotoKey, requireSignatures } from "../helpers/moto_kms.ts";
import { hasMoto, shareMoto, startMoto } from "../helpers/peers.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

/** A backend with two keys. */
interface Place extends AsyncDisposable {
  readonly kms: Kms;
  readonly keyArn: string;
  readonly otherArn: string;
}

async function localPlace(): Promise<Place> {
  const kms = await LocalKms.open({ region: "us-east-1" });
  const otherArn = await kms.createKey();
  return {
    kms,
    keyArn: kms.keyArns[0] ?? "",
    otherArn,
    [Symbol.asyncDispose]: () => kms[Symbol.asyncDispose](),
  };
}

const freshMoto = shareMoto();

async function motoPlace(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const moto = stack.use(await freshMoto());
  const keyArn = await createMotoKey(moto.url, "alias/mine");
  const otherArn = await createMotoKey(moto.url);
  const kms = stack.use(await openAwsKms({ endpoint: moto.url }));
  const held = stack.move();
  return { kms, keyArn, otherArn, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}

const PLACES: readonly (readonly [string, () => Promise<Place>])[] = [
  ["the local KMS", localPlace],
  ...(hasMoto() ? [["moto", motoPlace] as const] : []),
];

const STRINGS = { accessKeyId: "AKIDTEST", secretAccessKey: "made-for-tests", sessionToken: "" };

for (const [name, open] of PLACES) {
  const test = (behaviour: string, run: (place: Place, access: KmsAccess) => Promise<void>) =>
    Deno.test(`${name}: ${behaviour}`, async () => {
      await using place = await open();
      using credentials = Credentials.fromStrings(STRINGS);
      await run(place, { region: "us-east-1", credentials });
    });
  const refusal = async (run: () => Promise<unknown>) => kmsErrorName(await assertRejects(run, EnclaveError));

  test("a data key opens again under its context in any order, and under no other", async (place, access) => {
    const { kms, keyArn, otherArn } = place;
    const context = { app: "denclave", purpose: "master", enclave_id: "1 ☃" };
    for (const [keySpec, length] of [["AES_256", 32], ["AES_128", 16]] as const) {
      const made = await kms.generateDataKey(access, { keyId: keyArn, keySpec, context });
      using plaintext = made.plaintext;
      const { ciphertext } = made;
      const turned = Object.fromEntries(Object.entries(context).reverse());
      using opened = await kms.decrypt(access, { ciphertext, keyId: keyArn, context: turned });
      assertEquals([opened.expose(), opened.length], [plaintext.expose(), length]);
      using unnamed = await kms.decrypt(access, { ciphertext, context });
      assertEquals(unnamed.expose(), plaintext.expose());
      for (const other of [undefined, {}, { ...context, purpose: "wallet" }, { ...context, more: "" }]) {
        assertEquals(
          await refusal(() => kms.decrypt(access, { ciphertext, keyId: keyArn, context: other })),
          "InvalidCiphertextException",
        );
      }
      const named = await refusal(() => kms.decrypt(access, { ciphertext, keyId: otherArn, context }));
      // What AWS says; moto says that access is denied.
      assert(named === "IncorrectKeyException" || named === "AccessDeniedException", named);
    }
  });

  test(
    "a key that is not there, and an invalid ciphertext, are refused by KMS's names",
    async (place, access) => {
      const { kms, keyArn } = place;
      const keyId = `${keyArn.slice(0, -36)}00000000-0000-0000-0000-000000000000`;
      assertEquals(
        await refusal(() => kms.generateDataKey(access, { keyId, keySpec: "AES_256" })),
        "NotFoundException",
      );
      assertEquals(
        await refusal(() => kms.decrypt(access, { ciphertext: new Uint8Array([1, 2, 3]) })),
        "InvalidCiphertextException",
      );
    },
  );

  test("a key may be named by its id", async ({ kms, keyArn }, access) => {
    const { plaintext, ciphertext } = await kms.generateDataKey(access, {
      keyId: keyArn.slice(-36),
      keySpec: "AES_256",
    });
    using key = plaintext;
    using opened = await kms.decrypt(access, { ciphertext, keyId: keyArn });
    assertEquals(opened.expose(), key.expose());
  });
}

if (hasMoto()) {
  Deno.test("moto: a key may be named by its alias, and the key behind it opens what it wrapped", async () => {
    await using place = await motoPlace();
    using credentials = Credentials.fromStrings(STRINGS);
    const access = { region: "us-east-1", credentials };
    const made = await place.kms.generateDataKey(access, { keyId: "alias/mine", keySpec: "AES_256" });
    using plaintext = made.plaintext;
    for (const keyId of [place.keyArn, "alias/mine", `${place.keyArn.slice(0, -40)}alias/mine`]) {
      using opened = await place.kms.decrypt(access, { ciphertext: made.ciphertext, keyId });
      assertEquals(opened.expose(), plaintext.expose());
    }
  });

  Deno.test("moto checks the signatures: the right secret is let in, another is not, nor who may not", async () => {
    await using moto = await startMoto();
    const keyId = await createMotoKey(moto.url);
    const { allowed, other } = await requireSignatures(moto.url, "kms:GenerateDataKey");
    await using kms = await openAwsKms({ endpoint: moto.url });
    const outcome = async (strings: typeof STRINGS, run: (access: KmsAccess) => Promise<unknown>) => {
      using credentials = Credentials.fromStrings(strings);
      try {
        await run({ region: "us-east-1", credentials });
        return "let in";
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && !Deno.inspect(thrown).includes(strings.secretAccessKey));
        return thrown.message;
      }
    };
    const generate = async (access: KmsAccess) => {
      const { plaintext } = await kms.generateDataKey(access, { keyId, keySpec: "AES_256" });
      plaintext[Symbol.dispose]();
    };
    // moto refuses in XML, which KMS never does.
    const refused = "Cannot use KMS's answer to GenerateDataKey: it answered with status 403 and no JSON";
    assertEquals([
      await outcome(allowed, generate),
      await outcome({ ...allowed, secretAccessKey: "x".repeat(40) }, generate),
      await outcome({ ...allowed, accessKeyId: "AKIAUNKNOWN" }, generate),
      await outcome(other, generate),
    ], ["let in", ...Array(3).fill(refused)]);
  });

  const CREDENTIALS = {
    aws_access_key_id: "AKIDTEST",
    aws_secret_access_key: "made-for-tests",
    aws_session_token: "made-for-tests",
  };

  Deno.test("the development service takes its session key from moto, its KMS key named by alias", async () => {
    await using place = await motoPlace();
    const { endpoint } = place.kms.health();
    using credentials = Credentials.fromStrings(STRINGS);
    const made = await place.kms.generateDataKey({ region: "us-east-1", credentials }, {
      keyId: place.keyArn,
      keySpec: "AES_256",
      context: { app: "denclave", purpose: "tsk" },
    });
    using raw = made.plaintext;
    const key = new SealingKey(SecretBytes.copyOf(raw.expose()), { random: HOST_RANDOM.fill });
    const launch = devLaunch([
      "--kms",
      "aws",
      "--kms-key",
      "alias/mine",
      "--tsk-context",
      "app=denclave,purpose=tsk",
    ]);
    await using service = await ServiceProcess.start({
      ...launch,
      env: { ...launch.env, KMS_ENDPOINT_URL: String(endpoint) },
    });
    using client = await Client.connect(service.address);
    await client.request({
      type: "configure",
      encrypted_tsk: encodeBase64(made.ciphertext),
      ...CREDENTIALS,
    });
    const sealed = encodeHex(await key.seal(new TextEncoder().encode("hello")));
    const reply = await client.request({ type: "process", ciphertext: sealed });
    assertEquals(reply["status"], "ok");
    const health = await client.request({ type: "health" });
    assertEquals(JSON.stringify(health).includes('"backend":"aws"'), true, JSON.stringify(health));
    key[Symbol.dispose]();
  });
}

const USAGE: readonly (readonly [readonly string[], string])[] = [
  [["--kms", "aws"], "--kms aws needs a key"],
  [
    ["--kms", "aws", "--kms-key", "alias/a", "--kms-endpoint-url", "localhost:4566"],
    "neither http: nor https:",
  ],
  [
    ["--kms", "aws", "--kms-key", "alias/a", "--kms-local-file", "f"],
    "--kms-local-file does not go with --kms aws",
  ],
  [["--kms-endpoint-url", "http://localhost:4566"], "--kms-endpoint-url does not go with --kms local"],
  [["--kms-key", "alias/a"], 'Cannot use "alias/a" as a KMS key'],
  [["--kms", "azure"], 'Cannot use "azure" for --kms'],
];
for (const [args, words] of USAGE) {
  Deno.test(`the development service refuses ${args.join(" ")}`, async () => {
    await using service = ServiceProcess.spawn(devLaunch(args));
    const { code } = await service.ended();
    assertEquals([code, service.stderr.includes(words)], [2, true], service.stderr);
  });
}
