/**
 * Connects to a service. For Deno.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";
import { within } from "../within.ts";
import { type Address, formatAddress, type Stream } from "./address.ts";

/**
 * Connects, with a time-out.
 *
 * @param timeoutMs milliseconds
 * @throws {EnclaveError} `connect_failed`
 */
export async function connect(address: Address, timeoutMs: number): Promise<Stream> {
  const connecting = open(address);
  try {
    return await within(timeoutMs, connecting, () => new Error(`no answer within ${timeoutMs} ms`));
  } catch (thrown) {
    void connecting.then((stream) => stream.close(), () => {});
    throw new EnclaveError(`Cannot connect to ${formatAddress(address)}: ${messageOf(thrown)}`, {
      code: "connect_failed",
      hint: address.transport === "vsock"
        ? "Check that the enclave runs (nitro-cli describe-enclaves) with this CID, and listens on this port. A service on a host is at tcp:127.0.0.1:5000."
        : "Check that the service listens there.",
      cause: thrown,
    });
  }
}

async function open(address: Address): Promise<Stream> {
  switch (address.transport) {
    case "vsock":
      return await Deno.connect(address) as unknown as Stream;
    case "tcp": {
      const stream = await Deno.connect(address);
      stream.setNoDelay(true);
      return stream;
    }
    case "unix":
      return await Deno.connect(address);
    default:
      return address satisfies never;
  }
}
