/**
 * Cuts a bundle of all public authorities down to those that KMS's certificates chain to: TLS is all that authenticates KMS's answers, so an
 * authority more is a way in more.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import { EXIT, UsageError } from "../lib/cli/options.ts";
import { describeFailure } from "../lib/cli/run.ts";
import { EnclaveError } from "../lib/errors.ts";

/** Amazon Trust Services (https://www.amazontrust.com/repository/), commercial partitions. */
const AUTHORITIES: readonly RegExp[] = [
  /^O=Amazon$/m,
  /^CN=Starfield Services Root Certificate Authority - G2$/m,
];

/**
 * The certificates of a PEM bundle whose subject is one of {@link AUTHORITIES}, as they stand.
 *
 * @throws {EnclaveError} `trust_store` when none is there.
 */
export function selectAuthorities(bundle: string): string {
  const certificates = bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  const selected = certificates.filter((pem) => {
    const { subject } = new X509Certificate(pem);
    return AUTHORITIES.some((authority) => authority.test(subject));
  });
  if (selected.length === 0) {
    throw new EnclaveError(`None of the ${certificates.length} certificates is an authority of KMS`, {
      code: "trust_store",
      hint: "Pass the distribution's whole bundle of certificates.",
    });
  }
  return `${selected.join("\n")}\n`;
}

if (import.meta.main) {
  try {
    const [from, to] = Deno.args;
    if (from === undefined || to === undefined) {
      throw new UsageError("usage: deno task trust-store <bundle.pem> <output.pem>");
    }
    const selected = selectAuthorities(await Deno.readTextFile(from));
    await Deno.writeTextFile(to, selected);
    console.log(`${to}: ${selected.split("BEGIN CERTIFICATE").length - 1} authorities`);
    Deno.exit(EXIT.ok);
  } catch (thrown) {
    const { text, exitCode } = describeFailure(thrown);
    Deno.stderr.writeSync(new TextEncoder().encode(text));
    Deno.exit(exitCode);
  }
}
