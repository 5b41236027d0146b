/**
 * Reports the permissions of an SDK process. It replaces `lib/enclave/kms/sdk_process/process_main.ts` in a
 * run of `main.ts sdk-process` from source.
 *
 * @module
 */
import { heldPermissions } from "../../lib/enclave/cli/permissions.ts";
import type { SdkProcessStreams } from "../../lib/enclave/kms/sdk_process/process_main.ts";

/** Writes the kinds of permission that are held, as JSON, and ends. */
export function runSdkProcess({ stdout }: SdkProcessStreams): Promise<void> {
  stdout.writeSync(new TextEncoder().encode(JSON.stringify(heldPermissions())));
  return Promise.resolve();
}
