/**
 * Takes the place of `lib/shared/wire/connect.ts` in the npm package: sockets of Node's. Bundlers find no
 * import of Node's modules here; in a browser nothing is opened.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../lib/shared/errors.ts";
import { within } from "../../lib/shared/within.ts";
import { type Address, formatAddress, type Stream } from "../../lib/shared/wire/address.ts";
import { type NodeSocket, streamOf } from "../../lib/ctl/client/streams.ts";

type Socket = NodeSocket & { once(event: "connect", listener: () => void): unknown };
type Target = { readonly host: string; readonly port: number; readonly noDelay: true } | {
  readonly path: string;
};
interface Node {
  readonly process?: {
    getBuiltinModule?(name: "node:net"): { connect(target: Target): Socket } | undefined;
  };
}

function refused(address: Address, why: string, hint: string, cause?: unknown): EnclaveError {
  const message = `Cannot connect to ${formatAddress(address)}: ${why}`;
  return new EnclaveError(message, { code: "connect_failed", hint, cause });
}

/**
 * Connects, with a time-out.
 *
 * @param timeoutMs milliseconds
 * @throws {EnclaveError} `connect_failed`
 */
export async function connect(address: Address, timeoutMs: number): Promise<Stream> {
  if (address.transport === "vsock") {
    const bridge = `denclavectl bridge --listen unix:/run/denclave.sock --connect ${formatAddress(address)}`;
    throw refused(
      address,
      "Node has no vsock sockets",
      `Run ${bridge}, and connect to unix:/run/denclave.sock.`,
    );
  }
  const net = (globalThis as Node).process?.getBuiltinModule?.("node:net");
  if (net === undefined) {
    const hint = "Give the URL of an HTTP bridge, or a stream to Client.over. Sockets need Node 20.16.";
    throw refused(address, "there are no sockets here", hint);
  }
  const { transport } = address;
  const socket = net.connect(
    transport === "unix"
      ? { path: address.path }
      : { host: address.hostname, port: address.port, noDelay: true },
  );
  const connected = new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.on("error", reject);
  });
  try {
    await within(timeoutMs, connected, () => new Error(`no answer within ${timeoutMs} ms`));
    return streamOf(socket);
  } catch (thrown) {
    socket.destroy();
    throw refused(address, messageOf(thrown), "Check that the service or the bridge listens there.", thrown);
  }
}
