/**
 * PEM of certificates and their keys.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { X509Certificate } from "./deps/x509.ts";

/** A block of PEM. @param label such as `CERTIFICATE` */
export function toPem(label: string, der: Uint8Array): string {
  return `-----BEGIN ${label}-----\n${
    encodeBase64(der).replace(/.{64}(?!$)/g, "$&\n")
  }\n-----END ${label}-----\n`;
}

/** DER of the first block with this label. @throws {SyntaxError} without such a block. */
export function fromPem(label: string, pem: string): Uint8Array<ArrayBuffer> {
  const [, base64] =
    new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(pem) ?? [];
  if (base64 === undefined) throw new SyntaxError(`there is no ${label}`);
  return decodeBase64(base64.replace(/\s/g, ""));
}

/** Reads DER, or the first certificate of PEM. @throws {SyntaxError} when it is not one X.509 certificate. */
export function parseCertificate(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const text = new TextDecoder("latin1").decode(bytes);
  const der = text.includes("-----BEGIN") ? fromPem("CERTIFICATE", text) : new Uint8Array(bytes);
  try {
    new X509Certificate(der);
  } catch (thrown) {
    throw new SyntaxError("it is not an X.509 certificate", { cause: thrown });
  }
  return der;
}
