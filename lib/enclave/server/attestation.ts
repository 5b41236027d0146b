/**
 * Attestation documents for requests that ask for one.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { messageOf } from "../../shared/errors.ts";
import { type Reply, WireError } from "../../shared/wire/messages.ts";
import type { Attester, Ports } from "./feature.ts";
import type { RotatedKey } from "./rotated_keys.ts";

/** The NSM: checked before a key is made. @throws {WireError} `attestation_unavailable` */
export function requireAttester(
  { attester }: Pick<Ports, "attester">,
  why = "There is no NSM here to sign an attestation document",
): Attester {
  if (attester !== undefined) return attester;
  throw new WireError("attestation_unavailable", why);
}

/** As {@link requireAttester}, for a request about a key that may have a nonce. @throws {WireError} `attestation_unavailable` */
export function checkNonce(ports: Pick<Ports, "attester">, nonce: Uint8Array | undefined): void {
  const why = "A nonce asks for an attestation document, and there is no NSM here to sign one";
  if (nonce !== undefined) requireAttester(ports, why);
}

/** The NSM's document, base64. @throws {WireError} `attestation_unavailable` */
export async function attest(
  ports: Pick<Ports, "attester" | "log">,
  statement: Parameters<Attester["attest"]>[0],
): Promise<string> {
  const nsm = requireAttester(ports);
  try {
    return encodeBase64(await nsm.attest(statement));
  } catch (thrown) {
    ports.log("error", "attestation_failed", { reason: messageOf(thrown) });
    const failure = "The NSM gave no attestation document; denclavectl client logs says why";
    throw new WireError("attestation_unavailable", failure);
  }
}

/** The reply to `attest`: a document that binds a key. @throws {WireError} (rejects) `attestation_unavailable` */
export async function attestKey(
  ports: Ports,
  { publicKey, keyId, expires }: RotatedKey,
  statement: Omit<Parameters<Attester["attest"]>[0], "publicKey">,
): Promise<Reply> {
  return {
    status: "ok",
    attestation_document: await attest(ports, { ...statement, publicKey }),
    public_key: encodeBase64(publicKey),
    key_id: keyId,
    expires_at: expires.toISOString(),
    configuration_hash: encodeBase64(ports.configurationHash),
  };
}
