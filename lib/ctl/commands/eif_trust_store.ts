/**
 * `denclavectl eif trust-store`.
 *
 * @module
 */
import { EXIT, UsageError } from "../../shared/cli/options.ts";
import { selectCertificates } from "../image/trust_store.ts";
import type { Command } from "../terminal/command.ts";
import { readInput } from "../terminal/io.ts";

/** `eif trust-store` */
export const EIF_TRUST_STORE: Command = {
  path: "eif trust-store",
  summary: "reduce a bundle of CA certificates to those of KMS",
  usage: "<bundle.pem> <output.pem>",
  about:
    "Cuts a bundle of CA certificates down to those that KMS's certificates chain to (Amazon Trust Services).",
  options: [],
  positionals: 2,
  run: async (options, io) => {
    const [from, to] = options.positionals;
    if (from === undefined || to === undefined) {
      throw new UsageError(
        "Give two files: a bundle of certificates, and the file to write",
        "--help shows the usage.",
      );
    }
    const selected = selectCertificates(await readInput(from));
    await Deno.writeTextFile(to, selected);
    return io.stdout(`${to}: ${selected.split("BEGIN CERTIFICATE").length - 1} CA certificates\n`), EXIT.ok;
  },
};
