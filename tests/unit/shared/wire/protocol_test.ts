/** The tables of requests, replies and error codes: what is made from them, and what a running service says. */
import { assert, assertEquals } from "@std/assert";
import { decodeHex, encodeBase64, encodeHex } from "@std/encoding";
import { exportPublicKey, importKeyPair, setupRecipient } from "../../../../lib/shared/sealed/hpke.ts";
import { hashPublicKey, openRequest } from "../../../../lib/shared/sealed/message.ts";
import { CREDENTIAL_SPELLINGS, type WireObject } from "../../../../lib/shared/wire/messages.ts";
import {
  type FieldSpec,
  type FieldSpecs,
  REQUESTS,
  type RequestSpec,
  WALLET_REQUESTS,
} from "../../../../lib/shared/wire/protocol.ts";
import * as requests from "../../../../lib/shared/wire/requests.ts";
import {
  ERROR_CODE_FILES,
  errorCodesText,
  PROTOCOL_FILES,
  schemaText,
  withTables,
} from "../../../../scripts/protocol.ts";
import { processBinding } from "../../../../lib/shared/wire/process_binding.ts";
import { HOST_RANDOM } from "../../../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { sealedRig } from "../../../helpers/sealed_rig.ts";

const ROOT = new URL("../../../../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, ROOT));
const NONCE = encodeBase64(new Uint8Array(16).fill(7));
const CREDENTIALS = { aws_access_key_id: "AKIDEXAMPLE", aws_secret_access_key: "secret" };
const encoder = new TextEncoder();

Deno.test("docs/protocol.md and the JSON Schema are made from the tables: deno task docs", async () => {
  const document = await read(PROTOCOL_FILES.document);
  assertEquals(withTables(document), document);
  assertEquals(await read(PROTOCOL_FILES.schema), schemaText());
  for (const file of ERROR_CODE_FILES) assertEquals(await read(file), errorCodesText(), file);
});

/** Names that the service reads besides those of the tables, and why. */
const ALSO_READ: readonly string[] = [
  "type",
  "apiRequest",
  "credential",
  "kms_key_id", // spellings of key_id
  "key_id",
  "keyId",
  ...CREDENTIAL_SPELLINGS.flat(),
];

Deno.test("every field that the service reads is in the tables, and every field in the tables is read", async () => {
  const specs: readonly RequestSpec[] = [...Object.values(REQUESTS), ...Object.values(WALLET_REQUESTS)];
  const listed = new Set(specs.flatMap(({ request }) => Object.keys(request)));
  const found = new Set<string>();
  const files = [new URL("lib/shared/wire/process_binding.ts", ROOT)];
  for (
    const room of ["server", "session_key", "wallet", "wallet/ethereum", "master_key", "sealed", "receipts"]
  ) {
    const folder = new URL(`lib/enclave/${room}/`, ROOT);
    for await (const { name, isFile } of Deno.readDir(folder)) if (isFile) files.push(new URL(name, folder));
  }
  let sources = "";
  for (const file of files) sources += await Deno.readTextFile(file);
  const reads = /\b(?:field|optionalString|requiredString)\(\s*request,\s*"(\w+)"/g;
  for (const [, name = ""] of sources.matchAll(reads)) found.add(name);
  const tables: Readonly<Record<string, object>> = requests;
  for (const [, table = ""] of sources.matchAll(/\breadFields\(request, (\w+)\)/g)) {
    for (const name of Object.keys(tables[table] ?? {})) found.add(name);
  }
  for (const [, names = ""] of sources.matchAll(/\bkeySelection\(\s*request,\s*\[([^\]]*)\]/g)) {
    for (const [, name = ""] of names.matchAll(/"(\w+)"/g)) found.add(name);
  }
  const unlisted = [...found].filter((name) => !listed.has(name) && !ALSO_READ.includes(name));
  assertEquals(unlisted, []);
  // The kinds of payload are read by a list of their own.
  const payloads = ["message", "typedData", "transaction", "authorization", "digest"];
  const unread = [...listed].filter((name) => !found.has(name) && !payloads.includes(name));
  assertEquals(unread, []);
});

const PATTERNS = {
  hex: /^([0-9a-f]{2})*$/,
  "0x-hex": /^0x([0-9a-fA-F]{2})*$/,
  base64: /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/,
  "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
} as const;

function lengthOf(text: string, format: FieldSpec["format"]): number {
  if (format === "base64") return text.replace(/=+$/, "").length * 3 >> 2;
  return (format === "0x-hex" ? text.length - 2 : text.length) / 2;
}

/** What is wrong with a field's value. */
function problemOf(value: unknown, spec: FieldSpec): string | undefined {
  const { type, format, bytes, values, items } = spec;
  if (values !== undefined && !values.includes(value as string)) return `is none of ${values.join()}`;
  const isType = type === "array"
    ? Array.isArray(value) && value.every((item) => String(typeof item) === items)
    : type === "integer"
    ? Number.isInteger(value)
    : String(typeof value) === type;
  if (!isType) return `is no ${type}`;
  if (format === undefined || typeof value !== "string") return undefined;
  if (!PATTERNS[format].test(value)) return `is no ${format}`;
  const [min, max] = typeof bytes === "number" ? [bytes, bytes] : bytes ?? [0, Infinity];
  const length = lengthOf(value, format);
  return length < min || length > max ? `has ${length} bytes` : undefined;
}

/** Fields that are missing, not listed, or of another type. */
function problems(reply: WireObject, fields: FieldSpecs): readonly string[] {
  const unlisted = Object.keys(reply).filter((name) => !Object.hasOwn(fields, name));
  const wrong = Object.entries(fields).flatMap(([name, spec]) => {
    if (!Object.hasOwn(reply, name)) return spec.optional ? [] : [`${name} is missing`];
    const problem = problemOf(reply[name], spec);
    return problem === undefined ? [] : [`${name} ${problem}`];
  });
  return [...unlisted.map((name) => `${name} is not listed`), ...wrong];
}

Deno.test("what a service replies has the listed fields and no others, of the listed types", async () => {
  await using rig = await sealedRig();
  using client = await rig.connect();
  const optional = new Map<string, Set<string>>();
  const asked = new Set<string>();
  const ask = async (request: WireObject) => {
    const reply = await client.exchange(request);
    const name = String(request["type"] ?? request["apiRequest"]);
    const isWallets = request["apiRequest"] !== undefined;
    const specs: Readonly<Record<string, RequestSpec>> = isWallets ? WALLET_REQUESTS : REQUESTS;
    const spec = specs[name];
    assert(spec !== undefined && (reply["status"] === "ok" || isWallets), JSON.stringify(reply));
    const { status: _status, ...fields } = isWallets ? reply["content"] as WireObject : reply;
    assertEquals(problems(fields, spec.reply), [], name);
    asked.add(name);
    const seen = optional.get(name) ?? new Set();
    for (const field of Object.keys(fields)) seen.add(field);
    optional.set(name, seen);
    return isWallets ? fields : reply;
  };

  const tsk = new Uint8Array(32).fill(9);
  const wrapped = await rig.kms.encrypt(rig.keyArn, tsk);
  await ask({ type: "health" });
  await ask({ type: "configure", encrypted_tsk: encodeBase64(wrapped), ...CREDENTIALS });
  await ask({ type: "health" });
  using key = new SealingKey(SecretBytes.copyOf(tsk), { random: HOST_RANDOM.fill });
  const id = new Uint8Array(16);
  const blob = key.seal(encoder.encode("data"), processBinding("request", id));
  const receipt = { nonce: NONCE };
  await ask({ type: "process", ciphertext: encodeHex(blob), bind: true, request_id: encodeHex(id), receipt });
  await ask({ type: "attest", nonce: NONCE, user_data: NONCE });
  await ask({ type: "attest", purpose: "receipt", nonce: NONCE });
  const sender = await rig.sender(client);
  await ask({ ...(await sender.seal({ type: "ping" })).message });
  for (const type of ["ping", "logs", "metrics"]) await ask({ type });
  await ask({ type: "logs", after: 0 });

  const made = await ask({ type: "master_key.init", enclave_id: 1, nonce: NONCE, ...CREDENTIALS });
  await ask({ ...made, type: "master_key.verify", ...CREDENTIALS });
  await ask({ type: "master_key.public_info", nonce: NONCE });
  const digest = encodeBase64(new Uint8Array(32).fill(1));
  for (const scheme of ["ecdsa", "schnorr"]) await ask({ type: "master_key.sign", digest, scheme, receipt });
  const [keyArn = ""] = rig.kms.keyArns;
  await ask({ type: "master_key.rewrap", new_kms_key_id: keyArn, nonce: NONCE, ...CREDENTIALS });

  const account = await ask({ apiRequest: "generateAccount", name: "alice", nonce: NONCE, ...CREDENTIALS });
  const sign = { ...account, apiRequest: "sign", ...CREDENTIALS };
  await ask({ ...sign, message: "hello" });
  await ask({ ...sign, items: [{ message: "hello" }] });
  const transaction = {
    type: "eip1559",
    chainId: 1,
    nonce: 0,
    to: account["address"],
    value: "0",
    gasLimit: 21_000,
    maxFeePerGas: "1",
    maxPriorityFeePerGas: "1",
    data: "0x",
  };
  await ask({ ...sign, transaction });
  await ask({ ...sign, authorization: { chainId: 1, address: account["address"], nonce: 0 } });
  await ask({ ...sign, apiRequest: "rewrapAccount", new_key_id: keyArn, nonce: NONCE });

  const all = [...Object.entries(REQUESTS), ...Object.entries(WALLET_REQUESTS)];
  assertEquals(all.map(([name]) => name).filter((name) => !asked.has(name)), []);
  // Every listed field was seen, but for those of a service that is configured in another way.
  const elsewhere = ["health.epoch"];
  const unseen = all.flatMap(([name, { reply }]) =>
    Object.keys(reply).filter((field) => !optional.get(name)?.has(field)).map((field) => `${name}.${field}`)
  );
  assertEquals(unseen.filter((field) => !elsewhere.includes(field)), []);
});

/** The rows of the worked example, by their names. */
async function sealedExample(): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const document = await read(PROTOCOL_FILES.document);
  const [, section = ""] = document.split("## Sealed requests");
  const rows = section.matchAll(/^\| ([^|]+) \| `([0-9a-f]+)` \|$/gm);
  return new Map([...rows].map(([, name = "", hex = ""]) => [name, decodeHex(hex)]));
}

const counted = (from: number, length: number) => Uint8Array.from({ length }, (_, index) => from + index);
const PKCS8 = decodeHex("302e020100300506032b656e04220420");

Deno.test("the worked example of a sealed request opens, and its reply does under the exported secret", async () => {
  const example = await sealedExample();
  const row = (name: string) => {
    const bytes = example.get(name);
    assert(bytes !== undefined, `the example has no ${name}`);
    return bytes;
  };
  const keys = await importKeyPair(new Uint8Array([...PKCS8, ...counted(0xe0, 32)]));
  const publicKey = await exportPublicKey(keys.publicKey);
  const keyHash = await hashPublicKey(publicKey);
  assertEquals([row("the enclave's public key"), row("`keyHash`")], [publicKey, keyHash]);
  const ephemeral = await importKeyPair(new Uint8Array([...PKCS8, ...counted(0x40, 32)]));
  const enc = row("`enc`");
  assertEquals(enc, await exportPublicKey(ephemeral.publicKey));
  const sealed = { enc, ciphertext: row("`ciphertext`") };
  const opened = await openRequest(keys, sealed, { keyHash, clientId: counted(0xb0, 16), counter: 1 });
  assertEquals(opened.times, {
    sessionStarted: 1_700_000_000_000,
    sealedAt: 1_700_000_001_000,
    expiresAt: 1_700_000_061_000,
  });
  assertEquals(new TextDecoder().decode(opened.plaintext), '{"type":"ping"}');
  assertEquals(row("what is sealed").subarray(24), new Uint8Array(opened.plaintext));

  const context = await setupRecipient(keys, { info: row("`info`"), enc });
  const plaintext = await context.apply(sealed.ciphertext, row("additional data of the request"));
  assertEquals(plaintext, row("what is sealed"));
  const secret = await context.exportSecret(row("exporter context"));
  assertEquals(secret, row("exported secret"));
  const reply = row("the reply's `ciphertext`");
  const key = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["decrypt"]);
  const algorithm = { name: "AES-GCM", iv: reply.slice(0, 12), additionalData: row("exporter context") };
  const text = new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, key, reply.slice(12)));
  assertEquals(text, '{"status":"ok","msg":"pong","timestamp":"2023-11-14T22:13:21.000Z"}');
});
