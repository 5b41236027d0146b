/**
 * The chain from a root to the certificate that signed a document: as strict as the Nitro hypervisor's own certificates allow. RFC 5280, section
 * 6.1, without the parts that they do not use (policies, name constraints, and revocation, since they are valid for hours).
 *
 * Runs in browsers.
 *
 * @module
 */
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509Certificate,
} from "./deps/x509.ts";
import { BerError, parseDer, TAG } from "./ber.ts";
import { equalBytes } from "../bytes.ts";
import { AttestationError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
/** Extensions that are checked below; any other critical extension is refused. */
const BASIC_CONSTRAINTS = "2.5.29.19";
const KEY_USAGE = "2.5.29.15";

function refuse(what: string, cause?: unknown): AttestationError {
  return new AttestationError("attestation_chain", what, cause);
}

/** One certificate, with the parts of it that are checked. */
interface Certificate {
  readonly name: string;
  readonly x509: X509Certificate;
  readonly key: CryptoKey;
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  readonly usages: number;
}

/** The certificate's place in the chain, for messages. */
function nameAt(index: number, count: number): string {
  return index === 0 ? "the root" : index === count - 1 ? "the document's certificate" : `CA ${index}`;
}

async function readCertificate(der: Bytes, name: string): Promise<Certificate> {
  // The library also accepts PEM, BER and trailing bytes.
  try {
    if (parseDer(der).tag !== TAG.sequence) throw new BerError("it is not a sequence");
  } catch (thrown) {
    throw refuse(`${name} is not one DER sequence`, thrown);
  }
  try {
    const x509 = new X509Certificate(der);
    const { algorithm } = x509.publicKey;
    const { name: signature, hash } = x509.signatureAlgorithm;
    if (
      algorithm.name !== P384.name || !("namedCurve" in algorithm) || algorithm.namedCurve !== P384.namedCurve
    ) {
      throw refuse(`the key of ${name} is not of P-384`);
    }
    if (signature !== P384.name || hash.name !== "SHA-384") throw refuse(`${name} is not signed by ES384`);
    const key = await crypto.subtle.importKey("spki", x509.publicKey.rawData, P384, false, ["verify"]);
    return { name, x509, key, ...readExtensions(x509, name) };
  } catch (thrown) {
    if (thrown instanceof AttestationError) throw thrown;
    throw refuse(`${name} cannot be read`, thrown);
  }
}

function readExtensions(
  x509: X509Certificate,
  name: string,
): Pick<Certificate, "isCa" | "pathLength" | "usages"> {
  const types = x509.extensions.map(({ type }) => type);
  if (new Set(types).size !== types.length) throw refuse(`${name} has an extension twice`);
  for (const { type, critical } of x509.extensions) {
    if (critical && type !== BASIC_CONSTRAINTS && type !== KEY_USAGE) {
      throw refuse(`${name} has the critical extension ${type}, which is unknown here`);
    }
  }
  const constraints = x509.getExtension(BASIC_CONSTRAINTS);
  const usage = x509.getExtension(KEY_USAGE);
  if (!(constraints instanceof BasicConstraintsExtension)) throw refuse(`${name} has no basic constraints`);
  if (!(usage instanceof KeyUsagesExtension)) throw refuse(`${name} has no key usage`);
  return { isCa: constraints.ca, pathLength: constraints.pathLength, usages: usage.usages };
}

/** Checks that the certificate may be used at its place in the chain. */
function checkRole(
  certificate: Certificate,
  { intermediatesBelow }: { readonly intermediatesBelow: number | undefined },
) {
  const { name, isCa, pathLength, usages } = certificate;
  if (intermediatesBelow === undefined) {
    if (isCa) throw refuse(`${name} is one of a CA`);
    if ((usages & KeyUsageFlags.digitalSignature) === 0) throw refuse(`${name} may not sign documents`);
    return;
  }
  if (!isCa) throw refuse(`${name} is not one of a CA`);
  if ((usages & KeyUsageFlags.keyCertSign) === 0) throw refuse(`${name} may not sign certificates`);
  if (pathLength !== undefined && pathLength < intermediatesBelow) {
    throw refuse(
      `${name} allows ${pathLength} CA certificates below it, and ${intermediatesBelow} are there`,
    );
  }
}

async function checkIssued(child: Certificate, parent: Certificate): Promise<void> {
  const issuer = new Uint8Array(child.x509.issuerName.toArrayBuffer());
  const subject = new Uint8Array(parent.x509.subjectName.toArrayBuffer());
  if (!equalBytes(issuer, subject)) throw refuse(`${child.name} names another issuer than ${parent.name}`);
  if (equalBytes(issuer, new Uint8Array(child.x509.subjectName.toArrayBuffer()))) {
    throw refuse(`${child.name} names itself as its issuer`);
  }
  let isSigned: boolean;
  try {
    isSigned = await child.x509.verify({ publicKey: parent.key, signatureOnly: true });
  } catch (thrown) {
    throw refuse(`the signature of ${child.name} cannot be read`, thrown);
  }
  if (!isSigned) throw refuse(`${child.name} is not signed by ${parent.name}`);
}

function checkValidity({ name, x509 }: Certificate, times: readonly (readonly [string, Date])[]): void {
  for (const [what, time] of times) {
    if (time >= x509.notBefore && time <= x509.notAfter) continue;
    throw new AttestationError(
      "attestation_expired",
      `${name} is valid from ${x509.notBefore.toISOString()} to ${x509.notAfter.toISOString()}, and ${what} is ${time.toISOString()}`,
    );
  }
}

/** What a chain is checked against. */
interface ChainOptions {
  /** DER of the only certificate that a chain may begin with. */
  readonly root: Uint8Array;
  /** When the document was made. */
  readonly madeAt: Date;
  /** When it is verified. */
  readonly verifiedAt: Date;
}

/**
 * Verifies a chain from its root.
 *
 * @param chain DER, the root first, the document's certificate last
 * @returns the key of the last certificate
 * @throws {AttestationError} `attestation_root`, `attestation_chain` or `attestation_expired`.
 */
export async function verifyChain(
  chain: readonly Bytes[],
  { root, madeAt, verifiedAt }: ChainOptions,
): Promise<CryptoKey> {
  const [first] = chain;
  if (first === undefined || !equalBytes(first, root)) {
    throw new AttestationError("attestation_root", "its first CA is not the pinned root");
  }
  if (chain.length < 2) throw refuse("it has only a root");
  const certificates: Certificate[] = [];
  for (const [index, der] of chain.entries()) {
    certificates.push(await readCertificate(der, nameAt(index, chain.length)));
  }
  let parent: Certificate | undefined;
  let key: CryptoKey | undefined;
  for (const [index, certificate] of certificates.entries()) {
    const isLast = index === certificates.length - 1;
    checkRole(certificate, { intermediatesBelow: isLast ? undefined : certificates.length - 2 - index });
    // The root is pinned, so its signature is not checked; below it, self-signed certificates are refused.
    if (parent !== undefined) await checkIssued(certificate, parent);
    parent = certificate;
    key = certificate.key;
  }
  for (const certificate of certificates) {
    checkValidity(certificate, [["the document's time", madeAt], ["the time of verification", verifiedAt]]);
  }
  if (key === undefined) throw refuse("there is no certificate");
  return key;
}
