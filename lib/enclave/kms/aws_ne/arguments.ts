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
  for (const [name, bytes] of CREDENTIALS.map((name) => [name, credentials.expose()[name]] as const)) {
    const { length } = bytes;
    const most = MAX_CREDENTIAL_LENGTH[name];
    const isThere = length > 0 || name === "sessionToken";
    need(isThere, name, `Cannot use ${name}: it is empty`, "Pass the credentials of the parent's IAM role.");
    const tooLong = `Cannot use ${name}: it has ${length} bytes, at most ${most} are possible`;
    need(length <= most, name, tooLong, "Check that the fields are not swapped.");
    need(
      !bytes.includes(0),
      name,
      `Cannot use ${name}: it contains a NUL`,
      "Pass the string as AWS gave it.",
    );
  }
}

function checkKeyId(keyId: string): void {
  const isRight = keyId.length <= MAX_KEY_ID_LENGTH && /^[\x21-\x7e]+$/.test(keyId);
  need(isRight, "keyId", `Cannot use key id ${quoted(keyId)}`, "Pass the key's ARN.");
}

function checkCiphertext({ length }: Uint8Array): void {
  need(length > 0, "ciphertext", "Cannot decrypt: the ciphertext is empty", "Pass KMS's CiphertextBlob.");
  const tooLong =
    `Cannot decrypt: the ciphertext has ${length} bytes, KMS takes at most ${MAX_CIPHERTEXT_LENGTH}`;
  const hint = "KMS opens wrapped keys, not data: decrypt the data with the key that it releases.";
  need(length <= MAX_CIPHERTEXT_LENGTH, "ciphertext", tooLong, hint);
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
    case "generateRandom":
      return need(
        Number.isInteger(call.length) && call.length >= 1 && call.length <= MAX_RANDOM_LENGTH,
        "length",
        `Cannot generate ${call.length} random bytes`,
        `KMS gives 1 to ${MAX_RANDOM_LENGTH} at a time.`,
      );
    default:
      return call satisfies never;
  }
}
