/**
 * Ends the process with a stated exit code when its main thread is stuck: a workflow that loops, or one that allocates until V8 would abort.
 * The main thread cannot do that itself, so a second thread watches it. `Deno.exit` in a worker ends only the worker (measured with 2.9.6), and a signal
 * sets its own exit code; so the thread calls `_exit(2)` of the C library.
 *
 * Permission: FFI on one of {@link LIBC_PATHS}, while it starts. The threads share their permissions (measured with 2.9.6): what the main thread revokes
 * afterwards is revoked here too.
 *
 * @module
 */
import { getHeapStatistics } from "node:v8";
import { EnclaveError } from "../lib/shared/errors.ts";
import { LIBC_PATHS } from "./libc.ts";

/** unistd.h and poll.h. */
const EXIT_SYMBOLS = {
  _exit: {
    parameters: ["i32"], // int status
    result: "void", // does not return
  },
  poll: {
    parameters: [
      "buffer", // struct pollfd *fds: in and out
      "usize", // nfds_t nfds
      "i32", // int timeout, milliseconds
    ],
    result: "i32", // descriptors that are ready
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** Interval of the main thread's heartbeat. Milliseconds. */
const BEAT_MS = 100;
/** Interval of the watching thread's checks. Milliseconds. */
const LOOK_MS = 25;
/** How long to wait for standard output to accept the last line. Milliseconds. */
const LINE_MS = 500;
/** The part of V8's heap limit at which the process ends: above it, V8 aborts the process itself, without a line in the log. */
const HEAP_SHARE = 0.85;
const START_MS = 10_000;

/** Options of {@link startWatchdog}. */
interface WatchdogOptions {
  /** Longest time without a heartbeat from the main thread. Milliseconds. */
  readonly silenceMs: number;
  /** The exit code of the process. */
  readonly exitCode: number;
}

/** The thread's input. The words of `shared`: beats, heap used, resident memory at that time (bytes), and whether the watch is over. */
interface Setup extends WatchdogOptions {
  readonly shared: SharedArrayBuffer;
  readonly paths: readonly string[];
  readonly symbols: typeof EXIT_SYMBOLS;
  readonly heapLimit: number;
  readonly lookMs: number;
  readonly lineMs: number;
}

/**
 * The thread's code. It runs from its own source text, so that a bundled or compiled program needs no file for it: it must not refer to anything outside itself.
 */
function watch(): void {
  const scope = globalThis as unknown as {
    onmessage: ((event: MessageEvent<Setup>) => void) | null;
    postMessage(message: boolean): void;
    close(): void;
  };
  scope.onmessage = (
    { data: { shared, paths, symbols, heapLimit, lookMs, lineMs, silenceMs, exitCode } },
  ) => {
    const words = new BigInt64Array(shared);
    let libc: Deno.DynamicLibrary<typeof EXIT_SYMBOLS>["symbols"] | undefined;
    for (const path of paths) {
      try {
        libc ??= Deno.dlopen(path, symbols).symbols;
      } catch {
        // Another distribution's path.
      }
    }
    scope.postMessage(libc !== undefined);
    if (libc === undefined) return;
    const { _exit, poll } = libc;
    // struct pollfd { int fd = stdout; short events = POLLOUT; short revents }
    const writable = new Uint8Array(new Int32Array([1, 4]).buffer);
    const end = (event: string, fields: Record<string, number>) => {
      const line = { time: new Date().toISOString(), level: "error", event, ...fields };
      // The main thread may be blocked on a full pipe: then the line is left out, and the process still ends.
      if (poll(writable, 1n, lineMs) === 1) {
        Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
      }
      _exit(exitCode);
    };
    let beats = -1n;
    let silent = 0;
    let lookedAt = performance.now();
    for (;;) {
      // Sleeps until the next check or the end of the watch.
      if (Atomics.wait(words, 3, 0n, lookMs) !== "timed-out") return scope.close();
      const now = performance.now();
      // Time in which this thread did not run either (a paused virtual machine, a stopped process) hardly counts.
      silent = Atomics.load(words, 0) === beats ? silent + Math.min(now - lookedAt, 4 * lookMs) : 0;
      beats = Atomics.load(words, 0);
      lookedAt = now;
      if (silent > silenceMs) end("main_thread_silent", { silent_ms: Math.round(silent) });
      // Growth of the process since the last beat is counted as heap: a thread that is busy allocating sends no beats.
      const grown = Deno.memoryUsage().rss - Number(Atomics.load(words, 2));
      const heap = Number(Atomics.load(words, 1)) + (silent > 2 * lookMs ? Math.max(0, grown) : 0);
      if (heap > heapLimit) end("out_of_memory", { heap_bytes: heap, heap_limit: heapLimit });
    }
  };
}

/** A watched main thread. Disposing of it ends the watch. */
class Watchdog implements Disposable {
  #worker: Worker;
  #words: BigInt64Array;
  #timer: ReturnType<typeof setInterval>;

  /** @param words the shared memory that the thread reads */
  constructor(worker: Worker, words: BigInt64Array) {
    this.#worker = worker;
    this.#words = words;
    this.#timer = setInterval(() => beat(words), BEAT_MS);
    Deno.unrefTimer(Number(this.#timer));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    // Measured with 2.9.6: terminate() alone leaves the thread in its loop, and it would end the process.
    Atomics.store(this.#words, 3, 1n);
    Atomics.notify(this.#words, 3);
    this.#worker.terminate();
  }
}

function beat(words: BigInt64Array): void {
  const { heapUsed, rss } = Deno.memoryUsage();
  Atomics.store(words, 1, BigInt(heapUsed));
  Atomics.store(words, 2, BigInt(rss));
  Atomics.add(words, 0, 1n);
}

/**
 * Starts to watch this thread. When it is silent for too long, or about to run out of heap, one line goes to the log (`main_thread_silent` or
 * `out_of_memory`), and the process ends.
 *
 * @throws {EnclaveError} when the C library cannot be opened
 */
export async function startWatchdog(options: WatchdogOptions): Promise<Watchdog> {
  const words = new BigInt64Array(new SharedArrayBuffer(4 * BigInt64Array.BYTES_PER_ELEMENT));
  beat(words);
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(`(${watch})()`)}`, { type: "module" });
  const started = Promise.withResolvers<boolean>();
  worker.onmessage = ({ data }) => started.resolve(data === true);
  worker.onerror = (event) => {
    event.preventDefault();
    started.resolve(false);
  };
  const timer = setTimeout(() => started.resolve(false), START_MS);
  const setup: Setup = {
    ...options,
    shared: words.buffer as SharedArrayBuffer,
    paths: LIBC_PATHS,
    symbols: EXIT_SYMBOLS,
    heapLimit: Math.floor(HEAP_SHARE * getHeapStatistics().heap_size_limit),
    lookMs: LOOK_MS,
    lineMs: LINE_MS,
  };
  worker.postMessage(setup);
  const isReady = await started.promise;
  clearTimeout(timer);
  if (isReady) return new Watchdog(worker, words);
  worker.terminate();
  throw new EnclaveError("Cannot watch the main thread: the C library does not open", {
    code: "watchdog",
    hint: `It needs FFI permission for one of ${LIBC_PATHS.join(", ")}.`,
  });
}
