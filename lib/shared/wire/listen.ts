/**
 * Opens listeners. For Deno.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";
import { type Address, formatAddress } from "./address.ts";

/**
 * Opens a listener. Needs net permission for the address (for a Unix socket: read and write for its path).
 *
 * @returns the listener, and the address with the port that was chosen where 0 was asked for
 * @throws {EnclaveError} `listen_failed`
 */
export function listen(address: Address): { readonly listener: Deno.Listener; readonly address: Address } {
  try {
    // The types of the vsock listener differ between the versions of Deno that are supported.
    const listener = Deno.listen(address as Deno.TcpListenOptions);
    const bound = address.transport === "tcp" ? { ...address, port: listener.addr.port } : address;
    return { listener, address: bound };
  } catch (thrown) {
    throw new EnclaveError(`Cannot listen on ${formatAddress(address)}: ${messageOf(thrown)}`, {
      code: "listen_failed",
      hint: thrown instanceof Deno.errors.AddrInUse
        ? "Another process has the address: stop it, or choose another port."
        : thrown instanceof Deno.errors.NotCapable
        ? "The compiled binary may listen on the vsock port that it was built for; another needs a build of its own (deno task compile --port)."
        : address.transport === "unix"
        ? "Check that the socket's folder exists and may be written to."
        : address.transport === "tcp"
        ? "Check that this machine has the address, and that the port may be used."
        : "vsock needs /dev/vsock; on a host use --listen tcp:127.0.0.1:5000 or unix:<path>.",
      cause: thrown,
    });
  }
}
