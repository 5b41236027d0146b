/**
 * The request handler of an SDK process: one warm session, one call at a time, synchronously, on one thread.
 *
 * @module
 */
import { openMemoryMap } from "../../../../ffi/libc.ts";
import { AWS_NE_VSOCK_PROXY_ADDR, openSdk } from "../../../../ffi/mod.ts";
import { ConnectionLost, Credentials, SdkKmsClientError, WarmSession } from "../aws_ne/mod.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import {
  type CallRequest,
  type OpenRequest,
  packError,
  type SdkProgress,
  type SdkRequest,
  type SdkResponse,
} from "./protocol.ts";

/**
 * A connection that failed sooner than this is tried once more, since the proxy may just have been
 * restarting. The SDK gives up connecting after 3 s. Milliseconds.
 */
const QUICK_MS = 2_000;

/**
 * Makes the function that answers requests.
 *
 * @param tell sends progress immediately
 */
export function createEngine(tell: (progress: SdkProgress) => void): (request: SdkRequest) => SdkResponse {
  // Open until this process ends.
  const { isMapped } = openMemoryMap();
  let session: WarmSession | undefined;
  let current = 0;
  let connectingSince = 0;

  function open(request: OpenRequest): SdkResponse {
    session = new WarmSession({
      ...request,
      open: () => openSdk({ libraryDir: request.libraryDir, isMapped }),
      endpoint: { cid: AWS_NE_VSOCK_PROXY_ADDR, port: request.proxyPort },
      now: () => performance.now(),
      onPhase: (phase) => {
        if (phase === "connecting") connectingSince = performance.now();
        tell({ id: current, phase });
      },
    });
    return { id: request.id, ok: true, state: session.state };
  }

  function call(request: CallRequest): SdkResponse {
    if (session === undefined) throw new TypeError("Cannot call KMS: the SDK was not opened");
    const { accessKeyId, secretAccessKey, sessionToken } = request.credentials;
    using credentials = new Credentials(
      new SecretBytes(accessKeyId),
      new SecretBytes(secretAccessKey),
      new SecretBytes(sessionToken),
    );
    const result = session.call(request.region, credentials, request.call);
    // The writer of the response wipes it afterwards.
    const plaintext = new Uint8Array(result.plaintext.expose());
    result.plaintext[Symbol.dispose]();
    const { ciphertext } = result;
    return {
      id: request.id,
      ok: true,
      state: session.state,
      plaintext,
      ...(ciphertext === undefined ? {} : { ciphertext }),
    };
  }

  return (request) => {
    current = request.id;
    try {
      return request.op === "open" ? open(request) : call(request);
    } catch (thrown) {
      const failedQuickly = thrown instanceof SdkKmsClientError &&
        performance.now() - connectingSince < QUICK_MS;
      return {
        id: request.id,
        ok: false,
        error: packError(thrown),
        ...(thrown instanceof ConnectionLost || failedQuickly ? { connectionLost: true } : {}),
        ...(session === undefined ? {} : { state: session.state }),
      };
    }
  };
}
