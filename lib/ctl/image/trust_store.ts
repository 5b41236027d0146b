/**
 * Cuts a bundle of CA certificates down to those that KMS's certificates chain to. TLS alone authenticates
 * KMS's answers, so every further CA could forge them.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import { EnclaveError } from "../../shared/errors.ts";

/** Amazon Trust Services (https://www.amazontrust.com/repository/), commercial partitions. */
const KMS_CA_SUBJECTS: readonly RegExp[] = [
  /^O=Amazon$/m,
  /^CN=Starfield Services Root Certificate Authority - G2$/m,
];

/**
 * The certificates of a PEM bundle whose subject is one of {@link KMS_CA_SUBJECTS}, as they stand.
 *
 * @throws {EnclaveError} `trust_store` when none is there.
 */
export function selectCertificates(bundle: string): string {
  const certificates = bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  const selected = certificates.filter((pem) => {
    const { subject } = new X509Certificate(pem);
    return KMS_CA_SUBJECTS.some((pattern) => pattern.test(subject));
  });
  if (selected.length === 0) {
    throw new EnclaveError(`None of the ${certificates.length} certificates is a CA of KMS`, {
      code: "trust_store",
      hint: "Give the distribution's complete bundle of CA certificates.",
    });
  }
  return `${selected.join("\n")}\n`;
}
