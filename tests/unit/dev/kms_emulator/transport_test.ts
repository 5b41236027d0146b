/** The local KMS's connections, TLS and limits; and configurations with which it does not start. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { openAwsKms } from "../../../../lib/dev/kms/https_api.ts";
import { type KmsEmulatorOptions, startKmsEmulator } from "../../../../lib/dev/kms_emulator/server.ts";
import { within } from "../../../helpers/deadline.ts";
import { BUILD, KmsPlace, policyFor, ZERO } from "../../../helpers/kms_place.ts";

Deno.test("over TLS a client that trusts the CA is served, and another is not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { place: opened, kms } = await KmsPlace.open(BUILD.old, { tlsFolder: folder });
    await using place = opened;
    (await place.dataKey(kms)).plaintext[Symbol.dispose]();
    await using stranger = await openAwsKms({ endpoint: place.server.url });
    const thrown = await assertRejects(() => place.dataKey(stranger), EnclaveError);
    assertEquals(thrown.code, "kms_unreachable");
    assertEquals(await Deno.readTextFile(`${folder}/ca.pem`), place.server.ca);
    assertEquals(((await Deno.stat(`${folder}/ca.key`)).mode ?? 0) & 0o777, 0o600);
    // The next start has the same CA.
    await using again = await startKmsEmulator({ tlsFolder: folder });
    assertEquals(again.ca, place.server.ca);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const FOLDERS: readonly (readonly [string, (folder: string) => Promise<void>, string])[] = [
  ["half a CA", (folder) => Deno.writeTextFile(`${folder}/ca.pem`, "x"), "missing"],
  ["a key that others can read", async (folder) => {
    await Deno.writeTextFile(`${folder}/ca.pem`, "x");
    await Deno.writeTextFile(`${folder}/ca.key`, "x", { mode: 0o644 });
  }, "chmod 600"],
  ["an invalid CA", async (folder) => {
    await Deno.writeTextFile(`${folder}/ca.pem`, "x");
    await Deno.writeTextFile(`${folder}/ca.key`, "x", { mode: 0o600 });
  }, "no CERTIFICATE"],
];
for (const [what, make, words] of FOLDERS) {
  Deno.test(`a TLS folder with ${what} is refused`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await make(folder);
      const thrown = await assertRejects(() => startKmsEmulator({ tlsFolder: folder }), EnclaveError, words);
      assertEquals(thrown.code, "kms_emulator_tls");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("a request beyond all measure is refused, and the server goes on", async () => {
  await using server = await startKmsEmulator();
  const ask = (body: string) =>
    fetch(server.url, { method: "POST", headers: { "x-amz-target": "TrentService.GenerateRandom" }, body });
  const refused = await ask(" ".repeat(64 * 1024 + 1));
  assertEquals([refused.status, await refused.text()], [413, ""]);
  const served = await ask('{"NumberOfBytes":1}');
  assertEquals([served.status, Object.keys(await served.json())], [200, ["Plaintext"]]);
});

Deno.test("a connection that ends within a request is reported to the operator alone", async () => {
  const problem = Promise.withResolvers<string>();
  await using server = await startKmsEmulator({ onProblem: problem.resolve });
  {
    using connection = await Deno.connect(server);
    await connection.write(
      new TextEncoder().encode("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{"),
    );
  }
  assertMatch(await within(problem.promise, "the report"), /^a request failed: /);
});

Deno.test("the server ends while connections are open", async () => {
  const server = await startKmsEmulator();
  using connection = await Deno.connect(server);
  await connection.write(new TextEncoder().encode("POST"));
  await within(server[Symbol.asyncDispose](), "the server's end");
  await server[Symbol.asyncDispose]();
  assertEquals(await connection.read(new Uint8Array(1)).catch(() => null), null);
});

const OPTIONS: readonly (readonly [string, KmsEmulatorOptions, string])[] = [
  ["plain HTTP for others", { hostname: "0.0.0.0" }, "only on this machine"],
  ["an invalid region", { region: "mars" }, "the region is not valid"],
  ["an invalid account", { account: "1" }, "the account is not valid"],
  ["an invalid caller", { caller: "alice" }, "not the ARN of a caller"],
  [
    "a policy for a key that is not there",
    { policies: [{ key: "x", policy: policyFor([ZERO]) }] },
    "does not exist",
  ],
  ["an invalid policy", { policies: [{ policy: "{" }] }, "Cannot read the key policy"],
  ["an enclave around it", { nsmDevice: "/dev/null" }, "does not run in an enclave"],
];
for (const [what, options, words] of OPTIONS) {
  Deno.test(`the server does not start with ${what}`, async () => {
    await assertRejects(() => startKmsEmulator(options), EnclaveError, words);
  });
}

Deno.test("a port in use is reported", async () => {
  await using server = await startKmsEmulator();
  const thrown = await assertRejects(() => startKmsEmulator({ port: server.port }), EnclaveError);
  assertEquals(thrown.code, "listen_failed");
});
