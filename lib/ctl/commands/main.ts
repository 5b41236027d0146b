/**
 * `denclavectl`: the list of its commands, and what it prints for errors.
 *
 * @module
 */
import { AttestationError } from "../../shared/attestation/errors.ts";
import { ReceiptError } from "../../shared/receipts/errors.ts";
import { failureLines, namedFailure } from "../terminal/failure.ts";
import { EXIT } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { VERSION } from "../../shared/version.ts";
import { KeyPolicyError } from "../aws/key_policy.ts";
import { ServiceError } from "../client/client.ts";
import { KeyAdminError } from "../aws/key_admin.ts";
import { SealedError } from "../client/sealed_client.ts";
import { ConfigError } from "../config/errors.ts";
import { EifError } from "../eif/errors.ts";
import { PolicyError } from "../policy/errors.ts";
import { StoreError } from "../stores/account_store.ts";
import { type Command, runProgram } from "../terminal/command.ts";
import { type CtlIo, oneLine, printable } from "../terminal/printing.ts";
import { ACCOUNT_COMMANDS } from "./account.ts";
import { ACCOUNT_CREATE } from "./account_create.ts";
import { ACCOUNT_REWRAP } from "./account_rewrap.ts";
import { ATTEST_VERIFY } from "./attest.ts";
import { BRIDGE } from "./bridge.ts";
import { CLIENT_COMMANDS } from "./client.ts";
import { completionCommands } from "./completion.ts";
import { DOCTOR } from "./doctor.ts";
import { EIF_BUILD } from "./eif_build.ts";
import { EIF_INSPECT_COMMANDS } from "./eif_inspect.ts";
import { EIF_REPRODUCE } from "./eif_reproduce.ts";
import { EIF_TRUST_STORE } from "./eif_trust_store.ts";
import { EMULATOR_SERVE } from "./emulator.ts";
import { GATEWAY_COMMANDS } from "./gateway.ts";
import { KMS_CREATE_KEY } from "./kms.ts";
import { POLICY_APPLY } from "./policy_apply.ts";
import { POLICY_IAM } from "./policy_iam.ts";
import { POLICY_INIT } from "./policy_init.ts";
import { POLICY_DIFF, POLICY_LINT } from "./policy_lint.ts";
import { POLICY_RENDER_COMMANDS } from "./policy_render.ts";
import { RECEIPT_VERIFY } from "./receipt.ts";
import { SDK_CHECK } from "./sdk_check.ts";
import { STATUS } from "./status.ts";
import { TSK_COMMANDS } from "./tsk_kms.ts";

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  ...CLIENT_COMMANDS,
  ACCOUNT_CREATE,
  ACCOUNT_REWRAP,
  ...ACCOUNT_COMMANDS,
  ATTEST_VERIFY,
  RECEIPT_VERIFY,
  ...GATEWAY_COMMANDS,
  KMS_CREATE_KEY,
  ...TSK_COMMANDS,
  POLICY_INIT,
  POLICY_IAM,
  POLICY_LINT,
  POLICY_DIFF,
  ...POLICY_RENDER_COMMANDS,
  POLICY_APPLY,
  ...EIF_INSPECT_COMMANDS,
  EIF_BUILD,
  EIF_REPRODUCE,
  EIF_TRUST_STORE,
  SDK_CHECK,
  STATUS,
  DOCTOR,
  BRIDGE,
  EMULATOR_SERVE,
  ...completionCommands(() => COMMANDS),
];

const help = (commands: string) =>
  `denclavectl ${VERSION}: the tools for everything outside the enclave

usage: denclavectl <group> <command> [options]      --help after a group lists its commands, after a command its options
       (from source: deno task ctl <group> <command> [options])

${commands}
With --json, an error is JSON on stderr: {"error":{"code":"...","message":"...","hint":"..."}}.
exit codes: 0 done, 1 refused by the enclave, the store, AWS or a check, 2 usage or configuration,
            69 a file, the enclave, the store or AWS cannot be reached, 70 internal error,
            141 the program that read the output has ended
`;

/**
 * Runs one command line.
 *
 * @returns the exit code
 * @throws {EnclaveError} what failed; {@link ctlExitCode} has its exit code.
 */
export async function runCtl(argv: readonly string[], io: CtlIo): Promise<number> {
  return await runProgram({ name: "denclavectl", commands: COMMANDS, help }, argv, io);
}

/** Codes that mean that the enclave, the store or a check refused, as opposed to something missing. */
function isRefusal(thrown: unknown): boolean {
  if (thrown instanceof StoreError) {
    return !["store_table_missing", "store_missing", "store_unavailable"].includes(thrown.code);
  }
  if (thrown instanceof KeyAdminError) return !["kms_not_found", "kms_unavailable"].includes(thrown.code);
  if (thrown instanceof EifError) {
    return !["eif_unreadable", "library_missing", "blob_missing"].includes(thrown.code);
  }
  return [ServiceError, AttestationError, ReceiptError, SealedError, KeyPolicyError, PolicyError].some((
    refusal,
  ) => thrown instanceof refusal);
}

/** Formats what {@link runCtl} threw for stderr: text, or JSON with `--json`. */
export function describeCtlFailure(
  failed: unknown,
  argv: readonly string[],
): ReturnType<typeof failureLines> {
  // Standard output: errors of sockets come wrapped. `head` has read what it wanted, so there is nothing to say.
  if (failed instanceof Deno.errors.BrokenPipe) return { lines: [], exitCode: EXIT.closedPipe };
  const thrown = namedFailure(failed);
  const exitCode = ctlExitCode(thrown);
  if (!argv.includes("--json")) {
    // The errors of a configuration file are lines; all others are one.
    const show = thrown instanceof ConfigError ? printable : oneLine;
    return { lines: failureLines(thrown).lines.map((line) => show(line)), exitCode };
  }
  const error = {
    code: thrown instanceof EnclaveError ? thrown.code : "internal_error",
    message: messageOf(thrown),
    hint: thrown instanceof EnclaveError ? thrown.hint : undefined,
  };
  return { lines: [printable(JSON.stringify({ error }))], exitCode };
}

/** The exit code of what {@link runCtl} threw. */
export function ctlExitCode(thrown: unknown): number {
  return isRefusal(thrown) ? EXIT.failed : failureLines(thrown).exitCode;
}
