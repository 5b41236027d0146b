/**
 * KMS calls with the SDK's own `…_blocking` functions: for the one-shot functions, and for warm clients whose internals are not known.
 *
 * @module
 */
import { AWS_KEY_SPEC } from "../../../../ffi/mod.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { askForReason, isAttestable, runAttested } from "./attested_request.ts";
import {
  callError,
  type Connection,
  ConnectionLost,
  type DataKeyCall,
  type DecryptCall,
  type KmsCall,
  type KmsCallResult,
  type RandomCall,
} from "./calls.ts";
import { type KmsReason, SdkGenericError, SdkKmsDataKeyError } from "./errors.ts";

/**
 * Makes a call on a client.
 *
 * @throws {ConnectionLost} when there was no answer at all.
 * @throws {SdkKmsDecryptError | SdkKmsDataKeyError | SdkKmsRandomError} with KMS's error where it is known.
 */
export function runBlocking(connection: Connection, call: KmsCall): KmsCallResult {
  switch (call.kind) {
    case "decrypt":
      return decrypt(connection, call);
    case "generateDataKey":
      return call.context === undefined ? dataKey(connection, call) : dataKeyWithContext(connection, call);
    case "generateRandom":
      return random(connection, call);
    default:
      return call satisfies never;
  }
}

function decrypt(connection: Connection, call: DecryptCall): KmsCallResult {
  const { sdk, library, client } = connection;
  const text = new TextEncoder();
  const algorithm = call.keyId === undefined ? call.algorithm : call.algorithm ?? "SYMMETRIC_DEFAULT";
  using stack = new DisposableStack();
  const string = (value: string | undefined) =>
    value === undefined ? undefined : stack.use(sdk.newString(library, text.encode(value)));
  const out = stack.use(library.outBuffer());
  const worked = sdk.decrypt(client, {
    keyId: string(call.keyId),
    algorithm: string(algorithm),
    context: string(call.context && JSON.stringify(call.context)),
    ciphertext: stack.use(sdk.inBuffer(call.ciphertext)),
    out,
  });
  if (worked) return { plaintext: new SecretBytes(out.contents()) };
  throw failure(
    connection,
    call,
    call.context === undefined ? "aws_kms_decrypt_blocking" : "aws_kms_decrypt_blocking_with_context",
  );
}

function dataKey(connection: Connection, call: DataKeyCall): KmsCallResult {
  const { sdk, library, client } = connection;
  using stack = new DisposableStack();
  const keyId = stack.use(sdk.newString(library, new TextEncoder().encode(call.keyId)));
  const plaintext = stack.use(library.outBuffer());
  const ciphertext = stack.use(library.outBuffer());
  if (sdk.generateDataKey(client, { keyId, keySpec: AWS_KEY_SPEC[call.keySpec], plaintext, ciphertext })) {
    return { plaintext: new SecretBytes(plaintext.contents()), ciphertext: ciphertext.contents() };
  }
  throw failure(connection, call, "aws_kms_generate_data_key_blocking");
}

/** The SDK's own GenerateDataKey cannot carry an EncryptionContext. */
function dataKeyWithContext(connection: Connection, call: DataKeyCall): KmsCallResult {
  if (isAttestable(connection)) return runAttested(connection, call);
  throw new SdkKmsDataKeyError(
    `Cannot generate a data key with an EncryptionContext: these libraries are not SDK 0.4's (${
      "unknown" in connection.internals ? connection.internals.unknown : ""
    })`,
    {
      symbol: "aws_nitro_enclaves_rest_client_request_blocking",
      hint: "Build both libraries from SDK 0.4, with its own functions exported.",
    },
  );
}

function random(connection: Connection, call: RandomCall): KmsCallResult {
  const { sdk, library, client } = connection;
  using out = library.outBuffer();
  if (sdk.generateRandom(client, call.length, out)) return { plaintext: new SecretBytes(out.contents()) };
  throw failure(connection, call, "aws_kms_generate_random_blocking");
}

/** The SDK drops KMS's error, so the call is repeated to get it where that is possible. */
function failure(connection: Connection, call: KmsCall, symbol: string): Error {
  const sdk = connection.sdk.lastError();
  let reason: KmsReason | undefined;
  try {
    if (isAttestable(connection)) reason = askForReason(connection, call);
  } catch (thrown) {
    if (thrown instanceof ConnectionLost) {
      return new ConnectionLost(callError(call, undefined, { symbol, sdk }));
    }
    if (!(thrown instanceof SdkGenericError)) throw thrown;
  }
  return callError(call, reason, { symbol, sdk });
}
