/**
 * Keeps an SDK host alive and asks it one thing at a time, with a deadline. The SDK's own waits have no end (a lost wake-up blocks
 * for ever), so a call that is late costs its host: it is given up, a new one started, and the call made there once more.
 *
 * @module
 */
import {
  type Credentials,
  type KmsCall,
  type KmsCallResult,
  SdkBusyError,
  SdkHostError,
  SdkTimeoutError,
  type WarmSessionState,
} from "../../aws_ne/mod.ts";
import { SecretBytes } from "../../crypto/secret_bytes.ts";
import type { Log } from "../../log.ts";
import type { Carrier, StartCarrier } from "./carrier.ts";
import {
  type CallRequest,
  hostLost,
  type HostRequest,
  type HostResponse,
  type OpenRequest,
  unpackError,
} from "./protocol.ts";

/** Options of an {@link SdkHost}. */
export interface SdkHostOptions {
  readonly start: StartCarrier;
  readonly open: Omit<OpenRequest, "id" | "op">;
  /** Milliseconds that a call may take, from the moment it was asked for. A host that hangs for half of it is given up, and the call made again. */
  readonly deadlineMs: number;
  /** Hosts that may be given up while they hold a thread; one more ends the process. */
  readonly maxGivenUp: number;
  /** Calls that may wait for their turn. */
  readonly maxQueued: number;
  readonly log: Log;
  /** Called once, when no further host may be started: the process should end. */
  readonly onFatal: (error: SdkHostError) => void;
}

/** What a host tells of itself. */
export interface SdkHostState {
  readonly session: WarmSessionState | undefined;
  readonly started: number;
  readonly givenUp: number;
  readonly lost: number;
}

interface Job {
  readonly region: string;
  readonly credentials: Credentials;
  readonly call: KmsCall;
  readonly settle: PromiseWithResolvers<KmsCallResult>;
  retried: boolean;
  expired: boolean;
}

type Outcome = { readonly response: HostResponse } | { readonly lost: SdkHostError } | {
  readonly late: true;
};

/** The SDK, at arm's length. */
export class SdkHost implements Disposable {
  #options: SdkHostOptions;
  #carrier: Carrier | undefined;
  #session: WarmSessionState | undefined;
  #queue: Job[] = [];
  #busy = false;
  #closed = false;
  #nextId = 1;
  #waiting: { readonly id: number; readonly resolve: (outcome: Outcome) => void } | undefined;
  #started = 0;
  #givenUp = 0;
  #lost = 0;

  constructor(options: SdkHostOptions) {
    this.#options = options;
  }

  get state(): SdkHostState {
    return { session: this.#session, started: this.#started, givenUp: this.#givenUp, lost: this.#lost };
  }

  /**
   * Starts the host and opens the SDK in it.
   *
   * @throws {SdkLibraryError | SdkInitError | SdkTimeoutError | SdkHostError}
   */
  async start(): Promise<void> {
    if (this.#closed) {
      throw new SdkHostError("Cannot start the SDK's host: it was closed", { symbol: "sdk_host" });
    }
    this.#started++;
    const carrier = this.#options.start({
      message: (response) => this.#arrived(response),
      ended: (how) => this.#ended(carrier, how),
    });
    this.#carrier = carrier;
    const outcome = await this.#ask({ ...this.#options.open, id: this.#nextId++, op: "open" });
    if ("response" in outcome && outcome.response.ok) return;
    if ("lost" in outcome) throw outcome.lost;
    if ("late" in outcome) {
      this.#drop(carrier);
      throw this.#timeout();
    }
    carrier.giveUp();
    this.#carrier = undefined;
    if (!outcome.response.ok) throw unpackError(outcome.response.error, carrier.said());
  }

  /**
   * A KMS call in the host. Credentials are borrowed until it is settled.
   *
   * @throws {SdkError} of the step that failed; {@link SdkTimeoutError} after the deadline
   */
  call(region: string, credentials: Credentials, call: KmsCall): Promise<KmsCallResult> {
    if (this.#closed) {
      return Promise.reject(
        new SdkHostError("Cannot call KMS: the service is shutting down", { symbol: "sdk_host" }),
      );
    }
    if (this.#queue.length >= this.#options.maxQueued) {
      return Promise.reject(
        new SdkBusyError(`Cannot call KMS: ${this.#queue.length} calls are waiting already`, {
          symbol: "sdk_host",
          hint: "Try again later; the SDK makes one call at a time.",
        }),
      );
    }
    const settle = Promise.withResolvers<KmsCallResult>();
    const job: Job = {
      region,
      credentials: credentials.clone(),
      call,
      settle,
      retried: false,
      expired: false,
    };
    const timer = setTimeout(() => {
      job.expired = true;
      settle.reject(this.#timeout());
    }, this.#options.deadlineMs);
    this.#queue.push(job);
    void this.#work();
    return settle.promise.finally(() => clearTimeout(timer));
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let job = this.#queue.shift(); job !== undefined; job = this.#queue.shift()) {
        await this.#serve(job);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #serve(job: Job): Promise<void> {
    if (job.expired) return job.credentials[Symbol.dispose]();
    try {
      job.settle.resolve(await this.#attempt(job));
    } catch (thrown) {
      const isLost = thrown instanceof SdkHostError && thrown.symbol === "sdk_host_lost";
      if ((isLost || thrown instanceof SdkTimeoutError) && !job.retried && !job.expired && !this.#closed) {
        job.retried = true;
        return await this.#serve(job);
      }
      job.settle.reject(thrown);
    }
    job.credentials[Symbol.dispose]();
  }

  async #attempt(job: Job): Promise<KmsCallResult> {
    if (this.#carrier === undefined) await this.start();
    const carrier = this.#carrier;
    if (carrier === undefined) throw hostLost("it did not start");
    if (carrier.leaks) {
      this.#options.log("info", "sdk_call", {
        call: job.call.kind,
        note: "if this is the last line, the SDK ended the process; --sdk-host process survives that",
      });
    }
    // A hang is the SDK's own (a lost wake-up) more often than KMS's: so the first attempt gets half of the time, and a second one the rest.
    const outcome = await this.#ask(this.#requestOf(job), this.#options.deadlineMs / 2);
    if ("lost" in outcome) throw outcome.lost;
    if ("late" in outcome) {
      this.#drop(carrier);
      throw this.#timeout();
    }
    const { response } = outcome;
    if (!response.ok) {
      const error = unpackError(response.error, carrier.said());
      if (error.code === "sdk_client_limit" && !carrier.leaks && !job.retried) {
        // A child can be replaced without harm, and with it go the clients that could not be destroyed.
        this.#drop(carrier);
        throw new SdkHostError("The SDK's host was replaced to free its clients", {
          symbol: "sdk_host_lost",
        });
      }
      throw error;
    }
    const plaintext = new SecretBytes(response.plaintext ?? new Uint8Array(0));
    if (job.expired) plaintext[Symbol.dispose]();
    return { plaintext, ...(response.ciphertext === undefined ? {} : { ciphertext: response.ciphertext }) };
  }

  #requestOf({ region, credentials, call }: Job): CallRequest {
    const copy = (secret: SecretBytes) => new Uint8Array(secret.expose());
    return {
      id: this.#nextId++,
      op: "call",
      region,
      credentials: {
        accessKeyId: copy(credentials.accessKeyId),
        secretAccessKey: copy(credentials.secretAccessKey),
        sessionToken: copy(credentials.sessionToken),
      },
      call,
    };
  }

  async #ask(request: HostRequest, withinMs = this.#options.deadlineMs): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#waiting = { id: request.id, resolve };
    const timer = setTimeout(() => resolve({ late: true }), withinMs);
    try {
      this.#carrier?.post(request);
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #arrived(response: HostResponse): void {
    if (response.state !== undefined) this.#session = response.state;
    if (this.#waiting?.id === response.id) return this.#waiting.resolve({ response });
    // Too late for its caller: nobody else may have it.
    if (response.ok) response.plaintext?.fill(0);
  }

  #ended(carrier: Carrier, how: string): void {
    if (this.#carrier === carrier) this.#carrier = undefined;
    this.#lost++;
    const lost = hostLost(how, carrier.said());
    this.#options.log("error", "sdk_host_lost", { how, said: carrier.said() });
    this.#waiting?.resolve({
      lost: new SdkHostError(lost.message, { symbol: "sdk_host_lost", hint: lost.hint }),
    });
  }

  /** Gives a host up, and ends the process when too many hold a thread. */
  #drop(carrier: Carrier): void {
    carrier.giveUp();
    if (this.#carrier === carrier) this.#carrier = undefined;
    if (!carrier.leaks) return;
    this.#givenUp++;
    this.#options.log("error", "sdk_host_given_up", {
      given_up: this.#givenUp,
      limit: this.#options.maxGivenUp,
    });
    if (this.#givenUp <= this.#options.maxGivenUp) return;
    this.#closed = true;
    this.#options.onFatal(
      new SdkHostError(
        `Cannot go on: the SDK hung ${this.#givenUp} times, and each hang holds a thread for good`,
        {
          symbol: "sdk_host",
          hint: "Restart the enclave. With --sdk-host process a hang costs nothing but its call.",
        },
      ),
    );
  }

  #timeout(): SdkTimeoutError {
    return new SdkTimeoutError(`KMS did not answer within ${this.#options.deadlineMs} ms`, {
      symbol: "sdk_host",
      hint: "Check that the parent's vsock-proxy runs and reaches KMS; the call can be repeated.",
    });
  }

  /** Ends the host and refuses what waits. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#carrier?.giveUp();
    this.#carrier = undefined;
    const closed = new SdkHostError("The service is shutting down", { symbol: "sdk_host" });
    this.#waiting?.resolve({ lost: closed });
    for (const job of this.#queue.splice(0)) {
      job.settle.reject(closed);
      job.credentials[Symbol.dispose]();
    }
  }
}
