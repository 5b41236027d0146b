/**
 * The state of `denclavectl up` as a table for a person.
 *
 * @module
 */
import { formatTable } from "../terminal/columns.ts";
import type { Text } from "../terminal/printing.ts";
import type { EnclaveState, Phase, UpState } from "./state.ts";

const COLOURS: Readonly<Partial<Record<Phase, "green" | "red">>> = { serving: "green", stopped: "red" };
const HEADINGS = ["phase", "for", "enclave", "CID", "restarts", "epoch", "seals", "clock", "reason"] as const;

/** A duration in at most two units, such as `3h 2m`. */
function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  if (days) return `${days}d ${hours}h`;
  if (hours) return `${hours}h ${minutes}m`;
  return minutes ? `${minutes}m ${seconds % 60}s` : `${seconds}s`;
}

function rowOf(enclave: EnclaveState, now: number): readonly string[] {
  const { phase, since, name, cid, restarts, epoch, seals, clockDifferenceMs, reason } = enclave;
  const reasons = Object.entries(restarts).filter(([, count]) => count > 0);
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  const why = reasons.map(([because, count]) => `${because} ${count}`).join(", ");
  return [
    phase,
    duration(now - since),
    name,
    String(cid ?? "-"),
    total === 0 ? "0" : `${total} (${why})`,
    String(epoch ?? "-"),
    String(seals ?? "-"),
    clockDifferenceMs === undefined ? "-" : `${clockDifferenceMs} ms`,
    reason,
  ];
}

/**
 * A line for each enclave, one for the vsock-proxy and `up` itself.
 *
 * @param now ms since 1970
 */
export function statusTable({ startedAt, proxy, enclaves }: UpState, now = Date.now()): Text {
  const [headings = "", ...lines] = formatTable(HEADINGS, enclaves.map((enclave) => rowOf(enclave, now)))
    .split("\n");
  const painted = enclaves.flatMap(({ phase }, index) => {
    const text = lines[index] ?? "";
    return [{ colour: COLOURS[phase] ?? "yellow", text: phase }, `${text.slice(phase.length)}\n`] as const;
  });
  const ofProxy = proxy === undefined ? [] : [
    "vsock-proxy ",
    proxy.running ? "runs" : { colour: "red", text: "does not run" } as const,
    ` (${proxy.restarts} ${proxy.restarts === 1 ? "restart" : "restarts"}); `,
  ];
  return [
    `${headings}\n`,
    ...painted,
    "\n",
    ...ofProxy,
    `denclavectl up has run for ${duration(now - startedAt)}\n`,
  ];
}
