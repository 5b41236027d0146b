/**
 * Attestation documents about keys that the enclave made, for accounts and for the master key.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { type KeyStatement, keyUserData } from "../../shared/attestation/statement.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { WireError } from "../../shared/wire/messages.ts";
import type { Attester } from "../server/feature.ts";

/** The inputs of documents. */
export interface AttestedKeyOptions {
  readonly attester: Attester | undefined;
  readonly configurationHash: Uint8Array<ArrayBuffer>;
  readonly log: Log;
}

/** The NSM, for a request with a nonce: checked before a key is made. @throws {WireError} `attestation_unavailable` */
export function requireAttester(attester: Attester | undefined): Attester {
  if (attester !== undefined) return attester;
  throw new WireError(
    "attestation_unavailable",
    "A nonce asks for an attestation document, and there is no NSM here to sign one",
  );
}

/** The NSM's document about a key, base64. @throws {WireError} `attestation_unavailable` */
export async function attestKey(
  { attester, configurationHash, log }: AttestedKeyOptions,
  statement: KeyStatement,
  nonce: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const nsm = requireAttester(attester);
  try {
    const userData = await keyUserData(statement, configurationHash);
    return encodeBase64(await nsm.attest({ userData, nonce }));
  } catch (thrown) {
    log("error", "attestation_failed", { reason: messageOf(thrown) });
    throw new WireError(
      "attestation_unavailable",
      "The NSM gave no attestation document; denclavectl client logs says why",
    );
  }
}
