/**
 * KMS behind a real pool of SDK processes, in this process: the children are scripted to answer, to hang or
 * to crash.
 *
 * @module
 */
import { encodeHex } from "@std/encoding";
import { decode } from "cborg";
import type { KmsCall, WarmSessionState } from "../../lib/enclave/kms/aws_ne/mod.ts";
import type { Kms } from "../../lib/enclave/kms/kms.ts";
import { nitroKms } from "../../lib/enclave/kms/sdk_process/nitro.ts";
import type { ChildEvents } from "../../lib/enclave/children/child.ts";
import { HEADER_LENGTH } from "../../lib/enclave/children/frames.ts";
import { LastLines } from "../../lib/enclave/children/last_lines.ts";
import { SdkPool } from "../../lib/enclave/kms/sdk_process/pool.ts";
import { frameOf, type SdkMessage, type SdkRequest } from "../../lib/enclave/kms/sdk_process/protocol.ts";

const STATE: WarmSessionState = {
  directory: "/app",
  entropySeeded: true,
  clientsWarm: 0,
  clientsSetAside: 0,
  clientsMade: 0,
};
const DEADLINES = { startMs: 1, connectMs: 2, callMs: 3, totalMs: 4 };

/** What an SDK process does with a call instead of answering. */
export type Trouble = "hangs" | "crashes";

/** The KMS, its wrapped keys and its troubles. */
export class ScriptedSdk {
  /** One for each of the next calls that an SDK process gets; then they answer. */
  readonly troubles: Trouble[] = [];
  #wrapped = new Map<string, { readonly plaintext: Uint8Array<ArrayBuffer>; readonly asked: string }>();
  #processes = new Set<ChildEvents>();
  #late: (() => void) | undefined;

  /** Starts the pool. */
  start(): Kms {
    const pool = new SdkPool({
      start: (events) => this.#child(events),
      open: { proxyPort: 8000, seedBytes: 0, idleMs: 60_000, maxWarm: 4 },
      processes: 1,
      deadlines: DEADLINES,
      maxClients: 64,
      maxWaiting: { decrypt: 32, generateDataKey: 32, generateRandom: 8 },
      log: () => {},
      after: (ms, run) => this.#after(ms, run),
    });
    return nitroKms(pool, pool.start());
  }

  /** Wraps a key for calls with this context. */
  wrap(plaintext: Uint8Array<ArrayBuffer>, keyId: string, context = {}): Uint8Array<ArrayBuffer> {
    const blob = crypto.getRandomValues(new Uint8Array(16));
    this.#wrapped.set(encodeHex(blob), { plaintext, asked: JSON.stringify([keyId, context]) });
    return blob;
  }

  /** Ends all processes, as the kernel does when there is no memory. */
  kill(): void {
    for (const events of [...this.#processes]) this.#end(events);
  }

  #end(events: ChildEvents): void {
    if (this.#processes.delete(events)) events.ended("signal SIGKILL");
  }

  /** No time passes but for a call that hangs, and before a process is started again. */
  #after(ms: number, run: () => void): () => void {
    if (ms === DEADLINES.callMs) this.#late = run;
    if (Object.values(DEADLINES).includes(ms)) return () => {};
    const timer = setTimeout(run, 0);
    return () => clearTimeout(timer);
  }

  #child(events: ChildEvents) {
    this.#processes.add(events);
    const send = (message: SdkMessage) => events.message(frameOf(message).slice(HEADER_LENGTH));
    const answer = (request: SdkRequest) => {
      if (!this.#processes.has(events)) return;
      const { id } = request;
      if (request.op === "open") return send({ id, ok: true, state: STATE });
      const trouble = this.troubles.shift();
      if (trouble === "hangs") this.#late?.();
      else if (trouble === "crashes") this.#end(events);
      else send({ id, ...this.#answer(request.call) });
    };
    return {
      pid: 0,
      post: (frame: Uint8Array) => {
        const request: SdkRequest = decode(frame.slice(HEADER_LENGTH));
        queueMicrotask(() => answer(request));
      },
      kill: () => void this.#processes.delete(events),
      lines: new LastLines(),
    };
  }

  #answer(call: KmsCall) {
    if (call.kind === "generateDataKey") {
      const plaintext = crypto.getRandomValues(new Uint8Array(32));
      const ciphertext = this.wrap(plaintext.slice(), call.keyId, call.context);
      return { ok: true, state: STATE, plaintext, ciphertext } as const;
    }
    if (call.kind !== "decrypt") throw new TypeError("The scripted SDK makes no random numbers");
    const found = this.#wrapped.get(encodeHex(call.ciphertext));
    if (found?.asked === JSON.stringify([call.keyId, call.context ?? {}])) {
      return { ok: true, state: STATE, plaintext: found.plaintext.slice() } as const;
    }
    const kms = { name: "InvalidCiphertextException", message: "not of this key and context" };
    return {
      ok: false,
      error: { code: "sdk_kms_decrypt", message: "refused", symbol: "s", kms },
    } as const;
  }
}
