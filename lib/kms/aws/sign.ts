/**
 * A request to KMS's JSON API, signed (AWS General Reference, Signature Version 4).
 *
 * The signer takes strings, which cannot be wiped: they are made for one signature and let go after it. What it derives from the secret lies in
 * a cache of its own, which is a new one each time here, and wiped.
 *
 * @module
 */
import type { Credentials } from "../../aws/credentials.ts";
import { SdkArgumentError } from "../../aws_ne/errors.ts";
import type { SecretBytes } from "../../crypto/secret_bytes.ts";
import { AwsV4Signer } from "../deps/aws4fetch.ts";

/** An operation of KMS. */
export type KmsOperation = "Decrypt" | "GenerateDataKey" | "GenerateRandom";

/** What is signed. */
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
 * The headers of a signed POST, every one that is set here among what is signed.
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

/** A runtime that refuses a header prints its value: so such values do not get there. */
function headerText(name: string, secret: SecretBytes): string {
  if (secret.expose().every((byte) => byte >= 0x21 && byte <= 0x7e)) {
    return new TextDecoder().decode(secret.expose());
  }
  throw new SdkArgumentError(`Cannot use ${name}: it has characters that no header can carry`, {
    symbol: name,
    hint: "Pass the string as AWS gave it, without line ends or spaces.",
  });
}
