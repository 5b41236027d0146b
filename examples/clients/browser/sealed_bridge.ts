/**
 * A web page's client for an enclave behind the HTTP bridge. The page verifies the enclave's attestation document itself and seals its requests,
 * so that neither the bridge nor the parent instance is trusted. The bridge must allow the page's origin:
 *
 *     denclavectl bridge --listen http://127.0.0.1:8080 --connect vsock:16:5000 --allow-origin https://example.org
 *
 * @module
 */
import {
  type AttestationDocument,
  attestUserData,
  type TrustedAttestation,
  verifyDocument,
} from "@denclave/denclave/attestation";
import { SealedSender, type WireObject } from "@denclave/denclave/sealed";

const TIMEOUT_MS = 65_000;
const NONCE_LENGTH = 32;

const toBase64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text: unknown) => Uint8Array.from(atob(String(text)), (digit) => digit.charCodeAt(0));

async function post(bridge: string, message: unknown): Promise<WireObject> {
  const response = await fetch(bridge, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const reply = await response.json();
  if (response.ok) return reply;
  throw new Error(`The bridge refused: ${reply.error.code}: ${reply.error.message}`);
}

/** Which enclave is trusted, and behind which bridge it is. */
export interface EnclaveOptions {
  /** The bridge's URL. */
  readonly bridge: string;
  /** PCR0 of the build, 96 hex digits. */
  readonly pcr0: string;
  /** Verifies documents: under AWS's root, unless a test gives another. */
  readonly verify?: (document: Uint8Array, expected: TrustedAttestation) => Promise<AttestationDocument>;
}

/** A verified enclave. */
export interface Enclave {
  readonly document: AttestationDocument;
  /** Seals a request, and opens its reply. One at a time. */
  readonly exchange: (request: WireObject) => Promise<WireObject>;
}

/** Has the enclave attest, verifies its document, and returns a client for it. @throws {Error} when it is not the one expected. */
export async function connectEnclave(
  { bridge, pcr0, verify = verifyDocument }: EnclaveOptions,
): Promise<Enclave> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_LENGTH));
  const reply = await post(bridge, { type: "attest", nonce: toBase64(nonce) });
  if (reply["status"] !== "ok") throw new Error(`${reply["msg"]}: ${reply["details"]}`);
  const publicKey = fromBase64(reply["public_key"]);
  const userData = await attestUserData(new Uint8Array(0), fromBase64(reply["configuration_hash"]));
  const document = await verify(fromBase64(reply["attestation_document"]), {
    nonce,
    publicKey,
    userData,
    pcrs: { 0: pcr0 },
  });
  const sender = await SealedSender.create(publicKey);
  return {
    document,
    exchange: async (request) => {
      const { message, open } = await sender.seal(request);
      return await open(await post(bridge, message));
    },
  };
}
