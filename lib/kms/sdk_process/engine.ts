/**
 * The inside of an SDK host, whatever carries its messages: one warm session, one call at a time, synchronously, on one thread.
 *
 * @module
 */
import { AWS_NE_VSOCK_PROXY_ADDR, type Dlopen, openSdk } from "../../../ffi/mod.ts";
import { Credentials, WarmSession } from "../../aws_ne/mod.ts";
import { SecretBytes } from "../../crypto/secret_bytes.ts";
import {
  type CallRequest,
  type HostRequest,
  type HostResponse,
  type OpenRequest,
  packError,
} from "./protocol.ts";

/** Makes the function that answers requests. */
export function createEngine(
  options: { readonly dlopen?: Dlopen } = {},
): (request: HostRequest) => HostResponse {
  let session: WarmSession | undefined;

  function open(request: OpenRequest): HostResponse {
    session = new WarmSession({
      ...request,
      open: () => openSdk({ libraryDir: request.libraryDir, dlopen: options.dlopen }),
      endpoint: { cid: AWS_NE_VSOCK_PROXY_ADDR, port: request.proxyPort },
      now: () => performance.now(),
    });
    return { id: request.id, ok: true, state: session.state };
  }

  function call(request: CallRequest): HostResponse {
    if (session === undefined) throw new TypeError("Cannot call KMS: the SDK's host was not opened");
    const { accessKeyId, secretAccessKey, sessionToken } = request.credentials;
    using credentials = new Credentials(
      new SecretBytes(accessKeyId),
      new SecretBytes(secretAccessKey),
      new SecretBytes(sessionToken),
    );
    const result = session.call(request.region, credentials, request.call);
    // The carrier hands the plaintext over and wipes what it keeps.
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
    try {
      return request.op === "open" ? open(request) : call(request);
    } catch (thrown) {
      return {
        id: request.id,
        ok: false,
        error: packError(thrown),
        ...(session === undefined ? {} : { state: session.state }),
      };
    }
  };
}
