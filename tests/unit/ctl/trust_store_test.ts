/** The trust store that images get. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { selectCertificates } from "../../../lib/ctl/trust_store.ts";
import { EnclaveError } from "../../../lib/errors.ts";

Deno.test("a bundle without KMS's CA certificates is refused", () => {
  assertThrows(() => selectCertificates("nothing here"), EnclaveError, "None of the 0 certificates");
});

Deno.test("of all public CA certificates those of Amazon Trust Services are taken, and no other could forge KMS's answers", () => {
  // Mozilla's, as Deno brings them.
  assert(rootCertificates.length > 100);
  const selected = selectCertificates(rootCertificates.join("\n"));
  const pems = selected.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  const names = pems.map((pem) => /^CN=(.*)$/m.exec(new X509Certificate(pem).subject)?.[1]);
  assertEquals(names.toSorted(), [
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
  ]);
});
