/** `denclavectl attest verify` on a real document, and the options that say what it must be. */
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { verifyDocument } from "../../../../lib/shared/attestation/document.ts";
import { AttestationError } from "../../../../lib/shared/attestation/errors.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { ATTEST_VERIFY, nonceOf, verificationTime } from "../../../../lib/ctl/commands/attest.ts";
import { expectedEnclave, expectedPcrs } from "../../../../lib/ctl/commands/attestation_options.ts";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import { AWS_NITRO_ROOT } from "../../../../lib/shared/attestation/root.ts";
import { encodeForm, INDEFINITE } from "../../../helpers/cbor_forms.ts";
import { callCtl } from "../../../helpers/ctl_io.ts";
import { realDocuments } from "../../../helpers/vectors.ts";

const options = (...argv: string[]) => parseOptions(ATTEST_VERIFY.options, argv);
const verify = (...argv: string[]) => callCtl(["attest", "verify", ...argv]);

/** A document in a file, for as long as the test takes. */
async function fileOf(content: Uint8Array | string) {
  const path = await Deno.makeTempFile({ prefix: "denclave-attest-" });
  await (typeof content === "string" ? Deno.writeTextFile(path, content) : Deno.writeFile(path, content));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

const real = realDocuments();
if (real !== undefined) {
  const { bytes, at } = real.production;
  const base64 = encodeBase64(bytes);
  const base64url = base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const hex = encodeHex(bytes);
  const forms = [
    ["the document itself", bytes],
    ["base64", base64],
    ["base64 in lines", base64.replace(/.{76}/g, "$&\n")],
    ["base64url without padding", base64url],
    ["hex", hex],
    ["hex in pairs", hex.replace(/../g, "$& ")],
    ["a reply", JSON.stringify({ status: "ok", attestation_document: base64 }, null, 2)],
    ["a wallet's reply", JSON.stringify({ attestationDocument: base64 })],
    ["another tool's JSON with hex", JSON.stringify({ attestation_doc: hex })],
  ] as const;
  /** What the caller of the document knew. */
  const known = async () => {
    const { nonce, pcrs } = await verifyDocument(bytes, {
      at,
      insecureSkipPcrs: true,
      insecureSkipNonce: true,
    });
    const pcr = (index: number) => (pcrs.get(index) ?? "").toUpperCase();
    return { nonce: encodeBase64(nonce ?? new Uint8Array(0)), pcr0: pcr(0), pcr4: pcr(4), pcr8: pcr(8) };
  };
  for (const [what, content] of forms) {
    Deno.test(`a real document is verified from a file that holds ${what}`, async () => {
      await using file = await fileOf(content);
      const { nonce, pcr0 } = await known();
      const exact = await verify(file.path, "--at", "made", "--nonce", nonce, "--pcr", `0=${pcr0}`, "--json");
      const shown = JSON.parse(exact.stdout);
      assertEquals([exact.code, shown.PCR0, shown.fresh], [0, pcr0.toLowerCase(), "no"]);
      assertStringIncludes(exact.stderr, "Not fresh");
    });
  }

  const refused = [
    ["now, three years later", ["--nonce", "NONCE", "--pcr", "0=PCR0"], "attestation_expired"],
    ["without a nonce", ["--pcr", "0=PCR0"], "attestation_nonce"],
    ["as a stored one, without its nonce", ["--at", "made", "--pcr", "0=PCR0"], "attestation_nonce"],
    ["with another nonce", ["--at", "made", "--nonce", "AAAA", "--pcr", "0=PCR0"], "attestation_nonce"],
    [
      "with another PCR",
      ["--at", "made", "--nonce", "NONCE", "--pcr", `0=PCR0,2=${"ab".repeat(48)}`],
      "attestation_pcr",
    ],
  ] as const;
  const fill = async (argv: readonly string[]) => {
    const { nonce, pcr0, pcr4, pcr8 } = await known();
    return argv.map((arg) =>
      arg.replace("NONCE", nonce).replace("PCR0", pcr0).replace("PCR4", pcr4).replace("PCR8", pcr8)
    );
  };
  for (const [what, argv, code] of refused) {
    Deno.test(`a real document is refused ${what}`, async () => {
      await using file = await fileOf(bytes);
      const filled = await fill(argv);
      assertEquals((await assertRejects(() => verify(file.path, ...filled), AttestationError)).code, code);
    });
  }

  for (
    const argv of [[], ["--pcr", "4=PCR4"], ["--pcr", `0=${"00".repeat(48)}`], ["--pcr", "0=PCR0,0=PCR4"]]
  ) {
    Deno.test(`a real document is not verified with ${argv.join(" ") || "no PCR"}: that is a usage error`, async () => {
      await using file = await fileOf(bytes);
      const filled = await fill(["--at", "made", "--nonce", "NONCE", ...argv]);
      await assertRejects(() => verify(file.path, ...filled), UsageError);
    });
  }

  Deno.test("PCR8 alone will do, with a warning; the checks that are skipped are named on stderr", async () => {
    await using file = await fileOf(bytes);
    const run = async (...argv: string[]) => {
      const { code, stderr } = await verify(file.path, "--at", "made", ...await fill(argv));
      assertEquals(code, 0);
      return stderr;
    };
    assertStringIncludes(await run("--nonce", "NONCE", "--pcr", "8=PCR8"), "every image");
    assertStringIncludes(await run("--nonce", "NONCE", "--insecure-skip-pcrs"), "any enclave");
    assertStringIncludes(await run("--pcr", "0=PCR0", "--insecure-skip-nonce"), "replay");
  });

  Deno.test("a real document of December 2025 is verified, and one of a debug enclave of August is refused", async () => {
    const pcr0 =
      "eb7d0dab08ff41546d7e5659aee883af7b32bb2e58e46815b719f9f7bfae7b880188a10d86317e6509923740526cf74a";
    const stored = ["--at", "made", "--insecure-skip-nonce", "--pcr", `0=${pcr0}`];
    await using current = await fileOf(real.production2025.bytes);
    assertEquals((await verify(current.path, ...stored)).code, 0);
    await using inDebug = await fileOf(real.debug2025.bytes);
    const error = await assertRejects(() => verify(inDebug.path, ...stored), AttestationError, "debug mode");
    assertEquals(error.code, "attestation_debug");
  });

  Deno.test("a real document of a debug enclave is refused, unless that is wanted", async () => {
    await using file = await fileOf(real.debug.bytes);
    const skip = ["--at", "made", "--insecure-skip-pcrs", "--insecure-skip-nonce"];
    const error = await assertRejects(() => verify(file.path, ...skip), AttestationError);
    assertEquals(error.code, "attestation_debug");
    const { code, stderr } = await verify(file.path, ...skip, "--insecure-skip-debug-check");
    assertEquals(code, 0);
    assertStringIncludes(stderr, "debug mode");
  });
}

const CERTIFICATE = encodeBase64(AWS_NITRO_ROOT);
const NO_DOCUMENTS: readonly (readonly [string, Uint8Array | string, string])[] = [
  ["nothing", "", "it is empty"],
  ["words", "no document", "neither hex nor base64"],
  ["JSON without fields", "{}", "it has no fields"],
  [
    "another reply",
    '{"status":"ok","msg":"pong","\\u001b[2J":1}',
    "JSON without a document; it has status, msg",
  ],
  [
    "JSON with a document that is a number",
    '{"attestation_document":7}',
    "its attestation_document is not a text",
  ],
  ["half of a JSON object", '{"attestation_document":"hE', "JSON and is not valid"],
  [
    "a certificate in PEM",
    `-----BEGIN CERTIFICATE-----\n${CERTIFICATE}\n-----END CERTIFICATE-----\n`,
    "PEM of a certificate",
  ],
  ["a certificate in base64", CERTIFICATE, "it is base64 of bytes that are not a COSE_Sign1"],
  ["a payload without its signature", encodeForm({ module_id: "i" }, INDEFINITE), "it is a CBOR map"],
  ["too much", "A".repeat(70_000), "longer than 65536 bytes"],
];
for (const [what, content, words] of NO_DOCUMENTS) {
  Deno.test(`a file that holds ${what} is refused by its name, and the error says what it holds`, async () => {
    await using file = await fileOf(content);
    const error = await assertRejects(
      () => verify(file.path, "--nonce", "AAAA", "--pcr", `0=${"ab".repeat(48)}`),
      EnclaveError,
      words,
    );
    assertEquals([error.code, error.message.includes(file.path)], ["usage", true]);
    // deno-lint-ignore no-control-regex
    assertEquals(/[\x00-\x1f]/.test(error.message), false);
  });
}

Deno.test("PCRs, nonce and time are read, or refused by the option's name", () => {
  const pcr = "AB".repeat(48);
  assertEquals(expectedPcrs(options("--pcr", `0=${pcr},31=${pcr}`)), {
    0: pcr.toLowerCase(),
    31: pcr.toLowerCase(),
  });
  for (const bad of ["0=ab", `32=${pcr}`, pcr, `x=${pcr}`, `0=${pcr}00`]) {
    assertThrows(() => expectedPcrs(options("--pcr", bad)), UsageError, "--pcr");
  }
  assertEquals(encodeHex(nonceOf(options("--nonce", "AQI=")) ?? new Uint8Array(0)), "0102");
  for (const bad of ["", "%"]) assertThrows(() => nonceOf(options("--nonce", bad)), UsageError, "--nonce");
  assertEquals([verificationTime(options()), verificationTime(options("--at", "made"))], [undefined, "made"]);
  assertEquals(verificationTime(options("--at", "2026-01-02T03:04:05Z")), new Date("2026-01-02T03:04:05Z"));
  assertThrows(() => verificationTime(options("--at", "soon")), UsageError, "--at");
});

Deno.test("measurement files are expected as builds; they and --pcr may not disagree", async () => {
  const measured = (digit: string) => ({
    Measurements: {
      HashAlgorithm: "Sha384 { ... }",
      PCR0: `0${digit}`.repeat(48),
      PCR1: "11".repeat(48),
      PCR2: "22".repeat(48),
    },
  });
  await using one = await fileOf(JSON.stringify(measured("1")));
  await using several = await fileOf(JSON.stringify([measured("2"), measured("3")]));
  const read = (...argv: string[]) => expectedEnclave(options(...argv), { stderr: () => {} });
  const { pcrs } = await read("-m", one.path, "-m", several.path, "--pcr", `8=${"88".repeat(48)}`);
  assertEquals(pcrs.map((build) => [build[0]?.slice(0, 2), build[1]?.slice(0, 2), build[8]?.slice(0, 2)]), [
    ["01", "11", "88"],
    ["02", "11", "88"],
    ["03", "11", "88"],
  ]);
  await assertRejects(() => read("-m", one.path, "--pcr", `0=${"02".repeat(48)}`), UsageError, "disagree");
  await assertRejects(() => read("-m", "/none/such"), Error, "/none/such");
});

Deno.test("PCR8 alone causes a warning, PCR0 beside it none, and PCR3 and PCR4 alone are a usage error", async () => {
  const pcr = "ab".repeat(48);
  const warningOf = async (...argv: string[]) => {
    let printed = "";
    await expectedEnclave(options(...argv), { stderr: (text) => void (printed += text) });
    return printed;
  };
  assertStringIncludes(await warningOf("--pcr", `8=${pcr}`), "PCR8 alone accepts every image");
  assertEquals(await warningOf("--pcr", `0=${pcr},8=${pcr}`), "");
  await assertRejects(() => warningOf("--pcr", `3=${pcr},4=${pcr}`), UsageError, "neither PCR0");
});
