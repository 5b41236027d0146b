/** The trust store that images get. */
import { assertEquals, assertThrows } from "@std/assert";
import { X509CertificateGenerator } from "../../../../lib/shared/attestation/deps/x509.ts";
import { selectCertificates } from "../../../../lib/ctl/image/trust_store.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";

Deno.test("a bundle without KMS's CA certificates is refused", () => {
  assertThrows(() => selectCertificates("nothing here"), EnclaveError, "None of the 0 certificates");
});

/** A CA of a test, in PEM. */
async function certificateOf(name: string): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, false, ["sign", "verify"]) as CryptoKeyPair;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    signingAlgorithm: algorithm,
  });
  return certificate.toString("pem");
}

Deno.test("a CA whose name only contains that of KMS's is not taken", async () => {
  const amazon = await certificateOf("O=Amazon, CN=Amazon Root CA 1");
  const others = await Promise.all([
    "O=Amazon Web Hosting, CN=Amazon Root CA 1",
    "O=Somebody, CN=Amazon",
    "O=Somebody, OU=O=Amazon",
    "CN=Starfield Services Root Certificate Authority - G2 Copy",
  ].map(certificateOf));
  assertEquals(selectCertificates([...others, amazon].join("\n")).trim(), amazon.trim());
});
