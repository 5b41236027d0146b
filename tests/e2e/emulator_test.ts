/** `denclavectl emulator serve` as a process, asked by the simulated enclave, by the plain backend and by boto3. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { Credentials } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { openAwsKms } from "../../lib/dev/kms/https_api.ts";
import { kmsErrorName } from "../../lib/enclave/kms/kms.ts";
import { startKmsEmulator } from "../../lib/dev/kms_emulator/server.ts";
import { parseAccessKeys } from "../../lib/dev/kms_emulator/signature.ts";
import { KMSClient } from "../../lib/ctl/aws/deps/aws_sdk.ts";
import { DescribeKeyCommand } from "../deps/aws_kms.ts";
import { ctlLaunch, runCtl } from "../helpers/ctl_process.ts";
import { hasMoto } from "../helpers/peers.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const PYTHON = `${ROOT}tests/peers/build/venv/bin/python3`;
const ACCOUNT = "111122223333";
const BUILD = "0a".repeat(48);
const STRINGS = {
  accessKeyId: "ASIATESTSESSION",
  secretAccessKey: "secret-of-the-session",
  sessionToken: "token-of-the-session",
};
const KEYS = {
  version: 1,
  accessKeys: [
    { ...STRINGS, expires: "2999-01-01T00:00:00Z", arn: `arn:aws:iam::${ACCOUNT}:role/enclave` },
    {
      accessKeyId: "ASIATESTEXPIRED",
      secretAccessKey: "secret-that-expired",
      sessionToken: "token-that-expired",
      expires: "2020-01-01T00:00:00Z",
      arn: `arn:aws:iam::${ACCOUNT}:role/enclave`,
    },
    {
      accessKeyId: "AKIATESTADMIN",
      secretAccessKey: "secret-of-the-admin",
      arn: `arn:aws:iam::${ACCOUNT}:role/admin`,
    },
    {
      accessKeyId: "AKIATESTROOT",
      secretAccessKey: "secret-of-the-root",
      arn: `arn:aws:iam::${ACCOUNT}:root`,
    },
  ],
};
const POLICY = {
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${ACCOUNT}:role/enclave` },
      Action: ["kms:Decrypt", "kms:GenerateDataKey"],
      Resource: "*",
      Condition: { StringEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": BUILD } },
    },
    {
      Effect: "Allow",
      Principal: { AWS: `arn:aws:iam::${ACCOUNT}:role/admin` },
      Action: "kms:*",
      Resource: "*",
    },
  ],
};

/** A server with TLS, keys and policy in files, and the module that it believes. */
class Served implements AsyncDisposable {
  readonly folder: string;
  readonly nsm: SimulatedNsm;
  readonly server: ServiceProcess;
  readonly url: string;
  readonly keyArn: string;
  readonly ca: string;
  #stack: AsyncDisposableStack;

  private constructor(
    made: Pick<Served, "folder" | "nsm" | "server" | "url" | "keyArn" | "ca">,
    stack: AsyncDisposableStack,
  ) {
    this.folder = made.folder;
    this.nsm = made.nsm;
    this.server = made.server;
    this.url = made.url;
    this.keyArn = made.keyArn;
    this.ca = made.ca;
    this.#stack = stack;
  }

  static async start(): Promise<Served> {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "denclave-kms-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const nsm = stack.use(await SimulatedNsm.start({ pcrs: { 0: BUILD } }));
    await Deno.writeFile(`${folder}/root.der`, nsm.root);
    await Deno.writeTextFile(`${folder}/policy.json`, JSON.stringify(POLICY));
    await Deno.writeTextFile(`${folder}/access.json`, JSON.stringify(KEYS), { mode: 0o600 });
    const server = stack.use(
      await ServiceProcess.start(ctlLaunch([
        ...["emulator", "serve", "--listen", "tcp:127.0.0.1:0", "--account", ACCOUNT],
        ...["--tls-dir", `${folder}/tls`, "--keys-file", `${folder}/keys.json`],
        ...["--policy", `${folder}/policy.json`, "--access-keys", `${folder}/access.json`],
        ...["--root", `${folder}/root.der`],
      ])),
    );
    const [listening] = server.events("listening");
    const keys: unknown = listening?.["keys"];
    assert(Array.isArray(keys));
    return new Served({
      folder,
      nsm,
      server,
      url: String(listening?.["url"]),
      keyArn: String(keys[0]),
      ca: await Deno.readTextFile(String(listening?.["ca"])),
    }, stack.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

Deno.test("emulator serve serves the right build, refuses the wrong one and those without a document, and ends with 0", async () => {
  await using served = await Served.start();
  const { url: endpoint, ca, nsm, keyArn, server } = served;
  using credentials = Credentials.fromStrings(STRINGS);
  const access = { region: "us-east-1", credentials };
  await using kms = await openAwsKms({ nsm, endpoint, ca });
  const context = { app: "denclave" };
  const made = await kms.generateDataKey(access, { keyId: keyArn, keySpec: "AES_256", context });
  using plaintext = made.plaintext;
  using opened = await kms.decrypt(access, { ciphertext: made.ciphertext, keyId: keyArn, context });
  assertEquals(opened.expose(), plaintext.expose());

  using wrong = await SimulatedNsm.start({ sibling: nsm, pcrs: { 0: "0b".repeat(48) } });
  await using wrongKms = await openAwsKms({ nsm: wrong, endpoint, ca });
  await using plain = await openAwsKms({ endpoint, ca });
  for (const backend of [wrongKms, plain]) {
    const thrown = await assertRejects(
      () => backend.decrypt(access, { ciphertext: made.ciphertext, keyId: keyArn, context }),
      EnclaveError,
    );
    assertEquals(kmsErrorName(thrown), "AccessDeniedException");
  }
  using expired = Credentials.fromStrings({
    accessKeyId: "ASIATESTEXPIRED",
    secretAccessKey: "secret-that-expired",
    sessionToken: "token-that-expired",
  });
  const late = await assertRejects(
    () => kms.decrypt({ ...access, credentials: expired }, { ciphertext: made.ciphertext }),
    EnclaveError,
  );
  assertEquals(kmsErrorName(late), "ExpiredTokenException");

  const { code } = await server.stop("SIGINT");
  assertEquals([code, server.stderr], [0, ""]);
  const events = server.lines.filter((line) => typeof line["eventName"] === "string");
  assertEquals(events.map((event) => [event["eventName"], event["errorCode"]]), [
    ["GenerateDataKey", undefined],
    ["Decrypt", undefined],
    ["Decrypt", "AccessDeniedException"],
    ["Decrypt", "AccessDeniedException"],
    ["Decrypt", "ExpiredTokenException"],
  ]);
  const log = JSON.stringify(server.lines);
  for (const secret of [encodeBase64(plaintext.expose()), STRINGS.secretAccessKey, STRINGS.sessionToken]) {
    assertEquals(log.includes(secret), false);
  }
  assertEquals(((await Deno.stat(`${served.folder}/keys.json`)).mode ?? 0) & 0o777, 0o600);
});

const BOTO3 = `
import base64, json, os, sys
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def client(key, secret, token=None):
    return boto3.client("kms", region_name="us-east-1", endpoint_url=os.environ["KMS_URL"], verify=os.environ["KMS_CA"],
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token,
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=10))

def refused(call, **fields):
    try:
        call(**fields)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return None

admin = client("AKIATESTADMIN", "secret-of-the-admin")
key = admin.list_keys()["Keys"][0]["KeyArn"]
context = {"app": "denclave", "name": "\\u2603"}
made = admin.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
opened = admin.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=dict(reversed(context.items())), KeyId=key)
wrapped = admin.encrypt(KeyId=key, Plaintext=b"a secret")
created = admin.create_key(Description="another")["KeyMetadata"]
admin.put_key_policy(KeyId=created["KeyId"], Policy=admin.get_key_policy(KeyId=key)["Policy"], BypassPolicyLockoutSafetyCheck=False)
admin.disable_key(KeyId=created["KeyId"])
state = admin.describe_key(KeyId=created["KeyId"])["KeyMetadata"]["KeyState"]
disabled = refused(admin.encrypt, KeyId=created["KeyId"], Plaintext=b"a")
admin.enable_key(KeyId=created["KeyId"])
role = client("ASIATESTSESSION", "secret-of-the-session", "token-of-the-session")
print(json.dumps({
    "opens": opened["Plaintext"] == made["Plaintext"] and len(made["Plaintext"]) == 32,
    "encrypt": admin.decrypt(CiphertextBlob=wrapped["CiphertextBlob"])["Plaintext"].decode(),
    "random": len(admin.generate_random(NumberOfBytes=77)["Plaintext"]),
    "created": created["CreationDate"].year > 2000,
    "state": state,
    "disabled": disabled,
    "keys": len(admin.list_keys()["Keys"]),
    "context": refused(admin.decrypt, CiphertextBlob=made["CiphertextBlob"]),
    "unattested": refused(role.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context),
    "secret": refused(client("AKIATESTADMIN", "another").list_keys),
    "unknown": refused(client("AKIANOBODY", "another").list_keys),
    "expired": refused(client("ASIATESTEXPIRED", "secret-that-expired", "token-that-expired").list_keys),
    "document": refused(admin.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context,
        Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"none"}),
    "operation": refused(admin.re_encrypt, CiphertextBlob=b"x", DestinationKeyId=key),
}))
`;

Deno.test({
  name: "boto3 and emulator serve understand each other, over TLS, signatures checked",
  ignore: !hasMoto(),
  fn: async () => {
    await using served = await Served.start();
    const child = new Deno.Command(PYTHON, {
      args: ["-c", BOTO3],
      env: {
        KMS_URL: served.url,
        KMS_CA: `${served.folder}/tls/ca.pem`,
        AWS_CONFIG_FILE: "/nonexistent/config",
        AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
      },
      stdout: "piped",
      stderr: "piped",
    });
    const { stdout, stderr } = await within(child.output(), "boto3", 60_000);
    const text = new TextDecoder().decode(stdout);
    assertEquals(text === "" ? new TextDecoder().decode(stderr) : JSON.parse(text), {
      opens: true,
      encrypt: "a secret",
      random: 77,
      created: true,
      state: "Disabled",
      disabled: ["DisabledException", 400],
      keys: 2,
      context: ["InvalidCiphertextException", 400],
      unattested: ["AccessDeniedException", 400],
      secret: ["InvalidSignatureException", 400],
      unknown: ["UnrecognizedClientException", 400],
      expired: ["ExpiredTokenException", 400],
      document: ["ValidationException", 400],
      operation: ["UnknownOperationException", 404],
    });
  },
});

Deno.test("the AWS SDK for JavaScript and emulator serve understand each other, signatures checked", async () => {
  using nsm = await SimulatedNsm.start();
  await using emulator = await startKmsEmulator({
    root: nsm.root,
    account: ACCOUNT,
    accessKeys: parseAccessKeys(JSON.stringify(KEYS)),
  });
  const outcome = async (credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }) => {
    const kms = new KMSClient({ region: "us-east-1", endpoint: emulator.url, credentials, maxAttempts: 1 });
    try {
      const { KeyMetadata: key } = await kms.send(new DescribeKeyCommand({ KeyId: emulator.kms.keyArns[0] }));
      return key?.KeyState;
    } catch (thrown) {
      return thrown instanceof Error ? thrown.name : "?";
    } finally {
      kms.destroy();
    }
  };
  const root = { accessKeyId: "AKIATESTROOT", secretAccessKey: "secret-of-the-root" };
  assertEquals([
    await outcome(root),
    await outcome({ ...root, secretAccessKey: "another" }),
    await outcome(STRINGS),
  ], ["Enabled", "InvalidSignatureException", "Enabled"]);
});

Deno.test("emulator serve refuses to start where DENO_SERVE_ADDRESS would redirect it", async () => {
  for (const address of ["tcp:127.0.0.1:0", "duplicate,tcp:127.0.0.1:0"]) {
    const { code, stdout, stderr } = await runCtl(["emulator", "serve", "--listen", "tcp:127.0.0.1:0"], {
      env: { DENO_SERVE_ADDRESS: address },
    });
    assertEquals([code, stdout], [2, ""], stderr);
    assertStringIncludes(stderr, "DENO_SERVE_ADDRESS");
  }
});

Deno.test("emulator serve refuses options that cannot work, before it listens", async () => {
  const refused: readonly (readonly [readonly string[], string])[] = [
    [["--listen", "vsock:3:4599"], "--listen must be tcp:"],
    [["--policy", "/nonexistent/policy"], "Cannot read /nonexistent/policy for --policy"],
    [["--access-keys", `${ROOT}deno.json`], "chmod 600"],
    [["--access-keys", "a", "--caller", "b"], "--caller does not go with --access-keys"],
  ];
  for (const [args, words] of refused) {
    const { code, stdout, stderr } = await runCtl(["emulator", "serve", ...args]);
    assertEquals([code, stdout, stderr.includes(words)], [2, "", true], stderr);
  }
});
