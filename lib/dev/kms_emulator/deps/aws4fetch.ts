/**
 * The signer of AWS's Signature Version 4: `aws4fetch` (MIT, no dependencies). Only its signer is used: its client keeps credentials and
 * retries ten times. Not in `deno.json`'s import map and not in `enclave.lock`, since the enclave's SDK signs its own requests.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { AwsV4Signer } from "npm:aws4fetch@1.0.20";
