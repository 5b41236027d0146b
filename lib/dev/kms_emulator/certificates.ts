/**
 * The CA of the local KMS's certificate. It is kept in a folder, so that clients and images need to be given it only once; the server's certificate
 * is made at each start, and its key never leaves this process.
 *
 * @module
 */
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "../../shared/attestation/deps/x509.ts";
import { fromPem, toPem } from "../../shared/attestation/pem.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readIfThere, readSecretText } from "../../shared/files.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 3_600_000;
const CA_DAYS = 3650;
const SERVER_DAYS = 90;
const BACKDATED_MS = 3_600_000;
const CA_NAME = "CN=denclave local KMS, O=denclave, OU=For development";
const CERTIFICATE_FILE = "ca.pem";
const KEY_FILE = "ca.key";

/** What a TLS server needs. */
export interface ServerCertificate {
  /** PEM of the certificate. */
  readonly cert: string;
  /** PEM of its key. */
  readonly key: string;
  /** PEM of the CA, which clients must trust. */
  readonly ca: string;
  /** Path of that file. */
  readonly caFile: string;
}

interface Ca {
  readonly certificate: X509Certificate;
  readonly key: CryptoKey;
}

/** Options of {@link serverCertificate}. */
export interface ServerCertificateOptions {
  /** Holds `ca.pem` and `ca.key` (mode 0600); both are made if they are missing. */
  readonly folder: string;
  /** DNS names and IP addresses of the server. */
  readonly names: readonly string[];
  readonly now: () => Date;
}

function folderError(folder: string, what: string, cause?: unknown): EnclaveError {
  return new EnclaveError(`Cannot use the TLS folder ${folder}: ${what}`, {
    code: "kms_emulator_tls",
    hint: "Name a folder that you may write to; remove ca.pem and ca.key together to have new ones.",
    cause,
  });
}

/**
 * Makes a server's certificate under the folder's CA. Makes the CA as well if the folder has none.
 *
 * @throws {EnclaveError} `kms_emulator_tls`
 */
export async function serverCertificate(options: ServerCertificateOptions): Promise<ServerCertificate> {
  const { folder, names, now } = options;
  const ca = await readCa(folder) ?? await makeCa(folder, now());
  const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject: "CN=denclave local KMS server",
    issuer: ca.certificate.subject,
    notBefore: new Date(now().getTime() - BACKDATED_MS),
    notAfter: new Date(now().getTime() + SERVER_DAYS * DAY_MS),
    signingAlgorithm: P256,
    publicKey: keys.publicKey,
    signingKey: ca.key,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(
        [...new Set(names)].map((value) => ({
          type: isAddress(value) ? "ip" as const : "dns" as const,
          value,
        })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(ca.certificate.publicKey),
    ],
  });
  return {
    cert: toPem("CERTIFICATE", new Uint8Array(certificate.rawData)),
    key: toPem("PRIVATE KEY", new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey))),
    ca: toPem("CERTIFICATE", new Uint8Array(ca.certificate.rawData)),
    caFile: `${folder}/${CERTIFICATE_FILE}`,
  };
}

function isAddress(name: string): boolean {
  return name.includes(":") || /^[0-9]+(\.[0-9]+){3}$/.test(name);
}

async function readCa(folder: string): Promise<Ca | undefined> {
  try {
    const certificate = await readIfThere(`${folder}/${CERTIFICATE_FILE}`);
    const key = await readIfThere(`${folder}/${KEY_FILE}`, readSecretText);
    if (certificate === undefined && key === undefined) return undefined;
    if (certificate === undefined || key === undefined) {
      throw new TypeError(`one of ${CERTIFICATE_FILE} and ${KEY_FILE} is missing`);
    }
    return {
      certificate: new X509Certificate(fromPem("CERTIFICATE", certificate)),
      key: await crypto.subtle.importKey("pkcs8", fromPem("PRIVATE KEY", key), P256, false, ["sign"]),
    };
  } catch (thrown) {
    throw folderError(folder, messageOf(thrown), thrown);
  }
}

async function makeCa(folder: string, now: Date): Promise<Ca> {
  const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject: CA_NAME,
    issuer: CA_NAME,
    notBefore: new Date(now.getTime() - BACKDATED_MS),
    notAfter: new Date(now.getTime() + CA_DAYS * DAY_MS),
    signingAlgorithm: P256,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    // The key is written first, so that no certificate is left without its key.
    await Deno.writeTextFile(`${folder}/${KEY_FILE}`, toPem("PRIVATE KEY", key), {
      mode: 0o600,
      createNew: true,
    });
    await Deno.writeTextFile(
      `${folder}/${CERTIFICATE_FILE}`,
      toPem("CERTIFICATE", new Uint8Array(certificate.rawData)),
      { createNew: true },
    );
  } catch (thrown) {
    throw folderError(folder, messageOf(thrown), thrown);
  } finally {
    key.fill(0);
  }
  return { certificate, key: keys.privateKey };
}
