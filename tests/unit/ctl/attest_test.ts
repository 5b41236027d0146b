/** `denclavectl attest verify` on a real document, and the options that say what it must be. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { encodeBase64, encodeHex } from "@std/encoding";
import { AttestationError } from "../../../lib/attestation/errors.ts";
import {
  expectedPcrs,
  nonceOf,
  verificationTime,
  VERIFY_OPTIONS,
} from "../../../lib/ctl/attestation_options.ts";
import { parseOptions, UsageError } from "../../../lib/cli/options.ts";
import { runAttest } from "../../../lib/ctl/attest.ts";
import { realDocuments } from "../../helpers/vectors.ts";

const options = (...argv: string[]) => parseOptions(VERIFY_OPTIONS, argv);

async function verify(...argv: string[]) {
  const out = { stdout: "", stderr: "" };
  const code = await runAttest("verify", argv, {
    stdout: (text) => void (out.stdout += text),
    stderr: (text) => void (out.stderr += text),
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    env: () => undefined,
    untilSignal: () => Promise.resolve("SIGTERM"),
  });
  return { code, ...out };
}

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
  const forms = [
    ["the document itself", bytes],
    ["base64", base64],
    ["base64 and a newline", `${base64}\n`],
    ["a reply", JSON.stringify({ status: "ok", attestation_document: base64 }, null, 2)],
  ] as const;
  for (const [what, content] of forms) {
    Deno.test(`a real document is verified from a file that holds ${what}`, async () => {
      await using file = await fileOf(content);
      const { code, stdout, stderr } = await verify(file.path, "--at", at.toISOString(), "--json");
      const said = JSON.parse(stdout);
      assertEquals([code, said.debug, said.made], [0, "no", at.toISOString()]);
      assertStringIncludes(stderr, "--nonce");
      assertStringIncludes(stderr, "--pcr");
      const nonce = Uint8Array.from(said.nonce.match(/../g), (pair: string) => parseInt(pair, 16));
      const pcr = `0=${said.PCR0.toUpperCase()}`;
      const exact = await verify(file.path, "--at", "made", "--nonce", encodeBase64(nonce), "--pcr", pcr);
      assertEquals([exact.code, exact.stderr], [0, ""]);
      assert(exact.stdout.includes(said.PCR0));
    });
  }

  const refused = [
    ["now, three years later", [], "attestation_expired"],
    ["with another nonce", ["--at", "made", "--nonce", "AAAA"], "attestation_nonce"],
    ["with another PCR", ["--at", "made", "--pcr", `2=${"ab".repeat(48)}`], "attestation_pcr"],
  ] as const;
  for (const [what, argv, code] of refused) {
    Deno.test(`a real document is refused ${what}`, async () => {
      await using file = await fileOf(bytes);
      assertEquals((await assertRejects(() => verify(file.path, ...argv), AttestationError)).code, code);
    });
  }

  Deno.test("a real document of a debug enclave is refused, unless that is wanted", async () => {
    await using file = await fileOf(real.debug.bytes);
    const error = await assertRejects(() => verify(file.path, "--at", "made"), AttestationError);
    assertEquals(error.code, "attestation_debug");
    assertEquals((await verify(file.path, "--at", "made", "--allow-debug")).code, 0);
  });
}

Deno.test("what is no document is refused as such, by the file's name", async () => {
  for (const content of ["", "%%%", "{}", '{"attestation_document":7}', "A".repeat(70_000)]) {
    await using file = await fileOf(content);
    await assertRejects(() => verify(file.path), Error);
  }
  assertStringIncludes((await assertRejects(() => verify("/none/such"), UsageError)).message, "/none/such");
  await assertRejects(() => verify(), UsageError);
  await assertRejects(() => verify("a", "b"), UsageError);
});

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
