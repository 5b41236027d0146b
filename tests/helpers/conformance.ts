/**
 * The list of clients/conformance.json: the service that it is run against, the values that its steps name,
 * and how what a client gave is compared.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { Bridge, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { parseCertificate } from "../../lib/shared/attestation/pem.ts";
import { verifyDocumentUnder } from "../../lib/shared/attestation/verify.ts";
import { AWS_NITRO_ROOT } from "../../lib/shared/attestation/root.ts";
import { exportPublicKey, keyPairOf } from "../../lib/shared/sealed/hpke.ts";
import { field, isObject, type JsonObject } from "../../lib/shared/json.ts";
import { formatAddress, parseAddress } from "../../lib/shared/wire/address.ts";
import { devLaunch } from "./ctl_process.ts";
import { INDEFINITE, WIDEST } from "./cbor_forms.ts";
import { CHAINS, forge, type Forged, writeIn } from "./forged_documents.ts";
import { Folder } from "./folder.ts";
import { ServiceProcess } from "./service_process.ts";
import type { ToolResult } from "./tools.ts";
import { realDocuments } from "./vectors.ts";

const ROOT = new URL("../../", import.meta.url);
const readJson = async (path: string) => JSON.parse(await Deno.readTextFile(new URL(path, ROOT)));
const PCR0 = "ab".repeat(48);
const PCR0_OF_GOLD =
  "6a5ba5204a52c3f7673f4eb9430bf253f0e2e4ea1251195fed72fcdc2cbbb2c2f4b1c2c0048095a8f6e67aa7b3a04164";
const KEYS = [
  "arn:aws:kms:us-east-1:111122223333:key/11111111-1111-4111-8111-111111111111",
  "arn:aws:kms:us-west-2:111122223333:key/mrk-22222222222222222222222222222222",
] as const;
const LONG = 600_000;

/** One step of the list. */
interface Step {
  readonly name: string;
  readonly gives?: JsonObject;
  readonly fails?: JsonObject;
}

/** A step with a document, by its name among the values. */
interface DocumentStep extends Step {
  readonly file: string;
  readonly at: string;
}

/** The list. */
interface Conformance {
  readonly steps: readonly Step[];
  readonly documents: readonly DocumentStep[];
}

const LIST = "clients/conformance.json";

/** Accepts connections, and answers each with some bytes or with silence. */
function startPeer(bytes: Uint8Array | undefined, isClosing: boolean) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.Conn>();
  const serving = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      await connection.read(new Uint8Array(1024));
      if (bytes !== undefined) await connection.write(bytes);
      if (isClosing) connection.close(), open.delete(connection);
    }
  })();
  return {
    address: `tcp:127.0.0.1:${listener.addr.port}`,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await serving.catch(() => {});
      for (const connection of open) connection.close();
    },
  };
}

/** The real documents by file, with what the list expects of each; none where they are not there. */
async function realValues(): Promise<Record<string, JsonObject>> {
  const real = realDocuments();
  if (real === undefined) return {};
  const files = {
    "real-1.bin": real.production,
    "real-debug.bin": real.debug,
    "real-2025-12.bin": real.production2025,
    "real-2025-08-debug.bin": real.debug2025,
  };
  const found: Record<string, JsonObject> = {};
  for (const [file, { bytes, at }] of Object.entries(files)) {
    const { pcrs, nonce, debug } = await verifyDocumentUnder(AWS_NITRO_ROOT, bytes, { at, allowDebug: true });
    found[file] = {
      document: encodeBase64(bytes),
      pcr0: debug ? PCR0 : pcrs.get(0),
      nonce: nonce === undefined ? null : encodeBase64(nonce),
    };
  }
  return found;
}

/** Documents that tests made, each with one fault or in another encoding, and what becomes of them. */
async function forgedValues() {
  const documents: Record<string, JsonObject> = {};
  const steps: DocumentStep[] = [];
  const add = ({ root, document, at }: Forged, step: Step) => {
    documents[step.name] = {
      document: encodeBase64(document),
      root: encodeBase64(root),
      pcr0: "07".repeat(48),
      nonce: null,
    };
    steps.push({ ...step, file: step.name, at: at.toISOString() });
  };
  for (const [what, choose] of [["indefinite lengths", INDEFINITE], ["widest heads", WIDEST]] as const) {
    add(await forge({}, {}, writeIn(choose)), { name: `a document with ${what}`, gives: { debug: false } });
  }
  for (const [what, place, unusual] of CHAINS) {
    const code = "from" in unusual || "to" in unusual ? "attestation_expired" : "attestation_chain";
    add(await forge({ [place]: unusual }), {
      name: `a chain with ${what}`,
      fails: { kind: "attestation", code },
    });
  }
  const tpm = await forge({}, { nitrotpm_pcrs: new Map() });
  add(tpm, { name: "an instance's document", fails: { kind: "attestation", code: "attestation_nitrotpm" } });
  const debug = { pcrs: new Map([0, 1, 2].map((index) => [index, new Uint8Array(48)])) };
  add(await forge({}, debug), {
    name: "a document of debug mode",
    fails: { kind: "attestation", code: "attestation_debug" },
  });
  for (
    const [name, fields] of Object.entries({
      "without PCR 2": { pcrs: new Map([0, 1].map((index) => [index, new Uint8Array(48).fill(7)])) },
      "of another digest": { digest: "SHA256" },
      "without a time": { timestamp: null },
      "with a nonce that is text": { nonce: "nonce" },
    })
  ) {
    const fails = { kind: "attestation", code: "attestation_malformed" };
    add(await forge({}, fields), { name: `a document ${name}`, fails });
  }
  return { documents, steps };
}

/**
 * Rows and documents of an earlier build, whose keys are known: what is signed with them is always the same.
 */
async function goldValues() {
  const gold = await readJson("tests/fixtures/gold/gold.json");
  const requests: readonly JsonObject[] = gold.conversations.flatMap(
    ({ exchanges }: { exchanges: readonly { request: JsonObject }[] }) =>
      exchanges.map(({ request }) => request),
  );
  const account = requests.find(({ apiRequest }) => apiRequest === "sign") ?? {};
  const { credential: _, nonce: __, type: ___, ...row } =
    requests.find(({ type }) => type === "master_key.init") ?? {};
  const documentOf = (title: string) => {
    const { document, nonce, subject } = gold.keyDocuments.find((each: { title: string }) =>
      each.title === title
    );
    const { purpose, subject: name, publicPart, keyArn, epoch } = subject;
    return { document, nonce, purpose, subject: name, public_part: publicPart, key_arn: keyArn, epoch };
  };
  return {
    stored_account: {
      name: account["name"],
      keyId: account["key_id"],
      address: account["address"],
      encryptedPrivateKey: account["encryptedPrivateKey"],
      encryptedDataKey: account["encryptedDataKey"],
      version: 1,
    },
    stored_master_key: row,
    stored_root: gold.root,
    stored_pcr0: PCR0_OF_GOLD,
    generated: documentOf("generated account a"),
    rewrapped: documentOf("rewrapped master key"),
    opened: documentOf("opened master key of epoch 2"),
  };
}

/** Starts the development service with a simulated NSM, and gives the values of the list. */
async function conformanceRig() {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(
    await Folder.make({
      "build.json": JSON.stringify({ Measurements: { PCR0, PCR1: PCR0, PCR2: PCR0 } }),
    }),
  );
  const [keysFile, root] = [`${folder.path}/keys.json`, `${folder.path}/root.pem`];
  const keys = await Deno.readTextFile(new URL("tests/fixtures/gold/kms_keys.json", ROOT));
  await Deno.writeTextFile(keysFile, keys, { mode: 0o600 });
  const tsk = new Uint8Array(32).fill(0x66);
  const kms = await LocalKms.open({ region: "us-east-1", file: keysFile });
  const wrapped = await kms.encrypt(KEYS[0], tsk, TSK_CONTEXT);
  const attesting = ["--simulate-nsm", "-m", `${folder.path}/build.json`, "--nsm-root", root];
  const start = async (...args: readonly string[]) =>
    stack.use(await ServiceProcess.start(devLaunch([...attesting, ...args])));
  const service = await start("--kms-local-file", keysFile, "--kms-key", KEYS.join(","));
  const clientKey = new Uint8Array(32).fill(7);
  const { publicKey } = await keyPairOf(clientKey);
  const knownOnly = await start("--client-key", encodeBase64(await exportPublicKey(publicKey)));
  const socket = `unix:${folder.path}/bridge.sock`;
  stack.use(
    await Bridge.start({ listen: parseBridgeListen(socket, parseAddress), target: service.address }),
  );
  const silent = stack.use(startPeer(undefined, false));
  const huge = stack.use(startPeer(Uint8Array.of(0x10, 0, 0, 0, 0x7b), false));
  const broken = stack.use(startPeer(new TextEncoder().encode('\0\0\0\x20{"status":'), true));
  const nobody = startPeer(undefined, false);
  await nobody[Symbol.asyncDispose]();
  const rootDer = parseCertificate(await Deno.readFile(root));
  const [real, forged] = [await realValues(), await forgedValues()];
  const values = {
    address: formatAddress(service.address),
    unix: socket,
    nobody: nobody.address,
    nobody_says: `annot connect to ${nobody.address}: `,
    silent: silent.address,
    huge: huge.address,
    broken: broken.address,
    tsk: encodeHex(tsk),
    other_tsk: "2e".repeat(32),
    short_tsk: "2e".repeat(31),
    encrypted_tsk: encodeBase64(wrapped),
    kms_key_id: KEYS[0],
    other_kms_key_id: KEYS[1],
    long: "grüße ".repeat(LONG / 8),
    pcr0: PCR0,
    other_pcr0: "cd".repeat(48),
    zeros: "00".repeat(48),
    root: encodeBase64(rootDer),
    known_only: formatAddress(knownOnly.address),
    client_key: encodeBase64(clientKey),
    other_client_key: encodeBase64(new Uint8Array(32).fill(8)),
    digest: "05".repeat(32),
    ...await goldValues(),
    documents: { ...real, ...forged.documents },
  };
  const { steps, documents }: Conformance = await readJson(LIST);
  const list = {
    steps,
    documents: [...documents.filter(({ file }) => Object.hasOwn(real, file)), ...forged.steps],
  };
  await folder.write("values.json", JSON.stringify(values));
  await folder.write("list.json", JSON.stringify(list));
  const owned = stack.move();
  const files = { list: `${folder.path}/list.json`, values: `${folder.path}/values.json` };
  return { values, list, files, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

type Values = Readonly<Record<string, unknown>>;

/** Whether what was given is what was expected, as `about` of the list says. */
function matches(given: unknown, wanted: unknown, values: Values): boolean {
  if (typeof wanted === "string" && wanted.startsWith("$")) return given === values[wanted.slice(1)];
  if (typeof wanted === "string" && /^\/.*\/$/.test(wanted)) {
    return typeof given === "string" && new RegExp(wanted.slice(1, -1)).test(given);
  }
  if (Array.isArray(wanted)) {
    return Array.isArray(given) && given.length === wanted.length &&
      wanted.every((each, index) => matches(given[index], each, values));
  }
  if (isObject(wanted)) {
    return Object.entries(wanted).every(([name, each]) => matches(field(given, name), each, values));
  }
  return given === wanted;
}

/** Why a step's outcome is not what the list says; undefined where it is. */
function problemOf({ gives, fails }: Step, outcome: unknown, values: Values): string | undefined {
  const said = JSON.stringify(outcome)?.slice(0, 1000) ?? "nothing";
  if (fails === undefined) return matches(field(outcome, "gave"), gives, values) ? undefined : said;
  const error = field(outcome, "error");
  const { message, ...rest } = fails;
  const text = String(message ?? "").replace(/\$(\w+)/g, (_, name) => String(values[name]));
  const isSaid = String(field(error, "message")).toLowerCase().includes(text.toLowerCase());
  return error !== undefined && isSaid && matches(error, rest, values) ? undefined : said;
}

/**
 * Runs the list with a client, which is given the files of the list and of its values, and requires each
 * outcome.
 */
export async function conforms(run: (list: string, values: string) => Promise<ToolResult>): Promise<void> {
  await using rig = await conformanceRig();
  const result = await run(rig.files.list, rig.files.values);
  assertEquals(result.code, 0, result.stderr);
  const outcomes: Readonly<Record<string, unknown>> = JSON.parse(result.stdout);
  const asked = [...rig.list.steps, ...rig.list.documents];
  assertEquals(Object.keys(outcomes).sort(), asked.map(({ name }) => name).sort());
  const problems = asked.flatMap((step) => {
    const problem = problemOf(step, outcomes[step.name], rig.values);
    return problem === undefined ? [] : [`${step.name}: ${problem}`];
  });
  assertEquals(problems, []);
}
