/** The local KMS, asked as an enclave asks: by the simulated module's documents, over loopback. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { SimulatedNsm, type SimulatedNsmOptions } from "../../lib/attestation/simulated.ts";
import { Credentials } from "../../lib/aws_ne/mod.ts";
import { SecretBytes } from "../../lib/crypto/secret_bytes.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { AwsKms } from "../../lib/kms/aws.ts";
import { type DataKey, type Kms, type KmsAccess, kmsErrorName } from "../../lib/kms/kms.ts";
import {
  type AuditEvent,
  KmsRefusal,
  KmsServer,
  type KmsServerOptions,
  parseAccessKeys,
  SimulatedAttestedKms,
} from "../../lib/kms_server/mod.ts";
import { within } from "../helpers/deadline.ts";
import { jsonAnswer, startScriptedKms } from "../helpers/scripted_kms.ts";

const REGION = "us-east-1";
const ACCOUNT = "111122223333";
const ROLE = `arn:aws:iam::${ACCOUNT}:role/enclave`;
const ADMIN = `arn:aws:iam::${ACCOUNT}:role/admin`;
const STRINGS = { accessKeyId: "AKIATESTROLE", secretAccessKey: "secret-of-the-role", sessionToken: "" };
const CONTEXT = { app: "denclave", purpose: "wallet" };
const BUILD = { old: "0a".repeat(48), new: "0b".repeat(48) } as const;
const ZERO = "00".repeat(48);

type Fields = Readonly<Record<string, unknown>>;

/** What the tools of the parent render: an Allow for the builds, a guarding Deny, an administrator. */
function policyFor(builds: readonly string[], more: readonly Fields[] = []): string {
  const attested = ["kms:Decrypt", "kms:GenerateDataKey"];
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "Builds",
        Effect: "Allow",
        Principal: { AWS: ROLE },
        Action: attested,
        Resource: "*",
        Condition: { StringEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": builds } },
      },
      {
        Sid: "Guard",
        Effect: "Deny",
        Principal: "*",
        Action: attested,
        Resource: "*",
        Condition: { StringNotEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": builds } },
      },
      {
        Sid: "Administrator",
        Effect: "Allow",
        Principal: { AWS: ADMIN },
        Action: [
          "kms:PutKeyPolicy",
          "kms:GetKeyPolicy",
          "kms:DescribeKey",
          "kms:EnableKey",
          "kms:DisableKey",
        ],
        Resource: "*",
      },
      ...more,
    ],
  });
}

/** A server, modules, and what it told. */
class Place implements AsyncDisposable {
  readonly events: AuditEvent[] = [];
  readonly problems: string[] = [];
  #stack = new AsyncDisposableStack();
  #credentials = this.#stack.use(Credentials.fromStrings(STRINGS));
  #root: Uint8Array;
  #server: KmsServer | undefined;

  private constructor(root: Uint8Array) {
    this.#root = root;
  }

  /** With a server whose root is that of a module with these PCRs. */
  static async open(
    pcr0: string,
    options: KmsServerOptions = {},
    nsmOptions: SimulatedNsmOptions = {},
  ): Promise<{ readonly place: Place; readonly kms: SimulatedAttestedKms; readonly nsm: SimulatedNsm }> {
    const nsm = await SimulatedNsm.start({ ...nsmOptions, pcrs: { 0: pcr0 } });
    const place = new Place(nsm.root);
    place.#stack.use(nsm);
    place.#server = place.#stack.use(
      await KmsServer.start({
        account: ACCOUNT,
        root: place.#root,
        caller: ROLE,
        onEvent: (event) => void place.events.push(event),
        onProblem: (what) => void place.problems.push(what),
        ...options,
      }),
    );
    return { place, nsm, kms: await place.attested(nsm) };
  }

  get server(): KmsServer {
    assert(this.#server !== undefined);
    return this.#server;
  }

  get keyArn(): string {
    return this.server.keyArns[0] ?? "";
  }

  get access(): KmsAccess {
    return { region: REGION, credentials: this.#credentials };
  }

  async attested(nsm: Pick<SimulatedNsm, "attest">): Promise<SimulatedAttestedKms> {
    const { url, authority } = this.server;
    return this.#stack.use(await SimulatedAttestedKms.open({ nsm, endpoint: url, authority }));
  }

  get plain(): AwsKms {
    return this.#stack.use(AwsKms.open({ endpoint: this.server.url, authority: this.server.authority }));
  }

  dataKey(kms: Kms, context: Readonly<Record<string, string>> = CONTEXT): Promise<DataKey> {
    return kms.generateDataKey(this.access, { keyId: this.keyArn, keySpec: "AES_256", context });
  }

  decrypt(kms: Kms, { ciphertext }: DataKey, context: Readonly<Record<string, string>> = CONTEXT) {
    return kms.decrypt(this.access, { ciphertext, keyId: this.keyArn, context });
  }

  /** KMS's name for a refusal. */
  async refusal(run: () => Promise<unknown>): Promise<string | undefined> {
    return kmsErrorName(await within(assertRejects(run, EnclaveError), "the refusal"));
  }

  /** A request as it is, signed by nobody. */
  async ask(
    operation: string,
    fields: unknown,
  ): Promise<{ readonly status: number; readonly answer: Fields }> {
    const response = await fetch(this.server.url, {
      method: "POST",
      headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `TrentService.${operation}` },
      body: typeof fields === "string" ? fields : JSON.stringify(fields),
    });
    return { status: response.status, answer: await response.json() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

Deno.test("the right PCR is served: a data key comes in an envelope, and opens again", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old.toUpperCase()]) }],
  });
  await using place = opened;
  const made = await place.dataKey(kms);
  using plaintext = made.plaintext;
  using again = await place.decrypt(kms, made);
  assertEquals(again.expose(), plaintext.expose());
  assertEquals(place.problems, []);
  using random = await kms.generateRandom(place.access, 33);
  assertEquals(random.length, 33);
  assertEquals([kms.attested, kms.health()["failed"]], [true, 0]);
});

Deno.test("the wrong PCR is refused, and the event says by which statement", async () => {
  const { place: opened, kms } = await Place.open(BUILD.new, {
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
    const { place: opened, kms } = await Place.open(BUILD.old, { policies: [{ policy }] });
    await using place = opened;
    const made = await place.dataKey(kms);
    made.plaintext[Symbol.dispose]();
    assertEquals(await place.refusal(() => place.decrypt(place.plain, made)), "AccessDeniedException");
    assertEquals(await place.refusal(() => place.dataKey(place.plain)), "AccessDeniedException");
    using opens = await place.decrypt(kms, made);
    assertEquals(opens.length, 32);
  });
}

Deno.test("a policy is rolled over from an old build to a new one", async () => {
  const { place: opened, kms: old, nsm } = await Place.open(BUILD.old, {
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
  place.server.putPolicy(place.keyArn, policyFor([BUILD.old, BUILD.new]));
  assertEquals(await served(), [true, true]);
  place.server.putPolicy(place.keyArn, policyFor([BUILD.new]));
  assertEquals(await served(), [false, true]);
});

Deno.test("a document of an enclave in debug mode has PCRs of zeros, which no build has", async () => {
  const { place: opened, kms } = await Place.open(ZERO, { policies: [{ policy: policyFor([BUILD.old]) }] });
  await using place = opened;
  assertEquals(await place.refusal(() => place.dataKey(kms)), "AccessDeniedException");
  // As on AWS: a policy of zeros would let it in.
  place.server.putPolicy(place.keyArn, policyFor([ZERO]));
  const made = await place.dataKey(kms);
  made.plaintext[Symbol.dispose]();
});

Deno.test("a document under another root is refused, whatever its PCRs", async () => {
  const { place: opened } = await Place.open(BUILD.old, { policies: [{ policy: policyFor([BUILD.old]) }] });
  await using place = opened;
  using stranger = await SimulatedNsm.start({ pcrs: { 0: BUILD.old } });
  const kms = await place.attested(stranger);
  assertEquals(await place.refusal(() => place.dataKey(kms)), "ValidationException");
  assertStringIncludes(place.events[0]?.errorMessage ?? "", "attestation_root");
});

Deno.test("without a root of one's own AWS's is meant, and no simulated document is taken", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, { root: undefined });
  await using place = opened;
  assertEquals(await place.refusal(() => place.dataKey(kms)), "ValidationException");
});

Deno.test("a document that is replayed is refused after five minutes", async () => {
  let now = new Date("2026-06-01T12:00:00Z");
  const clock = { now: () => now };
  const { place: opened, nsm } = await Place.open(BUILD.old, {
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
  const { place: opened, nsm, kms } = await Place.open(BUILD.old, {
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
  ["a text", (document) => document, "no object"],
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
Deno.test("a Recipient that is none is refused, not passed over", async () => {
  const { place: opened, nsm } = await Place.open(BUILD.old);
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

Deno.test("a document without a key, or with one that is none, gets nothing", async () => {
  const { place: opened, nsm } = await Place.open(BUILD.old);
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

Deno.test("another EncryptionContext does not open, and the policy may ask for one", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, {
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
  const { place: opened, kms } = await Place.open(BUILD.old, { policies: [{ policy }] });
  await using place = opened;
  (await place.dataKey(kms, { app: "denclave" })).plaintext[Symbol.dispose]();
  const twice = { app: "denclave", App: "denclave" };
  assertEquals(await place.refusal(() => place.dataKey(kms, twice)), "AccessDeniedException");
});

Deno.test("a disabled key does nothing until it is enabled", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
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

Deno.test("a ciphertext of another key, of no key and of nobody", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
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

// Signatures.

const SESSION = {
  accessKeyId: "ASIATESTSESSION",
  secretAccessKey: "secret-of-the-session",
  sessionToken: "token-of-the-session",
  arn: ROLE,
};
const accessKeysFile = (...keys: readonly Fields[]) => JSON.stringify({ version: 1, accessKeys: keys });
const KEYS_FILE = accessKeysFile(
  { accessKeyId: STRINGS.accessKeyId, secretAccessKey: STRINGS.secretAccessKey, arn: ROLE },
  { accessKeyId: "AKIATESTADMIN", secretAccessKey: "secret-of-the-admin", arn: ADMIN },
  { ...SESSION, expires: "2999-01-01T00:00:00Z" },
);

const SIGNERS: readonly (readonly [string, Partial<typeof SESSION>, string | undefined])[] = [
  ["the session", {}, undefined],
  ["the role's own key", STRINGS, undefined],
  ["a role that the policy does not name", {
    accessKeyId: "AKIATESTADMIN",
    secretAccessKey: "secret-of-the-admin",
    sessionToken: "",
  }, "AccessDeniedException"],
  ["an unknown key", { accessKeyId: "AKIANOBODY" }, "UnrecognizedClientException"],
  ["another secret", { secretAccessKey: "another-secret-it-is" }, "InvalidSignatureException"],
  ["another token", { sessionToken: "token-of-the-sessiom" }, "UnrecognizedClientException"],
  ["no token", { sessionToken: "" }, "UnrecognizedClientException"],
];
for (const [who, strings, expected] of SIGNERS) {
  Deno.test(`signed by ${who}: ${expected ?? "served"}`, async () => {
    const { place: opened, kms } = await Place.open(BUILD.old, {
      policies: [{ policy: policyFor([BUILD.old]) }],
      accessKeys: parseAccessKeys(KEYS_FILE),
    });
    await using place = opened;
    using credentials = Credentials.fromStrings({ ...SESSION, ...strings });
    const ask = () =>
      kms.generateDataKey({ region: REGION, credentials }, { keyId: place.keyArn, keySpec: "AES_128" });
    if (expected === undefined) (await ask()).plaintext[Symbol.dispose]();
    else assertEquals(await place.refusal(ask), expected);
    const [event] = place.events;
    assertEquals(event?.errorCode, expected);
    const isKnown = expected === undefined || expected === "AccessDeniedException";
    assertEquals(event?.userIdentity["type"], isKnown ? "AssumedRole" : "Unknown");
  });
}

Deno.test("an expired session is refused by its name", async () => {
  let now = new Date("2026-06-01T12:00:00Z");
  const clock = { now: () => now };
  const { place: opened, nsm } = await Place.open(BUILD.old, {
    ...clock,
    accessKeys: parseAccessKeys(accessKeysFile({ ...SESSION, expires: "2026-06-01T13:00:00Z" })),
  }, clock);
  await using place = opened;
  await using kms = await SimulatedAttestedKms.open({
    nsm,
    endpoint: place.server.url,
    now: () => now.getTime(),
  });
  using credentials = Credentials.fromStrings(SESSION);
  const ask = () => kms.generateRandom({ region: REGION, credentials }, 1);
  (await ask())[Symbol.dispose]();
  now = new Date("2026-06-01T13:00:00Z");
  assertEquals(await place.refusal(ask), "ExpiredTokenException");
});

for (const [minutes, words] of [[-6, "expired"], [6, "not yet current"]] as const) {
  Deno.test(`a signature of a clock ${minutes} minutes off is ${words}`, async () => {
    const { place: opened } = await Place.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
    await using place = opened;
    await using kms = AwsKms.open({
      endpoint: place.server.url,
      now: () => Date.now() + minutes * 60_000,
    });
    const thrown = await assertRejects(() => kms.generateRandom(place.access, 1), EnclaveError);
    assertEquals([thrown.code, kmsErrorName(thrown)], ["clock_skew", "InvalidSignatureException"]);
    assertStringIncludes(thrown.hint ?? "", minutes < 0 ? "behind" : "ahead of");
  });
}

Deno.test("a signature for another region or service is refused", async () => {
  const { place: opened } = await Place.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
  await using place = opened;
  using credentials = Credentials.fromStrings(STRINGS);
  const elsewhere = { region: "us-west-2", credentials };
  assertEquals(
    await place.refusal(() => place.plain.generateRandom(elsewhere, 1)),
    "InvalidSignatureException",
  );
});

const AUTHORIZATIONS: readonly (readonly [string | undefined, string])[] = [
  [undefined, "MissingAuthenticationTokenException"],
  ["Bearer a", "IncompleteSignatureException"],
  ["AWS4-HMAC-SHA256 Credential=a/20260601/us-east-1/kms/aws4_request", "IncompleteSignatureException"],
  [
    `AWS4-HMAC-SHA256 Credential=${STRINGS.accessKeyId}/20260601/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=${
      "0".repeat(64)
    }`,
    "IncompleteSignatureException",
  ],
];
Deno.test("a request without a signature, or with half of one, is refused before it is read", async () => {
  const { place: opened } = await Place.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
  await using place = opened;
  for (const [authorization, expected] of AUTHORIZATIONS) {
    const response = await fetch(place.server.url, {
      method: "POST",
      headers: {
        "x-amz-target": "TrentService.GenerateRandom",
        ...(authorization === undefined ? {} : { authorization }),
      },
      body: "{",
    });
    assertEquals([response.status, (await response.json()).__type], [400, expected]);
    assertEquals((response.headers.get("x-amzn-requestid") ?? "").length, 36);
  }
});

Deno.test("a signed request whose body, target or signed headers changed on the way is refused", async () => {
  const { place: opened } = await Place.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
  await using place = opened;
  const upstream = place.server.url;
  const changes: readonly ((headers: Headers, body: string) => string)[] = [
    (headers, body) => (headers.get("x-amz-target") === "" ? "" : body),
    (_, body) => body.replace("1", "2"),
    (headers, body) => (headers.set("x-amz-target", "TrentService.ListKeys"), body),
    (headers, body) => (headers.set("x-amz-more", "1"), body),
    (
      headers,
      body,
    ) => (headers.set(
      "x-amz-date",
      (headers.get("x-amz-date") ?? "").replace(/(.)Z$/, (_, digit) => (digit === "9" ? "8Z" : "9Z")),
    ),
      body),
  ];
  for (const [index, change] of changes.entries()) {
    await using proxy = startScriptedKms(async ({ headers, body }) => {
      const forwarded = new Headers(headers);
      const changed = change(forwarded, body);
      // The proxy's name is what was signed.
      return await askRaw(upstream, forwarded, changed);
    });
    await using kms = AwsKms.open({ endpoint: proxy.url });
    const asked = kms.generateRandom(place.access, 1);
    if (index === 0) (await asked)[Symbol.dispose]();
    else assertEquals(await place.refusal(() => asked), "InvalidSignatureException", String(index));
  }
});

/** A request with its headers as they are, `host` included, which fetch would set itself. */
async function askRaw(url: string, headers: Headers, body: string): Promise<Response> {
  const { hostname, port } = new URL(url);
  const bytes = new TextEncoder().encode(body);
  headers.set("content-length", String(bytes.length));
  headers.set("connection", "close");
  const head = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const text = await exchange(
    { hostname, port: Number(port) },
    `POST / HTTP/1.1\r\n${head}\r\n${body}`,
  );
  return jsonAnswer(
    JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)),
    Number(/^HTTP\/1\.1 ([0-9]{3})/.exec(text)?.[1]),
  );
}

/** Writes, and reads to the end. */
async function exchange(
  address: { readonly hostname: string; readonly port: number },
  ...parts: readonly string[]
): Promise<string> {
  using connection = await Deno.connect(address);
  for (const part of parts) await connection.write(new TextEncoder().encode(part));
  let text = "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  for (let count = await connection.read(buffer); count !== null; count = await connection.read(buffer)) {
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  return text;
}

// Keys and policies.

Deno.test("an administrator describes, reads and puts policies, and may not lock everybody out", async () => {
  const { place: opened } = await Place.open(BUILD.old, {
    policies: [{ policy: policyFor([BUILD.old]) }],
    caller: ADMIN,
  });
  await using place = opened;
  const KeyId = place.keyArn.slice(place.keyArn.lastIndexOf("/") + 1);
  const { answer: described } = await place.ask("DescribeKey", { KeyId });
  const metadata = described["KeyMetadata"] as Fields;
  assertEquals([metadata["Arn"], metadata["AWSAccountId"], metadata["KeyState"]], [
    place.keyArn,
    ACCOUNT,
    "Enabled",
  ]);
  const { answer: read } = await place.ask("GetKeyPolicy", { KeyId, PolicyName: "default" });
  assertEquals(read, { Policy: policyFor([BUILD.old]), PolicyName: "default" });
  const Policy = policyFor([BUILD.new]);
  assertEquals(await place.ask("PutKeyPolicy", { KeyId, Policy }), { status: 200, answer: {} });
  assertEquals((await place.ask("GetKeyPolicy", { KeyId })).answer["Policy"], Policy);
  const lockout = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { AWS: ROLE }, Action: "kms:*", Resource: "*" }],
  });
  const { answer: refused } = await place.ask("PutKeyPolicy", { KeyId, Policy: lockout });
  assertEquals(refused["__type"], "MalformedPolicyDocumentException");
  const { answer: broken } = await place.ask("PutKeyPolicy", { KeyId, Policy: "{}" });
  assertEquals(broken["__type"], "MalformedPolicyDocumentException");
  assertEquals((await place.ask("GetKeyPolicy", { KeyId })).answer["Policy"], Policy);
  const bypass = { KeyId, Policy: lockout, BypassPolicyLockoutSafetyCheck: true };
  assertEquals((await place.ask("PutKeyPolicy", bypass)).status, 200);
  assertEquals((await place.ask("DescribeKey", { KeyId })).answer["__type"], "AccessDeniedException");
});

Deno.test("keys are listed in pages, oldest first", async () => {
  const { place: opened } = await Place.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
  await using place = opened;
  for (let made = 0; made < 4; made++) await place.ask("CreateKey", {});
  const seen: unknown[] = [];
  let Marker: unknown;
  do {
    const { answer } = await place.ask("ListKeys", { Limit: 2, ...(Marker === undefined ? {} : { Marker }) });
    seen.push(...(answer["Keys"] as readonly Fields[]).map((key) => key["KeyArn"]));
    Marker = answer["NextMarker"];
  } while (Marker !== undefined);
  assertEquals(seen, [...place.server.keyArns]);
  assertEquals((await place.ask("ListKeys", { Marker: "x" })).answer["__type"], "InvalidMarkerException");
});

Deno.test("a policy is put before the first request, on every key or on one", async () => {
  const file = await Deno.makeTempFile();
  await Deno.remove(file);
  const keys: string[] = [];
  {
    const { place: opened } = await Place.open(BUILD.old, {
      keysFile: file,
      caller: ADMIN.replace("role/admin", "root"),
    });
    await using place = opened;
    await place.ask("CreateKey", {});
    keys.push(...place.server.keyArns);
  }
  const policies = [{ policy: policyFor([BUILD.new]) }, { key: keys[1], policy: policyFor([BUILD.old]) }];
  const { place: opened, kms } = await Place.open(BUILD.old, { keysFile: file, policies });
  await using place = opened;
  assertEquals(place.server.keyArns, keys);
  assertEquals(await place.refusal(() => place.dataKey(kms)), "AccessDeniedException");
  const made = await kms.generateDataKey(place.access, { keyId: keys[1] ?? "", keySpec: "AES_256" });
  made.plaintext[Symbol.dispose]();
  await Deno.remove(file);
});

const INVALID: readonly (readonly [string, unknown, string])[] = [
  ["Decrypt", "", "ValidationException"],
  ["Decrypt", "[]", "ValidationException"],
  ["Decrypt", {}, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "%" }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: encodeBase64(new Uint8Array(6145)) }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionAlgorithm: "RSAES_OAEP_SHA_1" }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: { a: 1 } }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: ["a"] }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA", EncryptionContext: { a: "b".repeat(8192) } }, "ValidationException"],
  ["Decrypt", { CiphertextBlob: "AAAA" }, "InvalidCiphertextException"],
  ["Encrypt", { Plaintext: "AAAA" }, "ValidationException"],
  ["Encrypt", { KeyId: "x", Plaintext: encodeBase64(new Uint8Array(4097)) }, "ValidationException"],
  ["Encrypt", { KeyId: "x", Plaintext: "AAAA" }, "NotFoundException"],
  ["GenerateDataKey", { KeyId: "KEY" }, "ValidationException"],
  ["GenerateDataKey", { KeyId: "KEY", KeySpec: "AES_512" }, "ValidationException"],
  ["GenerateDataKey", { KeyId: "KEY", KeySpec: "AES_256", NumberOfBytes: 32 }, "ValidationException"],
  ["GenerateDataKey", { KeyId: "KEY", NumberOfBytes: 1025 }, "ValidationException"],
  ["GenerateRandom", {}, "ValidationException"],
  ["GenerateRandom", { NumberOfBytes: 1.5 }, "ValidationException"],
  ["CreateKey", { KeySpec: "RSA_2048" }, "ValidationException"],
  ["CreateKey", { Policy: "{}" }, "MalformedPolicyDocumentException"],
  ["GetKeyPolicy", { KeyId: "KEY", PolicyName: "other" }, "NotFoundException"],
  ["PutKeyPolicy", { KeyId: "KEY" }, "ValidationException"],
  ["ReEncrypt", {}, "UnknownOperationException"],
  ["constructor", {}, "UnknownOperationException"],
];
Deno.test("what is not as KMS takes it is refused by KMS's name", async () => {
  const { place: opened } = await Place.open(BUILD.old, { caller: `arn:aws:iam::${ACCOUNT}:root` });
  await using place = opened;
  for (const [operation, fields, expected] of INVALID) {
    const text = JSON.stringify(fields).replace("KEY", place.keyArn);
    const { status, answer } = await place.ask(operation, typeof fields === "string" ? fields : text);
    assertEquals([status, answer["__type"]], [
      expected === "UnknownOperationException" ? 404 : 400,
      expected,
    ], text);
    assertEquals(place.events.at(-1)?.errorCode, expected);
  }
});

Deno.test("nothing secret is in an event: neither plaintext, ciphertext, secret key nor token", async () => {
  const { place: opened, kms } = await Place.open(BUILD.old, { accessKeys: parseAccessKeys(KEYS_FILE) });
  await using place = opened;
  const secret = crypto.getRandomValues(new Uint8Array(24));
  using credentials = Credentials.fromStrings(SESSION);
  const access = { region: REGION, credentials };
  const made = await kms.generateDataKey(access, {
    keyId: place.keyArn,
    keySpec: "AES_256",
    context: CONTEXT,
  });
  using plaintext = made.plaintext;
  (await kms.decrypt(access, { ciphertext: made.ciphertext, keyId: place.keyArn, context: CONTEXT }))
    [Symbol.dispose]();
  await place.refusal(() => kms.decrypt(access, { ciphertext: new Uint8Array(secret), keyId: place.keyArn }));
  const text = JSON.stringify(place.events);
  for (
    const hidden of [
      encodeBase64(plaintext.expose()),
      encodeBase64(made.ciphertext),
      encodeBase64(secret),
      SESSION.secretAccessKey,
      SESSION.sessionToken,
    ]
  ) assertEquals(text.includes(hidden), false);
  const [first] = place.events;
  assertEquals(first?.requestParameters?.encryptionContext, CONTEXT);
  const { recipient } = first?.additionalEventData as { recipient: Fields };
  assertEquals([
    recipient["attestationDocumentEnclaveImageDigest"],
    Object.keys(recipient).length,
    first?.userIdentity["accessKeyId"],
  ], [BUILD.old, 7, SESSION.accessKeyId]);
});

// The transport.

Deno.test("over TLS a client that trusts the authority is served, and another is not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { place: opened, kms } = await Place.open(BUILD.old, { tlsFolder: folder });
    await using place = opened;
    (await kms.generateRandom(place.access, 1))[Symbol.dispose]();
    await using stranger = AwsKms.open({
      endpoint: place.server.url,
      attemptMs: 3_000,
      sleep: () => Promise.resolve(),
    });
    const thrown = await assertRejects(() => stranger.generateRandom(place.access, 1), EnclaveError);
    assertEquals(thrown.code, "kms_unreachable");
    assertEquals(await Deno.readTextFile(`${folder}/ca.pem`), place.server.authority);
    assertEquals(((await Deno.stat(`${folder}/ca.key`)).mode ?? 0) & 0o777, 0o600);
    // The next start has the same authority.
    await using again = await KmsServer.start({ tlsFolder: folder });
    assertEquals(again.authority, place.server.authority);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const FOLDERS: readonly (readonly [string, (folder: string) => Promise<void>, string])[] = [
  ["half an authority", (folder) => Deno.writeTextFile(`${folder}/ca.pem`, "x"), "missing"],
  ["a key that others can read", async (folder) => {
    await Deno.writeTextFile(`${folder}/ca.pem`, "x");
    await Deno.writeTextFile(`${folder}/ca.key`, "x", { mode: 0o644 });
  }, "chmod 600"],
  ["an authority that is none", async (folder) => {
    await Deno.writeTextFile(`${folder}/ca.pem`, "x");
    await Deno.writeTextFile(`${folder}/ca.key`, "x", { mode: 0o600 });
  }, "no CERTIFICATE"],
];
for (const [what, make, words] of FOLDERS) {
  Deno.test(`a TLS folder with ${what} is refused`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await make(folder);
      const thrown = await assertRejects(() => KmsServer.start({ tlsFolder: folder }), EnclaveError, words);
      assertEquals(thrown.code, "kms_server_tls");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

const head = (length: number | string, more = "") =>
  `POST / HTTP/1.1\r\nhost: a\r\nx-amz-target: TrentService.GenerateRandom\r\ncontent-length: ${length}\r\n${more}`;
const BODY = '{"NumberOfBytes":1}';
const RAW: readonly (readonly [string, readonly string[], string])[] = [
  ["comes in pieces", [head(BODY.length, "connection: close\r\n"), "\r\n{", BODY.slice(1)], "HTTP/1.1 200"],
  ["is of HTTP/1.0", [`${head(BODY.length).replace("1.1", "1.0")}\r\n${BODY}`], "HTTP/1.1 200"],
  ["is no HTTP", ["hello\r\n\r\n"], "MalformedHttpRequestException"],
  ["has no head that ends", [head(0) + "a".repeat(40_000)], "MalformedHttpRequestException"],
  ["has a header that is none", [head(0, "no header\r\n\r\n")], "a header is none"],
  ["has two lengths", [head(0, "content-length: 1\r\n\r\n")], "content-length came twice"],
  ["has no number for a length", [head("1a", "\r\n")], "Content-Length is no number"],
  ["is chunked", [head(0, "transfer-encoding: chunked\r\n\r\n")], "Content-Length says where it ends"],
  ["is too long", [head(64 * 1024 + 1, "\r\n")], "HTTP/1.1 413"],
];
for (const [what, parts, expected] of RAW) {
  Deno.test(`a request that ${what} gets ${expected}`, async () => {
    await using server = await KmsServer.start();
    const text = await within(exchange(server, ...parts), "the answer");
    assertStringIncludes(text, expected);
  });
}

Deno.test("requests on one connection are answered in order, whole", async () => {
  await using server = await KmsServer.start();
  const ask = (n: number, more = "") => {
    const body = `{"NumberOfBytes":${n}}`;
    return `${head(body.length, more)}\r\n${body}`;
  };
  const text = await within(
    exchange(server, ask(1) + ask(2), ask(3, "connection: close\r\n")),
    "the answers",
  );
  const lengths = [...text.matchAll(/"Plaintext":"([^"]*)"/g)].map(([, base64 = ""]) => atob(base64).length);
  assertEquals(lengths, [1, 2, 3]);
});

Deno.test("a connection that is silent, and one that is slow, are ended", async () => {
  const problems: string[] = [];
  await using server = await KmsServer.start({
    limits: { idleMs: 50, requestMs: 50 },
    onProblem: (what) => void problems.push(what),
  });
  assertEquals(await within(exchange(server), "the end of a silent connection"), "");
  assertEquals(problems, []);
  const ended = await within(
    exchange(server, "POST / HTTP/1.1\r\n").catch((thrown: unknown) => String(thrown)),
    "the end of a slow one",
  );
  assertEquals(ended.includes("200"), false);
  assertEquals(problems.length, 1);
});

Deno.test("there are only so many connections", async () => {
  const refused = Promise.withResolvers<string>();
  await using server = await KmsServer.start({ limits: { maxConnections: 1 }, onProblem: refused.resolve });
  using first = await Deno.connect(server);
  const body = `${head(BODY.length)}\r\n${BODY}`;
  await first.write(new TextEncoder().encode(body));
  await first.read(new Uint8Array(1));
  using second = await Deno.connect(server);
  assertStringIncludes(await within(refused.promise, "the refusal"), "there are 1 already");
  assertEquals(await within(second.read(new Uint8Array(1)).catch(() => null), "the end"), null);
});

Deno.test("the server ends while connections are open", async () => {
  const server = await KmsServer.start();
  using connection = await Deno.connect(server);
  await connection.write(new TextEncoder().encode("POST"));
  await within(server[Symbol.asyncDispose](), "the server's end");
  await server[Symbol.asyncDispose]();
  assertEquals(await connection.read(new Uint8Array(1)).catch(() => null), null);
});

const OPTIONS: readonly (readonly [string, KmsServerOptions, string])[] = [
  ["plain HTTP for others", { hostname: "0.0.0.0" }, "this machine alone"],
  ["a region that is none", { region: "mars" }, "the region is none"],
  ["an account that is none", { account: "1" }, "the account is none"],
  ["a caller that is none", { caller: "alice" }, "no ARN of a caller"],
  [
    "a policy for a key that is not there",
    { policies: [{ key: "x", policy: policyFor([ZERO]) }] },
    "does not exist",
  ],
  ["a policy that is none", { policies: [{ policy: "{" }] }, "no JSON"],
  ["an enclave around it", { nsmDevice: "/dev/null" }, "does not run in an enclave"],
];
for (const [what, options, words] of OPTIONS) {
  Deno.test(`the server does not start with ${what}`, async () => {
    await assertRejects(() => KmsServer.start(options), EnclaveError, words);
  });
}

Deno.test("a port that is taken is said to be", async () => {
  await using server = await KmsServer.start();
  const thrown = await assertRejects(() => KmsServer.start({ port: server.port }), EnclaveError);
  assertEquals(thrown.code, "listen_failed");
});

const KEY_FILES: readonly (readonly [string, string, string])[] = [
  ["no JSON", "{", "no JSON"],
  ["another version", '{"version":2}', "version 1"],
  ["no keys", '{"version":1,"accessKeys":[]}', "1 to 1000"],
  ["a key twice", accessKeysFile(SESSION, SESSION), "twice"],
  ["no secret", accessKeysFile({ ...SESSION, secretAccessKey: "" }), "no secretAccessKey"],
  ["a time that is none", accessKeysFile({ ...SESSION, expires: "soon" }), "no time"],
  ["an ARN that is none", accessKeysFile({ ...SESSION, arn: "alice" }), "no role, user or root"],
  ["an unknown field", accessKeysFile({ ...SESSION, token: "a" }), '"token"'],
  ["an id that is none", accessKeysFile({ ...SESSION, accessKeyId: "a/b" }), "the id of access key 1"],
];
for (const [what, text, words] of KEY_FILES) {
  Deno.test(`a file of access keys with ${what} is refused, without its secrets`, () => {
    const thrown = assertThrows(() => parseAccessKeys(text), EnclaveError, words);
    assertEquals(Deno.inspect(thrown).includes(SESSION.secretAccessKey), false);
  });
}

// The simulated enclave.

Deno.test("the simulated enclave does not run in one", async () => {
  using nsm = await SimulatedNsm.start();
  const thrown = await assertRejects(
    () => SimulatedAttestedKms.open({ nsm, nsmDevice: "/dev/null" }),
    EnclaveError,
  );
  assertEquals(thrown.code, "simulated_kms_refused");
});

const ANSWERS: readonly (readonly [string, Fields, string])[] = [
  ["a plaintext", { Plaintext: "AQID" }, "only this enclave may read it"],
  ["nothing", {}, "CiphertextForRecipient is missing"],
  ["an envelope that is none", { CiphertextForRecipient: "AQID" }, "Cannot read the envelope"],
  ["an envelope beyond all measure", {
    CiphertextForRecipient: encodeBase64(new Uint8Array(17_000)),
  }, "has 17000 bytes"],
];
for (const [what, answer, words] of ANSWERS) {
  Deno.test(`the simulated enclave does not take ${what} for an answer`, async () => {
    await using server = startScriptedKms(() => jsonAnswer(answer));
    using nsm = await SimulatedNsm.start();
    await using kms = await SimulatedAttestedKms.open({ nsm, endpoint: server.url });
    using credentials = Credentials.fromStrings(STRINGS);
    await assertRejects(() => kms.generateRandom({ region: REGION, credentials }, 3), EnclaveError, words);
    const { Recipient: recipient } = JSON.parse(server.seen[0]?.body ?? "");
    const document = await nsm.verify(decodeBase64(recipient.AttestationDocument), { maxAgeMs: 60_000 });
    assertEquals(document.publicKey?.length, 294);
  });
}

Deno.test("a refusal is an error with KMS's name and words", () => {
  using secret = SecretBytes.fromString("s");
  const thrown = new KmsRefusal("DisabledException", `${secret} is disabled.`);
  assertEquals([thrown.code, thrown.status, thrown.kms.message], [
    "kms_refused",
    400,
    "[secret] is disabled.",
  ]);
});
