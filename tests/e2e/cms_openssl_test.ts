/** The envelope of KMS's answers, opened and read by OpenSSL. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { envelopData, openEnvelopedData } from "../../lib/dev/kms_emulator/enveloped_data.ts";
import { within } from "../helpers/deadline.ts";
import { skipTests } from "../helpers/skip.ts";

const RSA = { name: "RSA-OAEP", publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" } as const;
const RUN_MS = 20_000;

interface Ran {
  readonly code: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
}

async function openssl(...args: readonly string[]): Promise<Ran> {
  const child = new Deno.Command("openssl", {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await within(child.output(), "openssl's end", RUN_MS);
  return { code, stdout, stderr: new TextDecoder().decode(stderr) };
}

const version = await openssl("version").catch(() => undefined);
const hasOpenssl = version !== undefined && /OpenSSL [3-9]/.test(new TextDecoder().decode(version.stdout));
if (!hasOpenssl) skipTests("the tests with OpenSSL, since there is no version 3");

/** An envelope and its key as files. */
async function made(
  plaintext: Uint8Array,
  modulusLength = 2048,
): Promise<
  AsyncDisposable & {
    readonly envelope: string;
    readonly key: string;
    readonly folder: string;
    readonly keys: CryptoKeyPair;
  }
> {
  const folder = await Deno.makeTempDir({ prefix: "denclave-cms-" });
  const keys = await crypto.subtle.generateKey({ ...RSA, modulusLength }, true, ["encrypt", "decrypt"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  await Deno.writeTextFile(
    `${folder}/key.pem`,
    `-----BEGIN PRIVATE KEY-----\n${
      encodeBase64(pkcs8).replace(/.{64}/g, "$&\n")
    }\n-----END PRIVATE KEY-----\n`,
    { mode: 0o600 },
  );
  await Deno.writeFile(`${folder}/envelope`, await envelopData(spki, plaintext));
  return {
    folder,
    keys,
    envelope: `${folder}/envelope`,
    key: `${folder}/key.pem`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

for (const [length, bits] of [[0, 2048], [32, 2048], [1024, 3072], [4096, 4096]] as const) {
  Deno.test({
    name: `OpenSSL opens an envelope of ${length} bytes for a key of ${bits} bits`,
    ignore: !hasOpenssl,
    fn: async () => {
      const plaintext = crypto.getRandomValues(new Uint8Array(length));
      await using files = await made(plaintext, bits);
      const { code, stdout, stderr } = await openssl(
        ...["cms", "-decrypt", "-inform", "DER", "-binary", "-in", files.envelope, "-inkey", files.key],
      );
      assertEquals([code, stderr], [0, ""]);
      assertEquals(new Uint8Array(stdout), plaintext);
    },
  });
}

Deno.test({
  name: "OpenSSL reads the envelope's form as it should be",
  ignore: !hasOpenssl,
  fn: async () => {
    await using files = await made(new Uint8Array(32));
    const parsed = await openssl("asn1parse", "-inform", "DER", "-in", files.envelope);
    const text = new TextDecoder().decode(parsed.stdout);
    assertEquals([parsed.code, text.match(/l=inf/g)?.length, text.match(/EOC/g)?.length], [0, 5, 5], text);
    const printed = await openssl(
      ...["cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", files.envelope],
    );
    const cms = new TextDecoder().decode(printed.stdout);
    assertEquals(printed.code, 0, printed.stderr);
    for (
      const words of [
        "contentType: pkcs7-envelopedData",
        "d.subjectKeyIdentifier",
        "algorithm: rsaesOaep",
        "algorithm: aes-256-cbc",
        "contentType: pkcs7-data",
      ]
    ) assertStringIncludes(cms, words);
    assertEquals(cms.match(/version: 2/g)?.length, 2, cms);
  },
});

Deno.test({
  name: "an envelope that OpenSSL made opens here",
  ignore: !hasOpenssl,
  fn: async () => {
    await using files = await made(new Uint8Array(1));
    const plaintext = crypto.getRandomValues(new Uint8Array(48));
    await Deno.writeFile(`${files.folder}/plain`, plaintext);
    const request = await openssl(
      ...["req", "-x509", "-new", "-key", files.key, "-subj", "/CN=enclave", "-days", "1"],
      ...["-addext", `subjectKeyIdentifier=${"AB:".repeat(31)}AB`, "-out", `${files.folder}/cert.pem`],
    );
    assertEquals(request.code, 0, request.stderr);
    const encrypted = await openssl(
      ...["cms", "-encrypt", "-binary", "-aes-256-cbc", "-stream", "-indef", "-outform", "DER", "-keyid"],
      ...[
        "-in",
        `${files.folder}/plain`,
        "-out",
        `${files.folder}/theirs`,
        "-recip",
        `${files.folder}/cert.pem`,
      ],
      ...[
        "-keyopt",
        "rsa_padding_mode:oaep",
        "-keyopt",
        "rsa_oaep_md:sha256",
        "-keyopt",
        "rsa_mgf1_md:sha256",
      ],
    );
    assertEquals(encrypted.code, 0, encrypted.stderr);
    const theirs = await Deno.readFile(`${files.folder}/theirs`);
    assertEquals(await openEnvelopedData(files.keys.privateKey, theirs), plaintext);
  },
});
