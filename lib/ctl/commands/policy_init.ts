/**
 * `denclavectl policy init`: writes `denclave-policy.yaml`.
 *
 * @module
 */
import { EXIT, type Options } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { formatPolicyIntent, parsePolicyIntent } from "../config/policy_intent.ts";
import type { Command } from "../terminal/command.ts";
import { requireKey } from "../terminal/io.ts";
import {
  ADMIN_OPTION,
  ISSUER_OPTION,
  KEY_OPTION,
  MEASUREMENTS_OPTION,
  PARENT_OPTION,
  POLICY_FILE,
  POLICY_FILE_OPTION,
} from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";

/** `policy init` */
export const POLICY_INIT: Command = {
  path: "policy init",
  summary: `write ${POLICY_FILE}, which the other policy commands read`,
  usage: "-k <key arn> --parent <arn> --admin <arn> [options]",
  about:
    `Writes the file that says who may do what with the key. The other policy commands and the doctor read it, so that
nothing has to be given twice. An existing file is never overwritten: edit it.`,
  options: [
    KEY_OPTION,
    PARENT_OPTION,
    ADMIN_OPTION,
    ISSUER_OPTION,
    { name: "no-inspect", help: "do not let the parent read the key's state and policy (doctor needs it)" },
    { ...MEASUREMENTS_OPTION, help: `${MEASUREMENTS_OPTION.help}, the newest last` },
    POLICY_FILE_OPTION,
  ],
  run: init,
};

async function init(options: Options, io: CtlIo): Promise<number> {
  const { arn: key } = requireKey(options);
  const file = options.text("policy-file") ?? POLICY_FILE;
  const builds = options.list("measurements");
  const text = formatPolicyIntent({
    key,
    parents: options.list("parent"),
    administrators: options.list("admin"),
    issuers: options.list("issuer"),
    inspect: !options.on("no-inspect"),
    builds: builds.length === 0 ? ["build/enclave.json"] : builds,
  });
  // Report missing options before writing.
  parsePolicyIntent(text, file);
  try {
    await Deno.writeTextFile(file, text, { createNew: true });
  } catch (thrown) {
    throw new EnclaveError(`Cannot write ${file}: ${messageOf(thrown)}`, {
      code: "usage",
      hint: "An existing file is never overwritten: edit it, or name another with -f.",
      cause: thrown,
    });
  }
  return io.stdout(`${file}\n`), EXIT.ok;
}
