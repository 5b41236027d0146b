/**
 * The root of simulated modules, kept in files: the certificate, whose path is given to a KMS emulator or a verifier, and beside it the private
 * key, so that a restarted service signs under the same root.
 *
 * Permission: read and write of the two files.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { type Holder, openKept } from "../certificates.ts";
import { ES384, makeSimulatedRoot } from "./simulated.ts";

/**
 * Opens the root in `<file>` and `<file>.key`, or makes it if neither exists.
 *
 * @param file the certificate, PEM; its key is in `<file>.key`, PKCS #8, mode 0600
 * @throws {EnclaveError} `simulated_root` when the files cannot be used.
 */
export async function openSimulatedRoot(
  file: string,
  { now = new Date() }: { readonly now?: Date } = {},
): Promise<Holder> {
  const key = `${file}.key`;
  const make = () => makeSimulatedRoot({ from: now, extractable: true });
  try {
    return await openKept({ certificate: file, key }, { algorithm: ES384, now, make });
  } catch (thrown) {
    throw new EnclaveError(`Cannot use ${file} for --nsm-root: ${messageOf(thrown)}`, {
      code: "simulated_root",
      hint: `Name a file in a folder that you may write to; remove it and ${key} to have a new root.`,
      cause: thrown,
    });
  }
}
