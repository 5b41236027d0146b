/**
 * `tsk create`, `tsk wrap` and `tsk show`: trusted session keys, run by their issuer, the owner of the data.
 *
 * @module
 */
import type { Options, OptionSpec } from "../../shared/cli/options.ts";
import {
  createSessionKey,
  fingerprint,
  type KeyWrapper,
  readSessionKey,
  wrapSessionKey,
} from "../client/session_keys.ts";
import { type Command, printResult, required } from "../terminal/command.ts";
import { EPOCH_OPTION, JSON_OPTION, TSK_FILE_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";

/** Which KMS the keys are wrapped by: AWS's for `denclavectl`, the local one for `deno task dev tsk`. */
export interface TskBackend {
  readonly options: readonly OptionSpec[];
  readonly open: (options: Options, io: CtlIo) => Promise<KeyWrapper>;
}

const ABOUT =
  `A trusted session key (TSK) seals the data that goes to the enclave and comes back. The owner of the data makes it, on a machine of
their own and with credentials of their own; the parent instance gets it wrapped, and only the attested enclave can have KMS unwrap it.
It is wrapped under the EncryptionContext app=denclave,purpose=tsk, which the enclave expects by default.`;

function fileOf(options: Options): string {
  return required(options, "tsk-file", "It names the session key's file.");
}

function epochOf(options: Options): number | undefined {
  return options.text("epoch") === undefined
    ? undefined
    : options.number("epoch", { min: 0, max: Number.MAX_SAFE_INTEGER });
}

/** The commands of the group. What fails leaves nothing behind. */
export function tskCommands(backend: TskBackend): readonly Command[] {
  const options = [TSK_FILE_OPTION, EPOCH_OPTION, ...backend.options, JSON_OPTION];
  return [
    {
      path: "tsk create",
      summary: "make a trusted session key, wrapped for the enclave (run by the owner of the data)",
      usage: "--tsk-file FILE [options]",
      about:
        `Makes a session key, keeps it in FILE, and prints it wrapped. An existing file is never overwritten.\n\n${ABOUT}`,
      options,
      run: async (options, io) => {
        const [file, epoch] = [fileOf(options), epochOf(options)];
        await using wrapper = await backend.open(options, io);
        const wrapped = await createSessionKey(file, wrapper, epoch);
        return printResult(options, io, { json: wrapped, text: wrapped.encrypted_tsk });
      },
    },
    {
      path: "tsk wrap",
      summary: "wrap an existing session key for another KMS key or epoch",
      usage: "--tsk-file FILE [options]",
      about: `Wraps the session key in FILE again, for another KMS key or epoch.\n\n${ABOUT}`,
      options,
      run: async (options, io) => {
        const epoch = epochOf(options);
        using key = await readSessionKey(fileOf(options));
        await using wrapper = await backend.open(options, io);
        const wrapped = await wrapSessionKey(key, wrapper, epoch);
        return printResult(options, io, { json: wrapped, text: wrapped.encrypted_tsk });
      },
    },
    {
      path: "tsk show",
      summary: "print a session key's fingerprint",
      usage: "--tsk-file FILE [options]",
      options: [TSK_FILE_OPTION, JSON_OPTION],
      run: async (options, io) => {
        const file = fileOf(options);
        using key = await readSessionKey(file);
        const shown = { file, fingerprint: fingerprint(key) };
        return printResult(options, io, { json: shown, text: shown.fingerprint });
      },
    },
  ];
}
