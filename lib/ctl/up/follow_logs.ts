/**
 * Follows the events of an enclave: each is written once, and what is missing is said. An enclave in
 * production has no console, so these are all that is left of one that has ended.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { isObject, type JsonObject } from "../../shared/json.ts";
import type { Log } from "../../shared/log.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import type { LogFollower } from "./supervisor.ts";

/** A connection for one request after the other. */
export interface LogSource extends Disposable {
  /** The reply, whatever its status. */
  readonly exchange: (request: WireObject) => Promise<WireObject>;
}

/** What a follower works with. */
export interface FollowPorts {
  readonly connect: () => Promise<LogSource>;
  /** Writes an event of the enclave. */
  readonly write: (event: JsonObject, bootId: string) => void;
  readonly log: Log;
  readonly onLost: () => void;
  readonly after: (ms: number, signal: AbortSignal) => Promise<void>;
}

const LIMIT = 500;
/** The longest that the service lets a request wait. */
const WAIT_MS = 30_000;
const AGAIN_MS = 1_000;

/** Where a follower is: an event of a run of the enclave. */
interface Position {
  readonly bootId: string;
  readonly seq: number;
}

/** Starts to follow. */
export function followLogs(ports: FollowPorts): LogFollower {
  const stopping = new AbortController();
  let at: Position | undefined;
  let last: string | undefined;
  let source: LogSource | undefined;
  let isFollowable = true;

  /** Takes what came. @returns whether there may be more */
  function take(reply: WireObject): boolean {
    const { events, boot_id: bootId, dropped } = reply;
    if (!Array.isArray(events) || typeof bootId !== "string") {
      isFollowable = false;
      ports.log("warn", "logs_not_followed", {
        message: "this version of the enclave has no logs to follow",
      });
      return false;
    }
    if (at !== undefined && at.bootId !== bootId) ports.log("warn", "another_boot", { boot_id: bootId });
    if (typeof dropped === "number" && dropped > 0) {
      ports.log("warn", "log_gap", { boot_id: bootId, missing: dropped });
    }
    let { seq } = at?.bootId === bootId ? at : { seq: 0 };
    for (const event of events as readonly unknown[]) {
      if (!isObject(event)) continue;
      if (typeof event["seq"] === "number") seq = Math.max(seq, event["seq"]);
      last = `${String(event["event"])} at ${String(event["time"])}`;
      ports.write(event, bootId);
    }
    at = { bootId, seq };
    return events.length === LIMIT;
  }

  async function ask(waitMs: number): Promise<boolean> {
    source ??= await ports.connect();
    const position = at === undefined ? { after: 0 } : { after: at.seq, boot_id: at.bootId };
    const reply = await source.exchange({
      type: "logs",
      ...position,
      limit: LIMIT,
      ...(waitMs > 0 ? { wait_ms: waitMs } : {}),
    });
    if (reply["status"] === "ok") return take(reply);
    if (reply["msg"] === "busy" && waitMs > 0) {
      // Others hold all the waits: what there is can be taken without one.
      await ports.after(AGAIN_MS, stopping.signal);
      return await ask(0);
    }
    throw new Error(String(reply["details"] ?? reply["msg"]));
  }

  function close(): void {
    source?.[Symbol.dispose]();
    source = undefined;
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted && isFollowable) {
      const worked = source !== undefined;
      try {
        await ask(WAIT_MS);
      } catch (thrown) {
        close();
        if (stopping.signal.aborted) return;
        if (worked) {
          ports.log("warn", "logs_lost", { message: messageOf(thrown) });
          ports.onLost();
        }
        await ports.after(AGAIN_MS, stopping.signal);
      }
    }
  }

  const done = run();
  return {
    last: () => last,
    stop: async () => {
      stopping.abort();
      close();
      await done;
      try {
        while (isFollowable && await ask(0));
      } catch {
        // The enclave has ended: what came before is written.
      } finally {
        close();
      }
    },
  };
}
