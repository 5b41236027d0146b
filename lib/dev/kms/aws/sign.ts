/**
 * A request to KMS's JSON API, signed (AWS General Reference, Signature Version 4).
 *
 * The signer needs strings, which cannot be wiped: they are made for one signature and released after it. The signer caches what it derives
 * from the secret; each signature here uses a new cache, which is then wiped.
 *
 * @module
 */
import type { Credentials } from "../../../shared/aws/credentials.ts";
import { SdkArgumentError } from "../../../enclave/kms/aws_ne/errors.ts";
import type { SecretBytes } from "../../../shared/crypto/secret_bytes.ts";
import { AwsV4Signer } from "../deps/aws4fetch.ts";

/** An operation of KMS. */
export type KmsOperation = "Decrypt" | "GenerateDataKey" | "GenerateRandom";

/** The request to sign. */
export interface UnsignedRequest {
  /** The endpoint. */
  readonly url: string;
  readonly region: string;
  readonly operation: KmsOperation;
  /** JSON. */
  readonly body: string;
  /** Wall clock, milliseconds since 1970. */
  readonly now: number;
}

/**
 * The headers of a signed POST; the signature covers all headers that are set here.
 *
 * @throws {SdkArgumentError} when a credential has characters that a header cannot carry.
 */
export async function signRequest(request: UnsignedRequest, credentials: Credentials): Promise<Headers> {
  const { url, region, operation, body, now } = request;
  const cache = new Map<string, ArrayBuffer>();
  try {
    const sessionToken = headerText("sessionToken", credentials.sessionToken);
    const signer = new AwsV4Signer({
      method: "POST",
      url,
      headers: {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": `TrentService.${operation}`,
      },
      body,
      accessKeyId: headerText("accessKeyId", credentials.accessKeyId),
      secretAccessKey: new TextDecoder().decode(credentials.secretAccessKey.expose()),
      ...(sessionToken === "" ? {} : { sessionToken }),
      service: "kms",
      region,
      datetime: new Date(now).toISOString().replace(/[:-]|\.\d{3}/g, ""),
      allHeaders: true,
      cache,
    });
    const { headers } = await signer.sign();
    return headers;
  } finally {
    for (const derived of cache.values()) new Uint8Array(derived).fill(0);
    cache.clear();
  }
}

/** Checks values first, since the runtime's error for an invalid header would print the value. */
function headerText(name: string, secret: SecretBytes): string {
  if (secret.expose().every((byte) => byte >= 0x21 && byte <= 0x7e)) {
    return new TextDecoder().decode(secret.expose());
  }
  throw new SdkArgumentError(`Cannot use ${name}: it has characters that no header can carry`, {
    symbol: name,
    hint: "Pass the string as AWS gave it, without line ends or spaces.",
  });
}
