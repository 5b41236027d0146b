/**
 * AWS's Signature Version 4, computed by aws4fetch: by the client to sign a request, by the emulator to check one.
 *
 * The signer needs strings, which cannot be wiped, and caches what it derives from the secret: each signature uses a new cache, which is then wiped.
 *
 * @module
 */
import { AwsV4Signer } from "./deps/aws4fetch.ts";

/** What is signed, and with what. */
interface ToSign {
  readonly method: string;
  /** Its host is signed as `host`. */
  readonly url: string;
  /** All of these are signed, besides `host` and `x-amz-date`. */
  readonly headers: Headers;
  readonly body: string | Uint8Array<ArrayBuffer>;
  readonly service: string;
  readonly region: string;
  /** As in `x-amz-date`. */
  readonly stamp: string;
  readonly accessKeyId: string;
  /** Borrowed. */
  readonly secretAccessKey: Uint8Array;
}

/** A time as `x-amz-date` has it. */
export function stampOf(time: number): string {
  return new Date(time).toISOString().replace(/[:-]|\.\d{3}/g, "");
}

/** Gives the Authorization header, and `x-amz-date` with it. */
export async function signedHeaders({ stamp, secretAccessKey, ...request }: ToSign): Promise<Headers> {
  const cache = new Map<string, ArrayBuffer>();
  try {
    const signer = new AwsV4Signer({
      ...request,
      secretAccessKey: new TextDecoder().decode(secretAccessKey),
      datetime: stamp,
      // Without it, content-type and content-length would not be signed, which AWS's C library does sign.
      allHeaders: true,
      cache,
    });
    return (await signer.sign()).headers;
  } finally {
    for (const derived of cache.values()) new Uint8Array(derived).fill(0);
  }
}
