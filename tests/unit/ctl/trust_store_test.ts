/** The trust store that images get. */
import { assertThrows } from "@std/assert";
import { selectCertificates } from "../../../lib/ctl/trust_store.ts";
import { EnclaveError } from "../../../lib/errors.ts";

Deno.test("a bundle without KMS's CA certificates is refused", () => {
  assertThrows(() => selectCertificates("nothing here"), EnclaveError, "None of the 0 certificates");
});
