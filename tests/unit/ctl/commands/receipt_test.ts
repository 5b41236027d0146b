/** `denclavectl client process --receipt` and `receipt verify`: an answer's proof, as a third party reads it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { decodeBase64, encodeBase64, encodeHex } from "@std/encoding";
import { formatAddress } from "../../../../lib/shared/wire/address.ts";
import { tryCtl } from "../../../helpers/ctl_io.ts";
import { Folder } from "../../../helpers/folder.ts";
import { receiptRig, REFUSED, SESSION_KEY } from "../../../helpers/receipt_rig.ts";
import { PCR0 } from "../../../helpers/sealed_rig.ts";

/** A service, a folder with its root and session key, and an answer with its proof in `proof.json`. */
async function proven(
  { flags = [], data = "question" }: { readonly flags?: readonly string[]; readonly data?: string } = {},
) {
  await using stack = new AsyncDisposableStack();
  const rig = stack.use(await receiptRig());
  const folder = stack.use(await Folder.make());
  await folder.write("root.der", rig.nsm.root);
  await folder.write("tsk.hex", `${encodeHex(SESSION_KEY)}\n`);
  await Deno.chmod(`${folder.path}/tsk.hex`, 0o600);
  await folder.write("result", "QUESTION");
  await folder.write("input", "question");
  const trust = ["--root", `${folder.path}/root.der`, "--pcr", `0=${PCR0}`];
  const proof = `${folder.path}/proof.json`;
  const process = (...more: string[]) =>
    tryCtl([
      ...[
        "client",
        "process",
        "--connect",
        formatAddress(rig.address),
        "--tsk-file",
        `${folder.path}/tsk.hex`,
      ],
      ...["--data", data, "--receipt", proof, ...trust, ...flags, ...more],
    ]);
  const processed = await process();
  const parts = JSON.parse(await Deno.readTextFile(proof).catch(() => "{}"));
  const owned = stack.move();
  return {
    ...rig,
    folder,
    process,
    processed,
    proof,
    parts,
    disclosing: [
      ...["--result", `${folder.path}/result`, "--salt", parts.result_salt],
      ...["--input", `${folder.path}/input`, "--input-salt", parts.input_salt],
    ],
    /** Under the simulated root, unless `trust` is given. */
    verify: (more: readonly string[], given = trust) =>
      tryCtl(["receipt", "verify", proof, "--document", proof, ...given, ...more]),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

for (const flags of [[], ["--sealed"], ["--unbound"]]) {
  Deno.test(`client process ${flags.join(" ")} --receipt writes a proof that receipt verify accepts, with what is disclosed`, async () => {
    await using rig = await proven({ flags });
    assertEquals([rig.processed.code, rig.processed.stdout], [0, "QUESTION\n"], rig.processed.stderr);
    assertEquals(
      (await Deno.stat(rig.proof)).mode ?? 0 & 0o777,
      ((await Deno.stat(rig.proof)).mode ?? 0) & ~0o077,
    );
    const shown = await rig.verify([...rig.disclosing, "--json"]);
    assertEquals(shown.code, 0, shown.stderr);
    const { type, outcome, result, input, request, PCR0: pcr0 } = JSON.parse(shown.stdout);
    assertEquals([type, outcome, result, input, request, pcr0], [
      "process",
      "ok",
      "verified",
      "verified",
      "not given",
      PCR0,
    ]);
    assertStringIncludes(shown.stderr, "they do not prove a real enclave");
    const bare = await rig.verify([]);
    assertEquals([bare.code, /result +not given/.test(bare.stdout)], [0, true]);
  });
}

Deno.test("receipt verify refuses another result, salt, nonce, request, build, root or document by name", async () => {
  await using rig = await proven();
  const { folder, parts } = rig;
  await folder.write("other", "QUESTIO");
  const other = `${folder.path}/other`;
  const attested = await rig.client.request({ type: "attest", nonce: encodeBase64(new Uint8Array(16)) });
  await folder.write("sealing.json", JSON.stringify(attested));
  const codeOf = async (more: readonly string[], given?: readonly string[]) => {
    const { code, stderr } = await rig.verify([...more, "--json"], given as string[] | undefined);
    const [, name = stderr] = /"code":"([a-z_]+)"/.exec(stderr) ?? [];
    return [code, name];
  };
  const root = ["--root", `${folder.path}/root.der`];
  assertEquals(await codeOf(["--result", other, "--salt", parts.result_salt]), [1, "receipt_result"]);
  assertEquals(await codeOf(["--result", `${folder.path}/result`, "--salt", parts.input_salt]), [
    1,
    "receipt_result",
  ]);
  assertEquals(await codeOf(["--result", `${folder.path}/result`]), [1, "receipt_result"]);
  assertEquals(await codeOf(["--input", other, "--input-salt", parts.input_salt]), [1, "receipt_input"]);
  assertEquals(await codeOf(["--nonce", encodeBase64(new Uint8Array(32))]), [1, "receipt_nonce"]);
  assertEquals(await codeOf(["--request", other]), [1, "receipt_request"]);
  assertEquals(await codeOf([], [...root, "--pcr", `0=${"cd".repeat(48)}`]), [1, "attestation_pcr"]);
  assertEquals(await codeOf([], ["--pcr", `0=${PCR0}`]), [1, "attestation_root"]);
  assertEquals(await codeOf([], root), [2, "usage"]);
  assertEquals(await codeOf(["--salt", parts.result_salt]), [2, "usage"]);
  assertEquals(await codeOf(["--result", other, "--salt", "%"]), [2, "usage"]);
  const sealing = await tryCtl([
    ...["receipt", "verify", rig.proof, "--document", `${folder.path}/sealing.json`],
    ...[...root, "--pcr", `0=${PCR0}`],
  ]);
  assertStringIncludes(sealing.stderr, "not about a receipt key");
  await using another = await proven();
  await folder.write("another.json", JSON.stringify(another.parts));
  const swapped = await tryCtl([
    ...["receipt", "verify", rig.proof, "--document", `${folder.path}/another.json`],
    ...["--root", `${another.folder.path}/root.der`, "--pcr", `0=${PCR0}`, "--json"],
  ]);
  assertStringIncludes(swapped.stderr, "receipt_key");
});

Deno.test("a receipt is read as bytes, hex, base64 and JSON", async () => {
  await using rig = await proven();
  const receipt = decodeBase64(rig.parts.receipt);
  const forms = [
    receipt,
    encodeHex(receipt),
    rig.parts.receipt,
    JSON.stringify({ receipt: rig.parts.receipt }),
  ];
  for (const form of forms) {
    await rig.folder.write("receipt", form);
    const shown = await tryCtl([
      ...["receipt", "verify", `${rig.folder.path}/receipt`, "--document", rig.proof],
      ...["--root", `${rig.folder.path}/root.der`, "--pcr", `0=${PCR0}`],
    ]);
    assertEquals(shown.code, 0, shown.stderr);
  }
});

Deno.test("client process --receipt overwrites no file, and leaves none where there is no receipt", async () => {
  await using rig = await proven();
  const before = await Deno.readTextFile(rig.proof);
  const again = await rig.process();
  assertEquals([again.code, await Deno.readTextFile(rig.proof)], [2, before]);
  await Deno.remove(rig.proof);
  await rig.folder.write("tsk.hex", `${"00".repeat(32)}\n`);
  const failed = await rig.process();
  assertEquals(failed.code, 1);
  assertEquals(await Deno.stat(rig.proof).then(() => true, () => false), false);
});

Deno.test("a refusal by the workflow has a proof too, and the command still fails with it", async () => {
  await using rig = await proven({ data: REFUSED });
  assertEquals(rig.processed.code, 1);
  assertStringIncludes(rig.processed.stderr, "too_much");
  await rig.folder.write("result", "too_much");
  const shown = await rig.verify([
    "--result",
    `${rig.folder.path}/result`,
    "--salt",
    rig.parts.result_salt,
    "--json",
  ]);
  assertEquals(JSON.parse(shown.stdout).outcome, "workflow_failed", shown.stderr);
});
