/** The local KMS's connections: TLS, HTTP, limits; and configurations with which it does not start. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { AwsKms } from "../../../../lib/dev/kms/aws.ts";
import { KmsEmulator, type KmsEmulatorOptions } from "../../../../lib/dev/kms_emulator/mod.ts";
import { within } from "../../../helpers/deadline.ts";
import { BUILD, exchange, KmsPlace, policyFor, ZERO } from "../../../helpers/kms_place.ts";

Deno.test("over TLS a client that trusts the CA is served, and another is not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { place: opened, kms } = await KmsPlace.open(BUILD.old, { tlsFolder: folder });
    await using place = opened;
    (await kms.generateRandom(place.access, 1))[Symbol.dispose]();
    await using stranger = AwsKms.open({
      endpoint: place.server.url,
      attemptMs: 3_000,
      sleep: () => Promise.resolve(),
    });
    const thrown = await assertRejects(() => stranger.generateRandom(place.access, 1), EnclaveError);
    assertEquals(thrown.code, "kms_unreachable");
    assertEquals(await Deno.readTextFile(`${folder}/ca.pem`), place.server.ca);
    assertEquals(((await Deno.stat(`${folder}/ca.key`)).mode ?? 0) & 0o777, 0o600);
    // The next start has the same CA.
    await using again = await KmsEmulator.start({ tlsFolder: folder });
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
      const thrown = await assertRejects(() => KmsEmulator.start({ tlsFolder: folder }), EnclaveError, words);
      assertEquals(thrown.code, "kms_emulator_tls");
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
  ["has no head that ends", [head(0).padEnd(32 * 1024 + 1, "a")], "MalformedHttpRequestException"],
  ["has an invalid header", [head(0, "no header\r\n\r\n")], "a line is not a header"],
  ["has two lengths", [head(0, "content-length: 1\r\n\r\n")], "content-length came twice"],
  ["has no number for a length", [head("1a", "\r\n")], "Content-Length is not a number"],
  ["is chunked", [head(0, "transfer-encoding: chunked\r\n\r\n")], "only Content-Length is supported"],
  ["is too long", [head(64 * 1024 + 1, "\r\n")], "HTTP/1.1 413"],
];
for (const [what, parts, expected] of RAW) {
  Deno.test(`a request that ${what} gets ${expected}`, async () => {
    await using server = await KmsEmulator.start();
    const text = await within(exchange(server, ...parts), "the answer");
    assertStringIncludes(text, expected);
  });
}

Deno.test("requests on one connection are answered in order, whole", async () => {
  await using server = await KmsEmulator.start();
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
  await using server = await KmsEmulator.start({
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
  await using server = await KmsEmulator.start({ limits: { maxConnections: 1 }, onProblem: refused.resolve });
  using first = await Deno.connect(server);
  const body = `${head(BODY.length)}\r\n${BODY}`;
  await first.write(new TextEncoder().encode(body));
  await first.read(new Uint8Array(1));
  using second = await Deno.connect(server);
  assertStringIncludes(await within(refused.promise, "the refusal"), "there are 1 already");
  assertEquals(await within(second.read(new Uint8Array(1)).catch(() => null), "the end"), null);
});

Deno.test("the server ends while connections are open", async () => {
  const server = await KmsEmulator.start();
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
    await assertRejects(() => KmsEmulator.start(options), EnclaveError, words);
  });
}

Deno.test("a port in use is reported", async () => {
  await using server = await KmsEmulator.start();
  const thrown = await assertRejects(() => KmsEmulator.start({ port: server.port }), EnclaveError);
  assertEquals(thrown.code, "listen_failed");
});
