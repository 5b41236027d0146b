/**
 * The certificate that an image is signed with, as `nitro-cli describe-eif` shows it.
 *
 * @module
 */
import { type KeyObject, X509Certificate } from "node:crypto";
import { decodeBase64 } from "@std/encoding";
import { BerError, dottedForm, parseDer } from "../../shared/attestation/ber.ts";
import { messageOf } from "../../shared/errors.ts";
import { EifError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Bytes of the largest PEM file that is read. */
export const MAX_CERTIFICATE_LENGTH = 64 * 1024;

/** A signing certificate, with the names that nitro-cli gives its parts. */
interface CertificateInfo {
  /** By OpenSSL's long names, such as `commonName`. */
  readonly IssuerName: Readonly<Record<string, string>>;
  /** Such as `ecdsa-with-SHA384`. */
  readonly Algorithm: string;
  readonly NotBefore: string;
  readonly NotAfter: string;
  /** Of the certificate itself: upper-case hex, colons between. */
  readonly Signature: string;
}

/** Curves that images are signed on, as WebCrypto calls them. */
export type Curve = "P-256" | "P-384" | "P-521";

/** Their names in different versions of the runtime. */
const CURVES: Readonly<Record<string, Curve>> = {
  prime256v1: "P-256",
  p256: "P-256",
  secp384r1: "P-384",
  p384: "P-384",
  secp521r1: "P-521",
  p521: "P-521",
};

/** The curve of a key. */
export function curveOf(key: KeyObject): Curve | undefined {
  const name = key.asymmetricKeyType === "ec" ? key.asymmetricKeyDetails?.namedCurve ?? "" : "";
  return Object.hasOwn(CURVES, name) ? CURVES[name] : undefined;
}

/** A key's SubjectPublicKeyInfo. */
export function publicKeyInfo(key: KeyObject): Bytes {
  return new Uint8Array(key.export({ type: "spki", format: "der" }));
}

/** A signing certificate. */
export interface SigningCertificate {
  /** What is measured. */
  readonly der: Bytes;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Bytes;
  /** The curve that its key is on; undefined when it is on none that images are signed by. */
  readonly curve: Curve | undefined;
  readonly info: CertificateInfo;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Why a certificate is not valid at a time; undefined when it is. */
export function validityProblem(
  { notBefore, notAfter }: Pick<SigningCertificate, "notBefore" | "notAfter">,
  now: Date,
): string | undefined {
  if (now >= notBefore && now <= notAfter) return undefined;
  const when = now < notBefore
    ? `is not valid before ${notBefore.toISOString()}`
    : `expired at ${notAfter.toISOString()}`;
  return `it ${when}: nitro-cli does not run the image`;
}

const LONG_NAMES: Readonly<Record<string, string>> = {
  C: "countryName",
  CN: "commonName",
  DC: "domainComponent",
  L: "localityName",
  O: "organizationName",
  OU: "organizationalUnitName",
  ST: "stateOrProvinceName",
};
const ALGORITHMS: Readonly<Record<string, string>> = {
  "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
  "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
  "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
  "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
  "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
  "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
};

/** Certificate ::= SEQUENCE { what is signed, SEQUENCE { algorithm, … }, BIT STRING }. RFC 5280, section 4.1. */
function outerParts(der: Bytes): { readonly algorithm: string; readonly signature: Bytes } {
  const [, algorithm, signature] = parseDer(der).children;
  const [identifier] = algorithm?.children ?? [];
  if (identifier === undefined || signature === undefined) throw new BerError("it is not a certificate");
  const oid = dottedForm(identifier.contents);
  // The first byte of a BIT STRING says how many bits at its end are not used.
  return { algorithm: ALGORITHMS[oid] ?? oid, signature: signature.contents.slice(1) };
}

function issuerName(issuer: string): Record<string, string> {
  return Object.fromEntries(
    issuer.split("\n").map((line) => {
      const equals = line.indexOf("=");
      const short = line.slice(0, equals);
      return [LONG_NAMES[short] ?? short, line.slice(equals + 1)];
    }),
  );
}

/** A date as OpenSSL prints it; older runtimes end it otherwise. */
function inGmt(date: string): string {
  return date.replace(/ \+00:00$/, " GMT");
}

/** Labels under which OpenSSL takes a certificate. */
const PEM_LABEL = /^-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[ \t\r]*$/m;
const PEM_CERTIFICATE =
  /^-----BEGIN CERTIFICATE-----[ \t\r]*\n([A-Za-z0-9+/=\s]*)^-----END CERTIFICATE-----[ \t\r]*$/m;

/** The first certificate, as OpenSSL reads it for PCR8. Input that OpenSSL might read differently is refused. */
function firstCertificate(pem: string): { readonly block: string; readonly der: Bytes } {
  const begin = PEM_LABEL.exec(pem);
  if (begin === null) throw new SyntaxError("no line of it is BEGIN CERTIFICATE");
  if (begin[1] !== "CERTIFICATE") throw new SyntaxError(`its first one is labelled ${begin[1]}`);
  const [block, base64 = ""] = PEM_CERTIFICATE.exec(pem.slice(begin.index)) ?? [];
  if (block === undefined) throw new SyntaxError("it has more than base64 between BEGIN and END");
  return { block, der: decodeBase64(base64.replace(/\s/g, "")) };
}

/**
 * Reads the first certificate of a PEM file.
 *
 * @param where for the message
 * @throws {EifError} `eif_signature`.
 */
export function parseCertificate(pem: Uint8Array, where: string): SigningCertificate {
  if (pem.length > MAX_CERTIFICATE_LENGTH) {
    throw new EifError("eif_signature", `${where}: its certificate has ${pem.length} bytes`);
  }
  try {
    const { block, der } = firstCertificate(new TextDecoder("utf-8", { fatal: true }).decode(pem));
    const certificate = new X509Certificate(block);
    const { algorithm, signature } = outerParts(der);
    return {
      der,
      publicKey: publicKeyInfo(certificate.publicKey),
      curve: curveOf(certificate.publicKey),
      notBefore: new Date(certificate.validFrom),
      notAfter: new Date(certificate.validTo),
      info: {
        IssuerName: issuerName(certificate.issuer),
        Algorithm: algorithm,
        NotBefore: inGmt(certificate.validFrom),
        NotAfter: inGmt(certificate.validTo),
        Signature: [...signature].map((byte) => byte.toString(16).padStart(2, "0")).join(":").toUpperCase(),
      },
    };
  } catch (thrown) {
    throw new EifError("eif_signature", `${where}: its certificate cannot be read: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}
