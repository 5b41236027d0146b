/**
 * Tells systemd how `up` is (sd_notify), for units of `Type=notify`. By `systemd-notify`: Deno opens datagram
 * sockets only with an unstable option. The unit needs `NotifyAccess=all`, since the message comes from a
 * child.
 *
 * Permission: to run `systemd-notify`.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import { runToEnd } from "../terminal/run_program.ts";

const NOTIFY_MS = 5_000;

/**
 * Sends lines such as `READY=1`; nothing where systemd has not started this process. One at a time, in order.
 */
export function systemdNotifier(
  { socket, log, run = runToEnd }: {
    /** NOTIFY_SOCKET. */
    readonly socket: string | undefined;
    readonly log: Log;
    readonly run?: typeof runToEnd;
  },
): (...lines: readonly string[]) => Promise<void> {
  let last = Promise.resolve();
  return (...lines) => {
    if (socket === undefined || socket === "") return last;
    return last = last.then(async () => {
      try {
        const { code, stderr } = await run("systemd-notify", lines, NOTIFY_MS);
        if (code !== 0) throw new Error(stderr.trim());
      } catch (thrown) {
        log("warn", "notify_failed", { message: messageOf(thrown) });
      }
    });
  };
}
