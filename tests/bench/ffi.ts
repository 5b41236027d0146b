/**
 * What the binding costs, against the C stand-ins: one call, a one-shot cycle, and a warm call. AWS's library does a network round trip on top.
 *
 * @module
 */
import { Credentials, kmsDecrypt, openSdk, WarmSession } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { microseconds } from "./crypto.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

/** Measures and prints. */
export function benchFfi(quick: boolean, print: (line: string) => void): Promise<Record<string, number>> {
  const times = quick ? 200 : 5_000;
  const sdk = openSdk({ libraryDir: NATIVE_DIR });
  using credentials = Credentials.fromStrings({
    accessKeyId: "AKIDBENCH",
    secretAccessKey: "made-for-this",
    sessionToken: "made-for-this",
  });
  const ciphertext = stubWrap(new Uint8Array(32));
  const figures: Record<string, number> = {
    "one symbol (aws_last_error)": microseconds(times * 10, () => sdk.symbols.aws_last_error()),
    "one-shot kmsDecrypt, init to clean-up": microseconds(times, () => {
      using _plaintext = kmsDecrypt("us-east-1", credentials, ciphertext, { sdk, keyId: STUB_KEY_ARN });
    }),
  };
  {
    using session = new WarmSession({
      open: () => sdk,
      proxyPort: 8000,
      seedBytes: 0,
      idleMs: 60_000,
      maxWarm: 4,
      now: () => performance.now(),
    });
    figures["decrypt on a warm session"] = microseconds(times, () => {
      const { plaintext } = session.call("us-east-1", credentials, {
        kind: "decrypt",
        ciphertext,
        keyId: STUB_KEY_ARN,
      });
      plaintext[Symbol.dispose]();
    });
  }
  print("the binding, microseconds (C stand-ins: no network, no TLS)");
  for (const [what, us] of Object.entries(figures)) {
    print(`  ${what.padEnd(40)}${us.toFixed(2).padStart(10)}`);
  }
  return Promise.resolve(figures);
}
