/**
 * Documents under certificate chains made by tests: each certificate is valid except for what the test
 * changes.
 *
 * @module
 */
import { encode } from "cborg";
import { type Choose, encodeForm } from "./cbor_forms.ts";
import { signSign1 } from "../../lib/shared/attestation/cose.ts";
import {
  BasicConstraintsExtension,
  Extension,
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
  const at = new Date(T);
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

/** Signs as RFC 9052 says, over the header's own bytes, with every part in another encoding. */
export const writeIn = (choose: Choose) => async (payload: ReadonlyMap<string, unknown>, key: CryptoKey) => {
  const [header, body] = [encodeForm(new Map([[1, -35]]), choose), encodeForm(payload, choose)];
  const signed = new Uint8Array(encode(["Signature1", header, new Uint8Array(0), body]));
  const signature = new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-384" }, key, signed));
  return encodeForm([header, new Map(), body, signature], choose);
};

/** When the documents were made. Milliseconds since 1970. */
export const T = 1_700_000_000_000;
/** An extension that nobody knows. */
export const unknownExtension = (critical: boolean) =>
  new Extension("1.2.3.4", critical, new Uint8Array([5, 0]));
const RSA = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-384",
};
const P256 = { name: "ECDSA", namedCurve: "P-256" };

const ca = (isCa: boolean, pathLength?: number): Unusual => ({
  basicConstraints: new BasicConstraintsExtension(isCa, pathLength, true),
});
const usage = (flag: KeyUsageFlags): Unusual => ({ keyUsage: new KeyUsagesExtension(flag, true) });
const [BEFORE, AFTER] = [{ to: new Date(T - 1_000) }, { from: new Date(T + 60_000) }];

/** What is wrong, with which certificate from the root on, and the words of the error. */
export const CHAINS: readonly (readonly [string, 0 | 1 | 2 | 3, Unusual, string])[] = [
  ["a root that allows one CA, where two are", 0, ca(true, 1), "the root allows 1 CA certificates below it"],
  ["a CA that allows none, where one is", 1, ca(true, 0), "CA 1 allows 0"],
  ["an invalid CA", 2, ca(false), "CA 2 is not one of a CA"],
  ["a root that is no CA", 0, ca(false), "the root is not one of a CA"],
  ["a leaf that is a CA", 3, ca(true, 0), "the document's certificate is one of a CA"],
  [
    "a CA that may sign documents alone",
    2,
    usage(KeyUsageFlags.digitalSignature),
    "CA 2 may not sign certificates",
  ],
  ["a leaf that may sign certificates alone", 3, usage(KeyUsageFlags.keyCertSign), "may not sign documents"],
  ["a CA without basic constraints", 1, { without: "basicConstraints" }, "no basic"],
  ["a leaf without basic constraints", 3, { without: "basicConstraints" }, "no basic"],
  ["a CA without key usage", 1, { without: "keyUsage" }, "no key usage"],
  ["a leaf without key usage", 3, { without: "keyUsage" }, "no key usage"],
  ["an unknown critical extension", 2, { more: [unknownExtension(true)] }, "1.2.3.4"],
  ["an extension twice", 1, { more: [unknownExtension(false), unknownExtension(false)] }, "twice"],
  ["a CA with a key of P-256", 2, { key: P256 }, "key of CA 2 is not of P-384"],
  ["a leaf with a key of P-256", 3, { key: P256 }, "is not of P-384"],
  ["a leaf with an RSA key", 3, { key: RSA }, "is not of P-384"],
  ["a leaf signed with SHA-256", 3, { hash: "SHA-256" }, "is not signed by ES384"],
  ["a CA signed with SHA-512", 1, { hash: "SHA-512" }, "is not signed by ES384"],
  ["a CA that another signed", 1, { signedByAnother: true }, "not signed by the root"],
  ["a leaf that another signed", 3, { signedByAnother: true }, "not signed by CA 2"],
  ["a leaf that names another issuer", 3, { issuerName: "CN=place 1" }, "another issuer"],
  ["a CA that names itself", 1, { issuerName: "CN=place 1" }, "another issuer"],
  ["a root that has expired", 0, BEFORE, "the root is valid"],
  ["a CA that has expired", 1, BEFORE, "CA 1 is valid"],
  ["a CA of tomorrow", 2, AFTER, "CA 2 is valid"],
  ["a leaf of tomorrow", 3, AFTER, "the document's certificate"],
];
