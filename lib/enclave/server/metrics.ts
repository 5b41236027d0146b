/**
 * Counts and durations of requests, by type and outcome.
 *
 * @module
 */

/** Upper bounds of the histogram's buckets, milliseconds: powers of two from 1/16 ms to 64 s. */
const BOUNDS: readonly number[] = Array.from({ length: 21 }, (_, index) => 2 ** (index - 4));

type Series = ReturnType<typeof emptySeries>;

/** The metrics of one type. Quantiles are upper bounds of a power-of-two bucket, milliseconds. */
type RequestMetrics = Readonly<Record<"ok" | "error" | "mean_ms" | "max_ms" | "p50_ms" | "p99_ms", number>>;

/** Types are the service's own names, never a client's text, so their number is bounded. */
export class Metrics {
  #series = new Map<string, Series>();

  /** Counts a request. */
  count(type: string, ok: boolean, ms: number): void {
    const series = this.#series.get(type) ?? emptySeries();
    this.#series.set(type, series);
    series[ok ? "ok" : "error"]++;
    series.totalMs += ms;
    series.maxMs = Math.max(series.maxMs, ms);
    const bucket = ms <= 0.0625 ? 0 : Math.min(BOUNDS.length - 1, Math.ceil(Math.log2(ms)) + 4);
    series.buckets[bucket] = (series.buckets[bucket] ?? 0) + 1;
  }

  /** The metrics of all types. */
  snapshot(): Record<string, RequestMetrics> {
    return Object.fromEntries([...this.#series].map(([type, series]) => [type, summary(series)]));
  }
}

function emptySeries() {
  return { ok: 0, error: 0, totalMs: 0, maxMs: 0, buckets: BOUNDS.map(() => 0) };
}

function summary({ ok, error, totalMs, maxMs, buckets }: Series): RequestMetrics {
  const round = (ms: number) => Math.round(ms * 1000) / 1000;
  const quantile = (at: number) => {
    let left = (ok + error) * at;
    return BOUNDS[buckets.findIndex((inBucket) => (left -= inBucket) <= 0)] ?? Infinity;
  };
  return {
    ok,
    error,
    mean_ms: round(totalMs / (ok + error)),
    max_ms: round(maxMs),
    p50_ms: quantile(0.5),
    p99_ms: quantile(0.99),
  };
}
