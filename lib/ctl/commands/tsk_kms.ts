/**
 * `denclavectl tsk` with the KMS of AWS. Separate from `tsk.ts`, so that the development service has the same commands without the AWS SDK.
 *
 * @module
 */
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { AWS_OPTIONS, credentialSource, type CtlIo } from "../terminal/io.ts";
import { runTsk, type TskBackend } from "./tsk.ts";

const OPTIONS = [
  {
    name: "kms-key",
    short: "k",
    env: "DENCLAVE_KMS_KEY",
    value: "ARN",
    help: "the KMS key that the enclave is allowed to use",
  },
  ...AWS_OPTIONS.filter(({ name }) => name !== "region"),
] as const satisfies readonly OptionSpec[];

function backend(io: CtlIo): TskBackend {
  return {
    command: "denclavectl tsk",
    options: OPTIONS,
    open: async (options: Options) => {
      const arn = options.text("kms-key");
      if (arn === undefined) {
        throw new UsageError(
          "Which KMS key?",
          "Give -k <key arn>: the key that the enclave's KMS_KEYS names.",
        );
      }
      const key = parseKeyArn(arn);
      const { openKmsWrapper } = await import("../client/kms_wrapper.ts");
      return openKmsWrapper({
        key,
        credentials: credentialSource(options, io),
        endpoint: options.text("endpoint-url"),
      });
    },
  };
}

/** Runs a command of the group. */
export function runKmsTsk(command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  return runTsk(command, argv, io, backend(io));
}
