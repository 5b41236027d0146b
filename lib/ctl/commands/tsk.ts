/**
 * `denclavectl tsk create`, `tsk wrap` and `tsk show`: trusted session keys, run by their issuer, the owner of the data.
 *
 * @module
 */
import {
  COMMON_OPTIONS,
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import {
  createSessionKey,
  fingerprint,
  type KeyWrapper,
  readSessionKey,
  type WrappedSessionKey,
  wrapSessionKey,
} from "../client/session_keys.ts";
import type { CtlIo } from "../terminal/io.ts";

/** Commands of the group. */
export const TSK_COMMANDS = ["create", "wrap", "show"] as const;

/** Options of each command, beside those that say which KMS. */
export const TSK_OPTIONS = [
  {
    name: "tsk-file",
    value: "FILE",
    help: "the session key, 64 hex digits, mode 0600: create writes it and never overwrites it",
  },
  {
    name: "epoch",
    value: "N",
    help: "bind this epoch, for a service with --require-epoch: each wrapped key needs a higher one",
  },
  { name: "json", help: "print the wrapped key with its KMS key, context and fingerprint as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

/** Which KMS the keys are wrapped by: AWS's for `denclavectl`, the local one for `deno task dev new-tsk`. */
export interface TskBackend {
  /** How the command is called. */
  readonly command: string;
  readonly options: readonly OptionSpec[];
  readonly open: (options: Options) => Promise<KeyWrapper>;
}

function help({ command, options }: TskBackend): string {
  return `usage: ${command} create --tsk-file FILE [options]   make a session key, keep it in FILE, print it wrapped
       ${command} wrap --tsk-file FILE [options]     wrap it again, for another KMS key or epoch
       ${command} show --tsk-file FILE               print the key's fingerprint

A trusted session key (TSK) seals the data that goes to the enclave and comes back. The owner of the data makes it, on a machine of
their own and with credentials of their own; the parent instance gets it wrapped, and only the attested enclave can have KMS unwrap it.
It is wrapped under the EncryptionContext app=denclave,purpose=tsk, which the enclave expects by default.

${helpLines([...options, ...TSK_OPTIONS])}
`;
}

function epochOf(options: Options): number | undefined {
  return options.text("epoch") === undefined
    ? undefined
    : options.number("epoch", { min: 0, max: Number.MAX_SAFE_INTEGER });
}

/** Runs one of the {@link TSK_COMMANDS}. @throws {EnclaveError} what failed, with nothing left behind. */
export async function runTsk(
  command: string,
  argv: readonly string[],
  io: CtlIo,
  backend: TskBackend,
): Promise<number> {
  const options = parseOptions([...backend.options, ...TSK_OPTIONS], argv, io.env);
  if (options.on("help")) return io.stdout(help(backend)), EXIT.ok;
  const file = options.text("tsk-file");
  if (file === undefined) throw new UsageError("--tsk-file must be set", "It names the session key's file.");
  const epoch = epochOf(options);
  if (command === "show") {
    using key = await readSessionKey(file);
    const shown = { file, fingerprint: fingerprint(key) };
    io.stdout(options.on("json") ? `${JSON.stringify(shown)}\n` : `${shown.fingerprint}\n`);
    return EXIT.ok;
  }
  let wrapped: WrappedSessionKey;
  if (command === "create") {
    await using wrapper = await backend.open(options);
    wrapped = await createSessionKey(file, wrapper, epoch);
  } else {
    using key = await readSessionKey(file);
    await using wrapper = await backend.open(options);
    wrapped = await wrapSessionKey(key, wrapper, epoch);
  }
  io.stdout(options.on("json") ? `${JSON.stringify(wrapped)}\n` : `${wrapped.encrypted_tsk}\n`);
  return EXIT.ok;
}
