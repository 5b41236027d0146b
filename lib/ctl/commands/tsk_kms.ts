/**
 * `denclavectl tsk` with the KMS of AWS. Separate from `tsk.ts`, so that the development service has the same commands without the AWS SDK.
 *
 * @module
 */
import type { Command } from "../terminal/command.ts";
import { credentialSource, requireKey } from "../terminal/io.ts";
import { AWS_OPTIONS, KEY_OPTION } from "../terminal/options.ts";
import { tskCommands } from "./tsk.ts";

/** The commands of the group. */
export const TSK_COMMANDS: readonly Command[] = tskCommands({
  options: [KEY_OPTION, ...AWS_OPTIONS],
  open: async (options, io) => {
    const key = requireKey(options);
    const { openKmsWrapper } = await import("../client/kms_wrapper.ts");
    return openKmsWrapper({
      key,
      credentials: credentialSource(options, io),
      endpoint: options.text("endpoint-url"),
    });
  },
});
