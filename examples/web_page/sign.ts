/**
 * Has an enclave behind the HTTP bridge sign with its master key. The page verifies the enclave's attestation
 * document itself and seals its requests, so that neither the bridge nor the parent instance is trusted. The
 * bridge must allow the page's origin:
 *
 *     denclavectl bridge --listen http://127.0.0.1:8080 --connect vsock:16:5000 --allow-origin https://example.org
 *
 * @module
 */
import { SealedClient, type SealedClientOptions } from "@denclave/denclave/sealed_client";

/** What is signed, and by which enclave behind which bridge. */
export interface SignOptions extends SealedClientOptions {
  /** The bridge's URL. */
  readonly bridge: string;
  readonly text: string;
}

/**
 * Signs the SHA-256 of a text. @throws {EnclaveError} whose `code` says why not; `attestation_…` when the
 * enclave is not the one expected.
 */
export async function sign({ bridge, text, ...expected }: SignOptions) {
  const client = await SealedClient.connect(bridge, expected);
  try {
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    const digest = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return await client.request({ type: "master_key.sign", digest });
  } finally {
    client.close();
  }
}
