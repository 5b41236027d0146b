/**
 * Takes the place of `lib/shared/wire/connect.ts` in the npm package, which opens no sockets.
 *
 * @module
 */
import { EnclaveError } from "../../lib/shared/errors.ts";
import { type Address, formatAddress, type Stream } from "../../lib/shared/wire/address.ts";

/**
 * Opens nothing.
 *
 * @throws {EnclaveError} `connect_failed`, always
 */
export function connect(address: Address, _timeoutMs: number): Promise<Stream> {
  return Promise.reject(
    new EnclaveError(`Cannot connect to ${formatAddress(address)}: this package opens no sockets`, {
      code: "connect_failed",
      hint: "Open a stream, and give it to Client.over(stream).",
    }),
  );
}
