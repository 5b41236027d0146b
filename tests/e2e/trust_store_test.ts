/** `denclavectl eif trust-store` over all public CA certificates. */
import { assert, assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { runCtl } from "../helpers/ctl_process.ts";

Deno.test("of all public CA certificates those of Amazon Trust Services are taken, and no other could forge KMS's answers", async () => {
  const folder = await Deno.makeTempDir({ prefix: "denclave-trust-" });
  try {
    // Mozilla's, as Deno brings them.
    assert(rootCertificates.length > 100);
    await Deno.writeTextFile(`${folder}/bundle.pem`, rootCertificates.join("\n"));
    const { code, stderr } = await runCtl([
      "eif",
      "trust-store",
      `${folder}/bundle.pem`,
      `${folder}/kms.pem`,
    ]);
    assertEquals(code, 0, stderr);
    const selected = await Deno.readTextFile(`${folder}/kms.pem`);
    const pems = selected.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
    const names = pems.map((pem) => /^CN=(.*)$/m.exec(new X509Certificate(pem).subject)?.[1]);
    assertEquals(names.toSorted(), [
      "Amazon Root CA 1",
      "Amazon Root CA 2",
      "Amazon Root CA 3",
      "Amazon Root CA 4",
      "Starfield Services Root Certificate Authority - G2",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
