/**
 * The root of simulated modules, kept in files: the certificate, whose path is given to a KMS emulator or a verifier, and beside it the private
 * key, so that a restarted service signs under the same root.
 *
 * Permission: read and write of the two files.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readIfThere, readSecretText } from "../../shared/files.ts";
import { X509Certificate } from "../../shared/attestation/deps/x509.ts";
import { fromPem, toPem } from "../../shared/attestation/pem.ts";
import { makeSimulatedRoot, type SimulatedRoot } from "./simulated.ts";

const ES384 = { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" } as const;
const PROBE = new Uint8Array(32);

/**
 * Opens the root in `<file>` and `<file>.key`, or makes it if neither exists.
 *
 * @param file the certificate, PEM; its key is in `<file>.key`, PKCS #8, mode 0600
 * @throws {EnclaveError} `simulated_root` when the files cannot be used.
 */
export async function openSimulatedRoot(
  file: string,
  { now = new Date() }: { readonly now?: Date } = {},
): Promise<SimulatedRoot> {
  const keyFile = `${file}.key`;
  try {
    const certificate = await readIfThere(file);
    const key = await readIfThere(keyFile, readSecretText);
    if (certificate === undefined && key === undefined) return await keep(file, now);
    if (certificate === undefined) throw new TypeError("the certificate is missing beside its key");
    if (key === undefined) throw new TypeError(`its key ${keyFile} is missing`);
    return await parse({ certificate, key, now });
  } catch (thrown) {
    throw new EnclaveError(`Cannot use ${file} for --nsm-root: ${messageOf(thrown)}`, {
      code: "simulated_root",
      hint: `Name a file in a folder that you may write to; remove it and ${keyFile} to have a new root.`,
      cause: thrown,
    });
  }
}

async function parse(
  { certificate: pem, key, now }: { readonly certificate: string; readonly key: string; readonly now: Date },
): Promise<SimulatedRoot> {
  const certificate = new X509Certificate(fromPem("CERTIFICATE", pem));
  const pkcs8 = fromPem("PRIVATE KEY", key);
  try {
    const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, ES384, false, ["sign"]);
    const publicKey = await certificate.publicKey.export(ES384, ["verify"]);
    const signature = await crypto.subtle.sign(ES384, privateKey, PROBE);
    if (!await crypto.subtle.verify(ES384, publicKey, signature, PROBE)) {
      throw new TypeError("the key is of another certificate");
    }
    if (certificate.notAfter <= now) {
      throw new TypeError(`it was valid until ${certificate.notAfter.toISOString()}`);
    }
    return { certificate, privateKey };
  } finally {
    pkcs8.fill(0);
  }
}

async function keep(file: string, from: Date): Promise<SimulatedRoot> {
  const root = await makeSimulatedRoot({ from, extractable: true });
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", root.privateKey));
  try {
    // The key is written first, so that no certificate is left without its key.
    await Deno.writeTextFile(`${file}.key`, toPem("PRIVATE KEY", pkcs8), { mode: 0o600, createNew: true });
    await Deno.writeTextFile(file, toPem("CERTIFICATE", new Uint8Array(root.certificate.rawData)), {
      createNew: true,
    });
  } finally {
    pkcs8.fill(0);
  }
  return root;
}
