/**
 * What carries messages to an SDK host, and can give it up.
 *
 * @module
 */
import type { HostRequest, HostResponse } from "./protocol.ts";

/** What a carrier reports. Nothing after `ended`. */
export interface CarrierEvents {
  message(response: HostResponse): void;
  /** The host is gone without having been given up. */
  ended(how: string): void;
}

/** A host that was started. */
export interface Carrier {
  /** Sends a request; secret bytes in it are the carrier's from here, and wiped. */
  post(request: HostRequest): void;
  /** Ends the host at once, whatever it is doing. */
  giveUp(): void;
  /** Whether a host that was given up in the middle of a call goes on holding a thread. */
  readonly leaks: boolean;
  /** The last lines that the SDK printed since the last request, where they can be had. */
  said(): string;
}

/** Starts a host. */
export type StartCarrier = (events: CarrierEvents) => Carrier;

/** The buffers of a request that hold secrets. */
export function secretsOf(request: HostRequest): readonly Uint8Array<ArrayBuffer>[] {
  if (request.op === "open") return [];
  const { accessKeyId, secretAccessKey, sessionToken } = request.credentials;
  return [accessKeyId, secretAccessKey, sessionToken];
}
