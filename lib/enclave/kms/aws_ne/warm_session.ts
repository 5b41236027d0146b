/**
 * The warm session: the library initialised once, a client kept for each set of credentials. Synchronous and blocking: it runs in an SDK process,
 * never in the service's process.
 *
 * It makes each call once. A client whose connection is closed, or that was idle for long, is replaced before a call. After a call without an
 * answer, it drops the client and throws an error that says so (`isLost`): the caller then repeats the call.
 *
 * It never destroys a client, since that races with the client's event loop and can crash the process (upstream issue 95). Replaced
 * clients are kept and counted; the process is replaced when it has made too many.
 *
 * @module
 */
import { SdkError } from "../../../../ffi/errors.ts";
import type { NitroSdk, SdkLibrary } from "../../../../ffi/sdk.ts";
import type { Credentials } from "../../../shared/aws/credentials.ts";
import { checkCall } from "./arguments.ts";
import { isAttestable, runAttested } from "./attested_request.ts";
import { runBlocking } from "./blocking_calls.ts";
import type { Connection, KmsCall, KmsCallResult } from "./calls.ts";

/** Options of a {@link WarmSession}. */
export interface WarmSessionOptions {
  /** Opens the libraries. */
  readonly open: () => NitroSdk;
  /** Port of the parent's vsock-proxy. */
  readonly proxyPort: number;
  /** Bytes to seed the kernel's entropy pool with at the start; 0 for none. */
  readonly seedBytes: number;
  /** A client that was idle for this long is replaced: KMS closes idle connections. Milliseconds. */
  readonly idleMs: number;
  /** Warm clients to keep at a time. */
  readonly maxWarm: number;
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number;
  /** Called before and after a client is made, which may take half a minute, unlike a call itself. */
  readonly onPhase?: (phase: "connecting" | "calling") => void;
}

/** The state of a session. */
export interface WarmSessionState {
  /** Where the libraries were found. */
  readonly directory: string;
  /** Whether the kernel's pool was seeded from the NSM. */
  readonly entropySeeded: boolean;
  /** Clients in use. */
  readonly clientsWarm: number;
  /** Clients that were replaced, and live until the process ends. */
  readonly clientsSetAside: number;
  /** Clients made, including failed attempts: each leaks some resources. */
  readonly clientsMade: number;
  /** Why the last client uses the `…_blocking` functions; undefined where it supports attested requests. */
  readonly blockingBecause?: string;
}

interface WarmClient extends Connection {
  internals: Connection["internals"];
  lastUsed: number;
}

/** Keeps the SDK initialised and its clients warm. */
export class WarmSession implements Disposable {
  #options: WarmSessionOptions;
  #sdk: NitroSdk;
  #library: SdkLibrary;
  #entropySeeded: boolean;
  #warm = new Map<string, WarmClient>();
  /** Of all clients and the library: keeps their memory from being collected while their threads run. */
  #life: DisposableStack;
  #counts = { clientsSetAside: 0, clientsMade: 0 };
  #blockingBecause: string | undefined;

  /**
   * Opens the SDK and initialises it.
   *
   * @throws {SdkError} `sdk_library` or `sdk_init` when the SDK cannot be opened or initialised.
   */
  constructor(options: WarmSessionOptions) {
    this.#options = options;
    using stack = new DisposableStack();
    this.#sdk = options.open();
    this.#library = stack.use(this.#sdk.initLibrary());
    this.#entropySeeded = options.seedBytes > 0 && this.#library.seedEntropy(options.seedBytes);
    this.#blockingBecause = this.#sdk.missingForRequests();
    // Not cleaned up in a service: clients exist until the process ends, and they need it.
    this.#life = stack.move();
  }

  /** The state of this session. */
  get state(): WarmSessionState {
    return {
      directory: this.#sdk.directory,
      entropySeeded: this.#entropySeeded,
      clientsWarm: this.#warm.size,
      ...this.#counts,
      ...(this.#blockingBecause === undefined ? {} : { blockingBecause: this.#blockingBecause }),
    };
  }

  /**
   * Makes a call, on a warm client if there is one with an open connection.
   *
   * @throws {SdkError} of the step that failed; as lost when KMS did not answer (the next call opens a new
   * client)
   */
  call(region: string, credentials: Credentials, call: KmsCall): KmsCallResult {
    checkCall(region, credentials, call);
    const key = credentials.fingerprint(region);
    const warm = this.#takeWarm(key) ?? this.#connect(key, region, credentials);
    try {
      return this.#run(warm, call);
    } catch (thrown) {
      if (thrown instanceof SdkError && thrown.isLost) this.#setAsideClient(key);
      throw thrown;
    } finally {
      warm.lastUsed = this.#options.now();
    }
  }

  #run(warm: WarmClient, call: KmsCall): KmsCallResult {
    try {
      if (isAttestable(warm)) return runAttested(warm, call);
    } catch (thrown) {
      const unknown = this.#sdk.missingForRequests();
      if (unknown === undefined) throw thrown;
      this.#blockingBecause = unknown;
      warm.internals = { unknown };
    }
    return runBlocking(warm, call);
  }

  #takeWarm(key: string): WarmClient | undefined {
    const warm = this.#warm.get(key);
    if (warm === undefined) return undefined;
    const isIdle = this.#options.now() - warm.lastUsed > this.#options.idleMs;
    if (isIdle || (isAttestable(warm) && !this.#library.isConnectionOpen(warm.internals))) {
      this.#setAsideClient(key);
      return undefined;
    }
    // Re-inserted, so that the map is ordered by last use.
    this.#warm.delete(key);
    this.#warm.set(key, warm);
    return warm;
  }

  #connect(key: string, region: string, credentials: Credentials): WarmClient {
    this.#options.onPhase?.("connecting");
    this.#counts.clientsMade++;
    using stack = new DisposableStack();
    const { proxyPort, maxWarm, now } = this.#options;
    const parts = { region, credentials: credentials.expose(), proxyPort };
    const client = this.#life.use(this.#library.connect(stack, parts));
    const [oldest] = this.#warm.keys();
    if (oldest !== undefined && this.#warm.size >= maxWarm) this.#setAsideClient(oldest);
    const internals = this.#library.internalsOf(client, region);
    this.#blockingBecause = "unknown" in internals ? internals.unknown : undefined;
    const warm = { library: this.#library, client, internals, lastUsed: now() };
    this.#warm.set(key, warm);
    this.#options.onPhase?.("calling");
    return warm;
  }

  #setAsideClient(key: string): void {
    if (this.#warm.delete(key)) this.#counts.clientsSetAside++;
  }

  /** Releases everything, clients included. For tests and one-off programs: a service ends its process instead. */
  [Symbol.dispose](): void {
    this.#life.dispose();
  }
}
