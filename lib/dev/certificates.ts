/**
 * Certificates that the development tools issue, and an issuer that is kept in two files: the certificate, which others are given, and its key.
 *
 * Permission: read and write of the files.
 *
 * @module
 */
import {
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "../shared/attestation/deps/x509.ts";
import { fromPem, toPem } from "../shared/attestation/pem.ts";
import { readIfThere, readSecretText } from "../shared/files.ts";

/** An algorithm of keys and signatures. */
interface Algorithm {
  readonly name: "ECDSA";
  readonly namedCurve: "P-256" | "P-384";
  readonly hash: "SHA-256" | "SHA-384";
}

/** A certificate and its private key. */
export interface Holder {
  readonly certificate: X509Certificate;
  readonly privateKey: CryptoKey;
}

/** The contents of a certificate. */
interface Issue {
  readonly algorithm: Algorithm;
  readonly subject: string;
  /** Itself if undefined. */
  readonly issuer?: Holder | undefined;
  readonly from: Date;
  readonly lifeMs: number;
  /** A verifier's clock may be behind this one. Milliseconds. */
  readonly backdatedMs: number;
  readonly usages: number;
  /** How many CA certificates may follow below it; undefined for a certificate that issues none. */
  readonly pathLength?: number | undefined;
  readonly more?: (keys: { readonly own: CryptoKey; readonly issuer: CryptoKey }) => Promise<Extension[]>;
  /** Whether the private key can be exported. */
  readonly extractable?: boolean;
}

/** The usages of a certificate that issues others. */
export const ISSUES = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;
const PROBE = new Uint8Array(32);

/** Issues a certificate for a new key. */
export async function issue(
  { algorithm, subject, issuer, from, lifeMs, backdatedMs, usages, pathLength, more, extractable = false }:
    Issue,
): Promise<Holder> {
  const keys = await crypto.subtle.generateKey(algorithm, extractable, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    notBefore: new Date(from.getTime() - backdatedMs),
    notAfter: new Date(from.getTime() + lifeMs),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: (issuer ?? keys).privateKey,
    extensions: [
      new BasicConstraintsExtension(pathLength !== undefined, pathLength, true),
      new KeyUsagesExtension(usages, true),
      ...await more?.({
        own: keys.publicKey,
        issuer: await issuer?.certificate.publicKey.export() ?? keys.publicKey,
      }) ?? [],
    ],
  });
  return { certificate, privateKey: keys.privateKey };
}

/** DER of a certificate. */
export function derOf({ certificate }: Pick<Holder, "certificate">): Uint8Array<ArrayBuffer> {
  return new Uint8Array(certificate.rawData);
}

/** PEM of a private key, PKCS #8. */
export async function keyPem({ privateKey }: Pick<Holder, "privateKey">): Promise<string> {
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey));
  try {
    return toPem("PRIVATE KEY", pkcs8);
  } finally {
    pkcs8.fill(0);
  }
}

/** Where an issuer is kept. */
interface KeptFiles {
  readonly certificate: string;
  /** Mode 0600. */
  readonly key: string;
}

/**
 * Opens the issuer in two files, or makes it if neither exists.
 *
 * @param make with an extractable key
 * @throws {Error} what is wrong with the files
 */
export async function openKept(
  files: KeptFiles,
  { algorithm, now, make }: {
    readonly algorithm: Algorithm;
    readonly now: Date;
    readonly make: () => Promise<Holder>;
  },
): Promise<Holder> {
  const pem = await readIfThere(files.certificate);
  const key = await readIfThere(files.key, readSecretText);
  if (pem === undefined && key === undefined) {
    const made = await make();
    // The key is written first, so that no certificate is left without its key.
    await Deno.writeTextFile(files.key, await keyPem(made), { mode: 0o600, createNew: true });
    await Deno.writeTextFile(files.certificate, toPem("CERTIFICATE", derOf(made)), { createNew: true });
    return made;
  }
  if (pem === undefined) throw new TypeError("the certificate is missing beside its key");
  if (key === undefined) throw new TypeError(`its key ${files.key} is missing`);
  const certificate = new X509Certificate(fromPem("CERTIFICATE", pem));
  const pkcs8 = fromPem("PRIVATE KEY", key);
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
  pkcs8.fill(0);
  const publicKey = await certificate.publicKey.export(algorithm, ["verify"]);
  const signature = await crypto.subtle.sign(algorithm, privateKey, PROBE);
  if (!await crypto.subtle.verify(algorithm, publicKey, signature, PROBE)) {
    throw new TypeError("the key is of another certificate");
  }
  if (certificate.notAfter <= now) {
    throw new TypeError(`it was valid until ${certificate.notAfter.toISOString()}`);
  }
  return { certificate, privateKey };
}
