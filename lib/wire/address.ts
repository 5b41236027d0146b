/**
 * Where a service listens or is reached: `vsock:<cid>:<port>`, `tcp:<host>:<port>`, `unix:<path>`.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../errors.ts";

const MAX_U32 = 0xffff_ffff;

/** CID that means any, for listening. */
export const VMADDR_CID_ANY: number = -1;

/** An address, taken apart. */
export type Address =
  | { readonly transport: "vsock"; readonly cid: number; readonly port: number }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** A stream that both sides use. */
export type Stream = Pick<Deno.Conn, "read" | "write" | "close">;

/**
 * Reads an address.
 *
 * @throws {EnclaveError} `invalid_address`
 */
export function parseAddress(text: string): Address {
  const fail = (): never => {
    throw new EnclaveError(`Cannot use address ${JSON.stringify(text)}`, {
      code: "invalid_address",
      hint: "Write vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>.",
    });
  };
  const colon = text.indexOf(":");
  const scheme = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (scheme === "unix" && rest !== "") return { transport: "unix", path: rest };
  const [, host = "", portText = ""] = /^(.*):([0-9]{1,10})$/.exec(rest) ?? [];
  const port = Number(portText);
  if (
    scheme === "vsock" && /^(-1|[0-9]{1,10})$/.test(host) && portText !== "" && port <= MAX_U32 &&
    Number(host) <= MAX_U32
  ) {
    return { transport: "vsock", cid: Number(host), port };
  }
  if (scheme === "tcp" && host !== "" && host !== "[]" && port <= 0xffff && portText !== "") {
    return { transport: "tcp", hostname: host.replace(/^\[(.*)\]$/, "$1"), port };
  }
  return fail();
}

/** An address as {@link parseAddress} reads it. */
export function formatAddress(address: Address): string {
  switch (address.transport) {
    case "vsock":
      return `vsock:${address.cid}:${address.port}`;
    case "tcp":
      return `tcp:${
        address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname
      }:${address.port}`;
    case "unix":
      return `unix:${address.path}`;
    default:
      return address satisfies never;
  }
}

/**
 * Opens a listener. Needs net permission for the address (for a Unix socket: read and write for its path).
 *
 * @returns the listener, and the address with the port that was chosen where 0 was asked for
 * @throws {EnclaveError} `listen_failed`
 */
export function listen(address: Address): { readonly listener: Deno.Listener; readonly address: Address } {
  try {
    switch (address.transport) {
      case "vsock":
        // deno-lint-ignore no-explicit-any -- the vsock listener's type differs between the Deno versions we support
        return { listener: Deno.listen(address) as any, address };
      case "tcp": {
        const listener = Deno.listen(address);
        return { listener, address: { ...address, port: listener.addr.port } };
      }
      case "unix":
        return { listener: Deno.listen(address) as unknown as Deno.Listener, address };
      default:
        return address satisfies never;
    }
  } catch (thrown) {
    throw new EnclaveError(`Cannot listen on ${formatAddress(address)}: ${messageOf(thrown)}`, {
      code: "listen_failed",
      hint: thrown instanceof Deno.errors.AddrInUse
        ? "Another process has the address: stop it, or choose another port."
        : thrown instanceof Deno.errors.NotCapable
        ? "The compiled binary may listen on the vsock port that it was built for; another needs a build of its own (deno task compile --port)."
        : "vsock needs /dev/vsock; on a host use --listen tcp:127.0.0.1:5000 or unix:<path>.",
      cause: thrown,
    });
  }
}

/**
 * Connects, or gives up.
 *
 * @param timeoutMs milliseconds
 * @throws {EnclaveError} `connect_failed`
 */
export async function connect(address: Address, timeoutMs: number): Promise<Stream> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  const connecting = open(address);
  try {
    return await Promise.race([connecting, late]);
  } catch (thrown) {
    void connecting.then((stream) => stream.close(), () => {});
    throw new EnclaveError(`Cannot connect to ${formatAddress(address)}: ${messageOf(thrown)}`, {
      code: "connect_failed",
      hint: address.transport === "vsock"
        ? "Check that the enclave runs (nitro-cli describe-enclaves) with this CID, and listens on this port."
        : "Check that the service listens there.",
      cause: thrown,
    });
  } finally {
    clearTimeout(timer);
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

/** Kernels lose larger packets on vsock. */
const VSOCK_WRITE_LENGTH = 32 * 1024;

/** Writes all of it, in pieces that the transport can take. */
export async function writeAll(
  stream: Stream,
  bytes: Uint8Array,
  transport: Address["transport"],
): Promise<void> {
  const piece = transport === "vsock" ? VSOCK_WRITE_LENGTH : bytes.length;
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at, at + piece));
}
