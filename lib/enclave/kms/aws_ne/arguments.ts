/**
 * Checks of a call's arguments, made before any C code sees them: each error names the parameter and the remedy.
 *
 * @module
 */
import { sdkError } from "../../../../ffi/errors.ts";
import { CREDENTIALS, type Credentials } from "../../../shared/aws/credentials.ts";
import {
  MAX_CIPHERTEXT_LENGTH,
  MAX_CREDENTIAL_LENGTH,
  MAX_KEY_ID_LENGTH,
  MAX_RANDOM_LENGTH,
} from "../../../shared/aws/kms_limits.ts";
import { isRegion } from "../../../shared/aws/region.ts";
import type { KmsCall } from "./calls.ts";

/** Algorithms that the SDK's Decrypt supports. */
const ALGORITHMS: readonly string[] = ["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];

function need(isRight: boolean, symbol: string, message: string, hint: string): void {
  if (!isRight) throw sdkError("invalid_argument", message, { symbol, hint });
}

const quoted = (text: string) => JSON.stringify(text.slice(0, 64));

function checkCredentials(credentials: Credentials): void {
  for (const name of CREDENTIALS) {
    const bytes = credentials.expose()[name];
    const least = name === "sessionToken" ? 0 : 1;
    const most = MAX_CREDENTIAL_LENGTH[name];
    const isRight = bytes.length >= least && bytes.length <= most && !bytes.includes(0);
    const message = `Cannot use ${name}: it must have ${least} to ${most} bytes, none of them NUL`;
    need(isRight, name, message, "Pass the credentials of the parent's IAM role as AWS gave them.");
  }
}

function checkKeyId(keyId: string): void {
  const isRight = keyId.length <= MAX_KEY_ID_LENGTH && /^[\x21-\x7e]+$/.test(keyId);
  need(isRight, "keyId", `Cannot use key id ${quoted(keyId)}`, "Pass the key's ARN.");
}

function checkCiphertext({ length }: Uint8Array): void {
  const message = `Cannot decrypt ${length} bytes: a CiphertextBlob has 1 to ${MAX_CIPHERTEXT_LENGTH}`;
  const hint = "Pass a key as KMS wrapped it: data is decrypted with the key that KMS releases.";
  need(length > 0 && length <= MAX_CIPHERTEXT_LENGTH, "ciphertext", message, hint);
}

/** @throws {SdkError} `invalid_argument` that names the first invalid parameter. */
export function checkCall(region: string, credentials: Credentials, call: KmsCall): void {
  const regionHint = "Give a region's name such as us-west-2.";
  need(isRegion(region), "region", `Cannot use region ${quoted(region)}`, regionHint);
  checkCredentials(credentials);
  switch (call.kind) {
    case "decrypt": {
      checkCiphertext(call.ciphertext);
      if (call.keyId !== undefined) checkKeyId(call.keyId);
      const { algorithm = "SYMMETRIC_DEFAULT" } = call;
      const message = `Cannot use encryption algorithm ${quoted(algorithm)}`;
      const hint = `Use one of ${ALGORITHMS.join(", ")}.`;
      return need(ALGORITHMS.includes(algorithm), "encryptionAlgorithm", message, hint);
    }
    case "generateDataKey":
      return checkKeyId(call.keyId);
    case "generateRandom": {
      const { length } = call;
      const isRight = Number.isInteger(length) && length >= 1 && length <= MAX_RANDOM_LENGTH;
      const hint = `KMS gives 1 to ${MAX_RANDOM_LENGTH} at a time.`;
      return need(isRight, "length", `Cannot generate ${length} random bytes`, hint);
    }
    default:
      return call satisfies never;
  }
}
