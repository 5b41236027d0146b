/**
 * The certificate of the local KMS's server, made at each start: its key never leaves this process. Its CA is kept in a folder, so that clients
 * and images need to be given it only once.
 *
 * @module
 */
import {
  AuthorityKeyIdentifierExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
} from "../../shared/attestation/deps/x509.ts";
import { toPem } from "../../shared/attestation/pem.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { derOf, type Holder, issue, ISSUES, keyPem, openKept } from "../certificates.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 3_600_000;
const COMMON = { algorithm: P256, backdatedMs: 3_600_000 } as const;

/** What a TLS server needs. */
interface ServerCertificate {
  /** PEM of the certificate. */
  readonly cert: string;
  /** PEM of its key. */
  readonly key: string;
  /** PEM of the CA, which clients must trust. */
  readonly ca: string;
  /** Path of that file. */
  readonly caFile: string;
}

/** Options of {@link serverCertificate}. */
interface ServerCertificateOptions {
  /** Holds `ca.pem` and `ca.key` (mode 0600); both are made if they are missing. */
  readonly folder: string;
  /** DNS names and IP addresses of the server. */
  readonly names: readonly string[];
  readonly now: Date;
}

/**
 * Makes a server's certificate under the folder's CA. Makes the CA as well if the folder has none.
 *
 * @throws {EnclaveError} `kms_emulator_tls`
 */
export async function serverCertificate(options: ServerCertificateOptions): Promise<ServerCertificate> {
  const { folder, names, now } = options;
  const caFile = `${folder}/ca.pem`;
  let ca: Holder;
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    ca = await openKept({ certificate: caFile, key: `${folder}/ca.key` }, {
      algorithm: P256,
      now,
      make: () => makeCa(now),
    });
  } catch (thrown) {
    throw new EnclaveError(`Cannot use the TLS folder ${folder}: ${messageOf(thrown)}`, {
      code: "kms_emulator_tls",
      hint: "Name a folder that you may write to; remove ca.pem and ca.key together to have new ones.",
      cause: thrown,
    });
  }
  const server = await issue({
    ...COMMON,
    subject: "CN=denclave local KMS server",
    issuer: ca,
    from: now,
    lifeMs: 90 * DAY_MS,
    usages: KeyUsageFlags.digitalSignature,
    extractable: true,
    more: async (keys) => [
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(
        [...new Set(names)].map((value) => ({
          type: isAddress(value) ? "ip" as const : "dns" as const,
          value,
        })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.own),
      await AuthorityKeyIdentifierExtension.create(keys.issuer),
    ],
  });
  return {
    cert: toPem("CERTIFICATE", derOf(server)),
    key: await keyPem(server),
    ca: toPem("CERTIFICATE", derOf(ca)),
    caFile,
  };
}

function isAddress(name: string): boolean {
  return name.includes(":") || /^[0-9]+(\.[0-9]+){3}$/.test(name);
}

function makeCa(from: Date): Promise<Holder> {
  return issue({
    ...COMMON,
    subject: "CN=denclave local KMS, O=denclave, OU=For development",
    from,
    lifeMs: 3650 * DAY_MS,
    usages: ISSUES,
    pathLength: 0,
    extractable: true,
    more: async ({ own }) => [await SubjectKeyIdentifierExtension.create(own)],
  });
}
