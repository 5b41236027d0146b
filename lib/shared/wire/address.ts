/**
 * Where a service listens or is reached: `vsock:<cid>:<port>`, `tcp:<host>:<port>`, `unix:<path>`.
 *
 * Runs in browsers; sockets are opened in `connect.ts` and `listen.ts`.
 *
 * @module
 */
import { EnclaveError } from "../errors.ts";

const MAX_U32 = 0xffff_ffff;

/** The wildcard CID, for listening. */
export const VMADDR_CID_ANY: number = -1;

/** A parsed address. */
export type Address =
  | { readonly transport: "vsock"; readonly cid: number; readonly port: number }
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** A stream of bytes: the subset of `Deno.Conn` that both sides use. */
export interface Stream {
  /** Reads into the buffer; returns the number of bytes, or null at the end. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes bytes; returns how many were written. */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes the stream. */
  close(): void;
}

/**
 * Reads an address.
 *
 * @throws {EnclaveError} `invalid_address`
 */
export function parseAddress(text: string): Address {
  const [, transport, rest = ""] = /^(vsock|tcp|unix):(.+)$/s.exec(text) ?? [];
  if (transport === "unix") return { transport, path: rest };
  const [, host = "", digits = "none"] = /^(.*):([0-9]{1,10})$/.exec(rest) ?? [];
  const [cid, port] = [Number(host), Number(digits)];
  if (transport === "vsock" && /^(-1|[0-9]{1,10})$/.test(host) && port <= MAX_U32 && cid <= MAX_U32) {
    return { transport, cid, port };
  }
  if (transport === "tcp" && host !== "" && host !== "[]" && port <= 0xffff) {
    return { transport, hostname: host.replace(/^\[(.*)\]$/, "$1"), port };
  }
  const hint = "Write vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>.";
  throw new EnclaveError(`Cannot use address ${JSON.stringify(text)}`, { code: "invalid_address", hint });
}

/** Formats an address for {@link parseAddress}. */
export function formatAddress(address: Address): string {
  if (address.transport === "unix") return `unix:${address.path}`;
  if (address.transport === "vsock") return `vsock:${address.cid}:${address.port}`;
  const { hostname, port } = address;
  return `tcp:${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** Kernels lose larger packets on vsock. */
const VSOCK_WRITE_LENGTH = 32 * 1024;

/** Writes all bytes, in pieces that the transport can send. */
export async function writeAll(
  stream: Stream,
  bytes: Uint8Array,
  transport: Address["transport"],
): Promise<void> {
  const piece = transport === "vsock" ? VSOCK_WRITE_LENGTH : bytes.length;
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at, at + piece));
}
