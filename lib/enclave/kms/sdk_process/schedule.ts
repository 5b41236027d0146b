/**
 * Which SDK process makes a call, and when a lost one is started again. Pure functions, so that the rules can be tested separately.
 *
 * @module
 */

/** The state of a process that the choice depends on. */
export interface Candidate {
  /** Fingerprint of the credentials of its current call; undefined when it is idle. */
  readonly busyWith: string | undefined;
  /** Whether that call is still waiting for its connection. */
  readonly isConnecting: boolean;
  /** Fingerprints of the credentials that it has a warm client for. */
  readonly warm: ReadonlySet<string>;
}

/** How many calls with the same credentials may wait for a warm client; the next one opens another client in an idle process. */
export const MAX_WAITING_FOR_WARM = 1;

/**
 * The process for a call: an idle one with a warm client for its credentials; else the call waits for a busy one that has such a client, or is making
 * one, unless enough others already wait for it; else an idle one with the fewest warm clients.
 *
 * @param waiting calls with the same credentials that wait and come before this one
 * @returns undefined when the call must wait
 */
export function chooseProcess<T extends Candidate>(
  fingerprint: string,
  candidates: readonly T[],
  waiting: number,
): T | undefined {
  const idle = candidates.filter(({ busyWith }) => busyWith === undefined);
  const warm = idle.find((candidate) => candidate.warm.has(fingerprint));
  if (warm !== undefined) return warm;
  const willBeWarm = candidates.some((candidate) =>
    candidate.busyWith === fingerprint || (candidate.warm.has(fingerprint) && !candidate.isConnecting)
  );
  if (willBeWarm && waiting < MAX_WAITING_FOR_WARM) return undefined;
  return idle.toSorted((a, b) => a.warm.size - b.warm.size)[0];
}

const MAX_CLIENTS = 64;
/** File descriptors for clients, of the usual limit of 1,024, which a compiled binary does not raise: the rest is for Deno, the libraries and the pipes. */
const DESCRIPTORS = 900;

/**
 * How many clients a process may make until it is replaced. Each has a socket, and an event loop with two descriptors and a thread for every
 * second processor (aws-c-io: `aws_event_loop_group_new_default`).
 *
 * @param processors number that the SDK sees
 */
export function maxClientsFor(processors: number): number {
  const descriptors = 1 + 2 * Math.max(1, Math.floor(processors / 2));
  return Math.max(1, Math.min(MAX_CLIENTS, Math.floor(DESCRIPTORS / descriptors)));
}
