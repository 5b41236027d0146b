/** The verifiers of examples/receipts, on the proofs that denclavectl writes: what they accept, and what they must refuse. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { ReceiptClient } from "../../lib/ctl/client/receipt_client.ts";
import { Folder } from "../helpers/folder.ts";
import { receiptRig, SESSION_KEY } from "../helpers/receipt_rig.ts";
import { PCR0 } from "../helpers/sealed_rig.ts";
import { findTool, runTool, type ToolResult } from "../helpers/tools.ts";

const BUILD = JSON.stringify({ Measurements: { PCR0, PCR1: PCR0, PCR2: PCR0 } });
const LOCAL = { aws_access_key_id: "local", aws_secret_access_key: "local" };
const EXAMPLES = new URL("../../examples/receipts", import.meta.url).pathname;
const python = findTool(
  [["python3", "-m", "venv", "--help"]],
  "the receipts' verifier in Python, since there is no Python with venv",
);
const go = findTool(
  [["go", "version"]],
  "the receipts' verifier in Go, since there is no go (Debian: golang-go)",
);

Deno.test("the service and denclavectl as processes: a proof is written, and verifies without the service", async () => {
  await using folder = await Folder.make({ "build.json": BUILD, result: "data", other: "date" });
  const file = (name: string) => `${folder.path}/${name}`;
  await using kms = await LocalKms.open({ region: "us-east-1", file: file("keys.json") });
  const wrapped = await kms.encrypt(kms.keyArns[0] ?? "", SESSION_KEY, TSK_CONTEXT);
  await folder.write("session.hex", `${encodeHex(SESSION_KEY)}\n`);
  await Deno.chmod(file("session.hex"), 0o600);
  const args = ["--kms-local-file", file("keys.json"), "--simulate-nsm", "-m", file("build.json")];
  const trust = ["--root", file("root.pem"), "--pcr", `0=${PCR0}`];
  {
    await using service = await ServiceProcess.start(devLaunch([...args, "--nsm-root", file("root.pem")]));
    using client = await Client.connect(service.address, { timeoutMs: 20_000 });
    await client.request({ type: "configure", encrypted_tsk: encodeBase64(wrapped), ...LOCAL });
    for (const flags of [[], ["--sealed"]]) {
      const proof = file(`proof${flags.length}.json`);
      const processed = await runCtl([
        ...[
          "client",
          "process",
          "--connect",
          formatAddress(service.address),
          "--tsk-file",
          file("session.hex"),
        ],
        ...["--data", "data", "--receipt", proof, ...trust, ...flags],
      ]);
      assertEquals([processed.code, processed.stdout], [0, "data\n"], processed.stderr);
    }
  }
  for (const proof of [file("proof0.json"), file("proof1.json")]) {
    const { result_salt } = JSON.parse(await Deno.readTextFile(proof));
    const verify = (result: string) =>
      runCtl([
        ...["receipt", "verify", proof, "--document", proof, ...trust],
        ...["--result", file(result), "--salt", result_salt],
      ]);
    const accepted = await verify("result");
    assertEquals([accepted.code, /result +verified/.test(accepted.stdout)], [0, true], accepted.stderr);
    const refused = await verify("other");
    assertEquals([refused.code, refused.stdout], [1, ""]);
  }
});

const DIGEST = new Uint8Array(32).fill(5);

interface Proof {
  readonly receipt: string;
  readonly attestation_document: string;
  readonly result_salt?: string;
  readonly input_salt?: string;
}

/** A service's answer with its proof. */
async function proofOf(rig: Awaited<ReturnType<typeof receiptRig>>, isPlainSign = false) {
  const client = new ReceiptClient(rig.client, {
    ...rig.expected,
    pcrs: {},
    allowDebug: true,
    insecureSkipPcrs: true,
  });
  const digest = DIGEST;
  const data = new TextEncoder().encode("question");
  const { receipt, document, salts, result } = isPlainSign
    ? await client.sign({ digest })
    : await client.process({ key: SESSION_KEY, data });
  const proof: Proof = {
    receipt: encodeBase64(receipt),
    attestation_document: encodeBase64(document),
    ...(salts && { result_salt: encodeBase64(salts.result), input_salt: encodeBase64(salts.input) }),
  };
  return { proof, result, input: isPlainSign ? digest : data };
}

function changed(base64: string, at: number): string {
  const bytes = decodeBase64(base64);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return encodeBase64(bytes);
}

/** What a verifier must accept, and what refuse. @param run with options, the proof's file and PCR0 */
async function judges(
  folder: Folder,
  run: (proof: string, pcr0: string, options: readonly string[]) => Promise<ToolResult>,
): Promise<void> {
  await using rig = await receiptRig();
  await using other = await receiptRig();
  await using debug = await receiptRig({
    pcrs: { 0: "00".repeat(48), 1: "00".repeat(48), 2: "00".repeat(48) },
  });
  const { proof, result, input } = await proofOf(rig);
  const signed = await proofOf(rig, true);
  const others = await proofOf(other);
  using sealing = await rig.connectSealed();
  const sealed = await rig.receipts(sealing).sign({ digest: DIGEST });
  const bare = { receipt: encodeBase64(sealed.receipt), attestation_document: encodeBase64(sealed.document) };
  const attested = await rig.client.request({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
  await folder.write("root.der", rig.nsm.root);
  await folder.write("debug.der", debug.nsm.root);
  await folder.write("result", result);
  await folder.write("input", input);
  await folder.write("signature", signed.result);
  const salt = decodeBase64(proof.result_salt ?? "");
  await folder.write("moved", new Uint8Array([...salt.subarray(40), ...result]));
  await folder.write("whole", new Uint8Array([...salt, ...result]));
  await folder.write("salted", new Uint8Array([...sealed.salts?.result ?? [], ...sealed.result]));
  const file = (name: string) => `${folder.path}/${name}`;
  const root = ["--root", file("root.der")];
  const ofResult = ["--result", file("result")];
  const asked = async (given: Proof, options: readonly string[], pcr0 = PCR0) => {
    await folder.write("proof.json", JSON.stringify(given));
    const { code, stdout, stderr } = await run(file("proof.json"), pcr0, options);
    if (code !== 0) assertStringIncludes(stderr, "refused: ");
    return code === 0 ? stdout.split(" ").slice(0, 2).join(" ") : "refused";
  };
  const { result_salt: _, ...unsalted } = proof;
  const cases: readonly (readonly [string, Proof, readonly string[], string, string?])[] = [
    [
      "an answer, its result and its input",
      proof,
      [...root, ...ofResult, "--input", file("input")],
      "process ok",
    ],
    ["an answer of which nothing is disclosed", proof, root, "process ok"],
    ["a plain signature", signed.proof, [...root, "--result", file("signature")], "master_key.sign ok"],
    ["salt and signature as a signature", bare, [...root, "--result", file("salted")], "refused"],
    ["another root than AWS's, without being told", proof, [], "refused"],
    ["another build", proof, root, "refused", "cd".repeat(48)],
    ["debug mode", (await proofOf(debug)).proof, ["--root", file("debug.der")], "refused", "00".repeat(48)],
    ["another result", proof, [...root, "--result", file("input")], "refused"],
    ["another input", proof, [...root, "--input", file("result")], "refused"],
    ["a result without its salt", unsalted, [...root, ...ofResult], "refused"],
    ["salt and result as a result", unsalted, [...root, "--result", file("whole")], "refused"],
    [
      "a result that begins in the salt",
      { ...proof, result_salt: encodeBase64(salt.subarray(0, 40)) },
      [...root, "--result", file("moved")],
      "refused",
    ],
    ["a changed claim", { ...proof, receipt: changed(proof.receipt, 60) }, root, "refused"],
    ["a changed signature", { ...proof, receipt: changed(proof.receipt, 390) }, root, "refused"],
    [
      "a changed document",
      { ...proof, attestation_document: changed(proof.attestation_document, 60) },
      root,
      "refused",
    ],
    ["another enclave's receipt", { ...proof, receipt: others.proof.receipt }, root, "refused"],
    [
      "the document of a key to seal for",
      { ...proof, attestation_document: String(attested["attestation_document"]) },
      root,
      "refused",
    ],
  ];
  for (const [what, given, options, wanted, pcr0] of cases) {
    assertEquals(await asked(given, options, pcr0), wanted, what);
  }
}

Deno.test({
  name: "the verifier in Python accepts what receipts prove, and refuses all that they do not",
  ignore: python === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const venv = `${folder.path}/venv`;
    const pip = [
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--requirement",
      `${EXAMPLES}/python/requirements.txt`,
    ];
    for (const [command, args] of [[python ?? "", ["-m", "venv", venv]], [`${venv}/bin/pip`, pip]] as const) {
      const made = await runTool(command, args);
      assertEquals(made.code, 0, made.stderr);
    }
    await judges(
      folder,
      (proof, pcr0, options) =>
        runTool(`${venv}/bin/python`, [`${EXAMPLES}/python/verify_receipt.py`, proof, pcr0, ...options]),
    );
  },
});

Deno.test({
  name: "the verifier in Go accepts what receipts prove, and refuses all that they do not",
  ignore: go === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const binary = `${folder.path}/verify`;
    const built = await runTool(go ?? "", ["build", "-o", binary, "."], {
      cwd: `${EXAMPLES}/go`,
      env: { GOTOOLCHAIN: "local", GOFLAGS: "-buildvcs=false", CGO_ENABLED: "0" },
    });
    assertEquals(built.code, 0, built.stderr);
    await judges(folder, (proof, pcr0, options) => runTool(binary, [...options, proof, pcr0]));
  },
});
