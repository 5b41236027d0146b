/**
 * KMS calls with the SDK's own `…_blocking` functions: for the one-shot functions, and for warm clients whose internals are not known.
 *
 * @module
 */
import { SdkError, sdkError } from "../../../../ffi/errors.ts";
import { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import type { KmsReason } from "../../../shared/aws/kms_reasons.ts";
import { askForReason, isAttestable, REQUEST_SYMBOL, runAttested } from "./attested_request.ts";
import { algorithmOf, callError, type Connection, type KmsCall, type KmsCallResult } from "./calls.ts";

/**
 * Makes a call on a client.
 *
 * @throws {SdkError} of the call's kind, with KMS's error where it is known; as lost where there was none.
 */
export function runBlocking(connection: Connection, call: KmsCall): KmsCallResult {
  const { library, client, internals } = connection;
  switch (call.kind) {
    case "decrypt": {
      const { ciphertext, keyId, context: entries } = call;
      const context = entries && JSON.stringify(entries);
      const plaintext = library.decrypt(client, { ciphertext, keyId, algorithm: algorithmOf(call), context });
      if (plaintext !== undefined) return { plaintext: new SecretBytes(plaintext) };
      const symbol = `aws_kms_decrypt_blocking${context === undefined ? "" : "_with_context"}`;
      throw failure(connection, call, symbol);
    }
    case "generateDataKey": {
      if (call.context === undefined) {
        const key = library.generateDataKey(client, call.keyId, call.keySpec);
        if (key !== undefined) return { ...key, plaintext: new SecretBytes(key.plaintext) };
        throw failure(connection, call, "aws_kms_generate_data_key_blocking");
      }
      // The SDK's own GenerateDataKey cannot carry an EncryptionContext.
      if (isAttestable(connection)) return runAttested(connection, call);
      const why = "unknown" in internals ? internals.unknown : "";
      const what = "Cannot generate a data key with an EncryptionContext";
      throw sdkError("sdk_kms_data_key", `${what}: these libraries are not SDK 0.4's (${why})`, {
        symbol: REQUEST_SYMBOL,
        hint: "Build both libraries from SDK 0.4, with its own functions exported.",
      });
    }
    case "generateRandom": {
      const plaintext = library.generateRandom(client, call.length);
      if (plaintext !== undefined) return { plaintext: new SecretBytes(plaintext) };
      throw failure(connection, call, "aws_kms_generate_random_blocking");
    }
    default:
      return call satisfies never;
  }
}

/** The SDK drops KMS's error, so the call is repeated to get it where that is possible. */
function failure(connection: Connection, call: KmsCall, symbol: string): Error {
  const sdk = connection.library.lastError();
  let reason: KmsReason | undefined;
  let isLost = false;
  try {
    if (isAttestable(connection)) reason = askForReason(connection, call);
  } catch (thrown) {
    if (!(thrown instanceof SdkError)) throw thrown;
    ({ isLost } = thrown);
  }
  return callError(call, reason, { symbol, sdk, isLost });
}
