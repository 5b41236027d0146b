/**
 * X.509 certificates: a library for clients that verify documents, and for the simulated module. Not in `deno.json`'s import map and not in
 * `enclave.lock`, since `deno compile` puts every package of a lock file into the binary, and the enclave verifies no documents.
 *
 * Runs in browsers.
 *
 * @module
 */
// The library uses decorator metadata, which must be loaded first.
// deno-lint-ignore no-import-prefix
import "npm:reflect-metadata@0.2.2";

// deno-lint-ignore no-import-prefix
export {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "npm:@peculiar/x509@2.2.0";
