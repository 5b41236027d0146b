/**
 * The warm session (F7): the library initialised once, a client kept for each set of credentials, made anew when its connection
 * died or it was idle for long. Synchronous and blocking: it lives in an SDK host, never in the isolate that serves.
 *
 * It never destroys a client, since that races with the client's event loop and can crash the process (upstream issue 95).
 * Clients that were replaced are set aside, and counted; a limit on them is what keeps threads and descriptors bounded.
 *
 * @module
 */
import type { KmsClient, NitroSdk, SdkLibrary } from "../../ffi/mod.ts";
import {
  checkCall,
  connect,
  ConnectionLost,
  type KmsCall,
  type KmsCallResult,
  type ProxyEndpoint,
  run,
} from "./calls.ts";
import type { Credentials } from "../aws/credentials.ts";
import { SdkClientLimitError } from "./errors.ts";

/** Options of a {@link WarmSession}. */
export interface WarmSessionOptions {
  /** Opens the libraries. */
  readonly open: () => NitroSdk;
  /** The parent's vsock-proxy. */
  readonly endpoint: ProxyEndpoint;
  /** Bytes to seed the kernel's entropy pool with at the start; 0 for none. */
  readonly seedBytes: number;
  /** A client that was not used for this long is made anew: KMS closes idle connections. Milliseconds. */
  readonly idleMs: number;
  /** Clients warm at a time. */
  readonly maxWarm: number;
  /** Clients ever made, warm and set aside: each holds threads and descriptors until the process ends. */
  readonly maxClients: number;
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number;
}

/** What a session tells of itself. */
export interface WarmSessionState {
  /** Where the libraries were found. */
  readonly directory: string;
  /** Whether the kernel's pool was seeded from the NSM. */
  readonly entropySeeded: boolean;
  /** Clients in use. */
  readonly clientsWarm: number;
  /** Clients that were replaced, and live until the process ends. */
  readonly clientsSetAside: number;
}

interface WarmClient {
  readonly client: KmsClient;
  lastUsed: number;
}

/** Keeps the SDK initialised and its clients warm. */
export class WarmSession implements Disposable {
  #options: WarmSessionOptions;
  #sdk: NitroSdk;
  #library: SdkLibrary;
  #entropySeeded: boolean;
  #warm = new Map<string, WarmClient>();
  /** Held so that nothing of them is collected while their threads run. */
  #setAside: KmsClient[] = [];

  /**
   * Opens the SDK and initialises it.
   *
   * @throws {SdkLibraryError | SdkInitError} when the SDK cannot be opened or initialised.
   */
  constructor(options: WarmSessionOptions) {
    this.#options = options;
    using stack = new DisposableStack();
    this.#sdk = stack.use(options.open());
    this.#library = stack.use(this.#sdk.initLibrary());
    this.#entropySeeded = options.seedBytes > 0 && this.#sdk.seedEntropy(options.seedBytes);
    // Neither is ever closed: clients are left to the end of the process, and they need both.
    stack.move();
  }

  /** What it tells of itself. */
  get state(): WarmSessionState {
    return {
      directory: this.#sdk.directory,
      entropySeeded: this.#entropySeeded,
      clientsWarm: this.#warm.size,
      clientsSetAside: this.#setAside.length,
    };
  }

  /**
   * Runs a call, on a warm client where there is one. If that has lost its connection, once more on a new one: the calls are
   * idempotent.
   *
   * @throws {SdkError} of the step that failed
   */
  call(region: string, credentials: Credentials, call: KmsCall): KmsCallResult {
    checkCall(region, credentials, call);
    const key = credentials.fingerprint(region);
    const warm = this.#takeWarm(key);
    if (warm !== undefined) {
      try {
        return this.#run(warm, call);
      } catch (thrown) {
        if (!(thrown instanceof ConnectionLost)) throw thrown;
        this.#setAsideClient(key);
      }
    }
    const fresh = this.#connect(key, region, credentials);
    try {
      return this.#run(fresh, call);
    } catch (thrown) {
      if (!(thrown instanceof ConnectionLost)) throw thrown;
      this.#setAsideClient(key);
      throw thrown.cause;
    }
  }

  #run(warm: WarmClient, call: KmsCall): KmsCallResult {
    try {
      return run({ sdk: this.#sdk, library: this.#library, client: warm.client }, call);
    } finally {
      warm.lastUsed = this.#options.now();
    }
  }

  #takeWarm(key: string): WarmClient | undefined {
    const warm = this.#warm.get(key);
    if (warm === undefined) return undefined;
    if (this.#options.now() - warm.lastUsed > this.#options.idleMs) {
      this.#setAsideClient(key);
      return undefined;
    }
    // Re-inserted, so that the map's order is that of use.
    this.#warm.delete(key);
    this.#warm.set(key, warm);
    return warm;
  }

  #connect(key: string, region: string, credentials: Credentials): WarmClient {
    if (this.#warm.size + this.#setAside.length >= this.#options.maxClients) {
      throw new SdkClientLimitError(
        `Cannot connect to KMS anew: ${this.#options.maxClients} clients were made, and none can be destroyed safely`,
        {
          symbol: "aws_nitro_enclaves_kms_client_new",
          hint: "Restart the enclave, or run with --sdk-host process, which starts a new host then.",
        },
      );
    }
    using stack = new DisposableStack();
    const { endpoint } = this.#options;
    const client = connect(stack, this.#sdk, {
      library: this.#library,
      region,
      credentials,
      endpoint,
      owner: "process",
    });
    if (this.#warm.size >= this.#options.maxWarm) {
      const [oldest] = this.#warm.keys();
      if (oldest !== undefined) this.#setAsideClient(oldest);
    }
    const warm = { client, lastUsed: this.#options.now() };
    this.#warm.set(key, warm);
    return warm;
  }

  #setAsideClient(key: string): void {
    const warm = this.#warm.get(key);
    if (warm === undefined) return;
    this.#warm.delete(key);
    this.#setAside.push(warm.client);
  }

  /** Releases everything, clients included. For tests and one-off programs: a service ends its process instead. */
  [Symbol.dispose](): void {
    for (const { client } of this.#warm.values()) client[Symbol.dispose]();
    for (const client of this.#setAside) client[Symbol.dispose]();
    this.#warm.clear();
    this.#setAside = [];
    this.#library[Symbol.dispose]();
    this.#sdk[Symbol.dispose]();
  }
}
