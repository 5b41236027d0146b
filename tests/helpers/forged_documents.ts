/**
 * Documents under certificate chains made by tests: each certificate is valid except for what the test
 * changes.
 *
 * @module
 */
import { encode } from "cborg";
import { signSign1 } from "../../lib/shared/attestation/cose.ts";
import {
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509CertificateGenerator,
} from "../../lib/shared/attestation/deps/x509.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const HOUR_MS = 3_600_000;

/** What is unusual about a certificate. */
export interface Unusual {
  readonly from?: Date;
  readonly to?: Date;
  readonly basicConstraints?: BasicConstraintsExtension;
  readonly keyUsage?: KeyUsagesExtension;
  /** Those left out, by class. */
  readonly without?: "basicConstraints" | "keyUsage";
  readonly more?: readonly Extension[];
  readonly key?: EcKeyGenParams | RsaHashedKeyGenParams;
  readonly hash?: string;
  /** Signed by a key that no certificate covers. */
  readonly signedByAnother?: boolean;
  readonly issuerName?: string;
}

/** A document and the root that it is under. */
export interface Forged {
  readonly root: Bytes;
  readonly document: Bytes;
  readonly at: Date;
}

const P384: EcKeyGenParams = { name: "ECDSA", namedCurve: "P-384" };

function writeShortest(payload: ReadonlyMap<string, unknown>, key: CryptoKey): Promise<Bytes> {
  return signSign1(new Uint8Array(encode(payload)), key);
}

/**
 * A document, whose chain is root, CA, CA, leaf.
 *
 * @param unusual by place in the chain, 0 to 3
 * @param fields of the payload
 * @param write signs and encodes the payload; by default as signSign1, in the shortest form
 */
export async function forge(
  unusual: Readonly<Partial<Record<0 | 1 | 2 | 3, Unusual>>> = {},
  fields: Readonly<Record<string, unknown>> = {},
  write: (payload: ReadonlyMap<string, unknown>, key: CryptoKey) => Promise<Bytes> = writeShortest,
): Promise<Forged> {
  const at = new Date(1_700_000_000_000);
  const chain: Bytes[] = [];
  let issuer: { readonly name: string; readonly key: CryptoKey } | undefined;
  for (const place of [0, 1, 2, 3] as const) {
    const how = unusual[place] ?? {};
    const algorithm = how.key ?? P384;
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]) as CryptoKeyPair;
    const stranger = await crypto.subtle.generateKey(P384, true, ["sign", "verify"]);
    const isLeaf = place === 3;
    const subject = `CN=place ${place}`;
    const extensions: Extension[] = [...how.more ?? []];
    if (how.without !== "basicConstraints") {
      extensions.push(
        how.basicConstraints ?? new BasicConstraintsExtension(!isLeaf, isLeaf ? undefined : 2 - place, true),
      );
    }
    if (how.without !== "keyUsage") {
      extensions.push(
        how.keyUsage ??
          new KeyUsagesExtension(isLeaf ? KeyUsageFlags.digitalSignature : KeyUsageFlags.keyCertSign, true),
      );
    }
    const certificate = await X509CertificateGenerator.create({
      subject,
      issuer: how.issuerName ?? issuer?.name ?? subject,
      notBefore: how.from ?? new Date(at.getTime() - HOUR_MS),
      notAfter: how.to ?? new Date(at.getTime() + HOUR_MS),
      signingAlgorithm: { name: "ECDSA", hash: how.hash ?? "SHA-384" },
      publicKey: keys.publicKey,
      signingKey: how.signedByAnother ? stranger.privateKey : issuer?.key ?? keys.privateKey,
      extensions,
    });
    chain.push(new Uint8Array(certificate.rawData));
    issuer = { name: subject, key: keys.privateKey };
  }
  const payload = new Map<string, unknown>(Object.entries({
    module_id: "i-forged",
    digest: "SHA384",
    timestamp: at.getTime(),
    pcrs: new Map([0, 1, 2].map((index) => [index, new Uint8Array(48).fill(7)])),
    certificate: chain[3],
    cabundle: chain.slice(0, 3),
    ...fields,
  }));
  // A leaf with another kind of key cannot sign by ES384 at all; its document is refused before that matters.
  const signer = unusual[3]?.key === undefined
    ? issuer?.key
    : (await crypto.subtle.generateKey(P384, false, ["sign", "verify"])).privateKey;
  if (chain[0] === undefined || signer === undefined) throw new Error("no chain was made");
  return { root: chain[0], document: await write(payload, signer), at };
}
