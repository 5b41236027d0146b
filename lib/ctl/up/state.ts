// What `denclavectl up` knows of its enclaves: `/status` prints it as JSON, the metrics and the table are made from it.

/** Where an enclave stands; `waiting` is a pause before the next attempt, after a failure or while KMS denies. */
export type Phase = "starting" | "verifying" | "configuring" | "serving" | "waiting" | "stopped";

/** What `up` knows of one enclave. */
export interface EnclaveState {
  readonly name: string;
  readonly cid?: number;
  readonly enclaveId?: string;
  readonly phase: Phase;
  /** Why it is in that phase, in one sentence. */
  readonly reason: string;
  /** Milliseconds since 1970 of the last change of phase. */
  readonly since: number;
  readonly bootId?: string;
  readonly pcr0?: string;
  readonly epoch?: number;
  /** Restarts by reason: "health", "boot", "state", "schedule", "attestation", "changed". */
  readonly restarts: Readonly<Record<string, number>>;
  readonly seals?: number;
  readonly clockDifferenceMs?: number;
  readonly credentialsAgeSeconds?: number;
  /** The last reply of `health`. */
  readonly health?: Readonly<Record<string, unknown>>;
  /** The last reply of `metrics`. */
  readonly metrics?: Readonly<Record<string, unknown>>;
}

/** The whole of it. */
export interface UpState {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Of the vsock-proxy; undefined where another program runs one. */
  readonly proxy?: { readonly running: boolean; readonly restarts: number } | undefined;
  readonly enclaves: readonly EnclaveState[];
}
