/**
 * Prometheus's text, read back, and what must be in it of an enclave's replies.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { OF_HEALTH, prometheusText } from "../../lib/ctl/up/metrics.ts";
import type { EnclaveState, UpState } from "../../lib/ctl/up/state.ts";
import { isObject } from "../../lib/shared/json.ts";

/** What `up` knows of one enclave that serves. */
export function upState(more: Partial<EnclaveState> = {}): UpState {
  const enclave = {
    name: "a",
    phase: "serving",
    reason: "It answers.",
    since: 1_700_000_000_500,
    restarts: {},
  } as const;
  return {
    startedAt: 1_700_000_000_000,
    proxy: { running: true, restarts: 2 },
    enclaves: [{ ...enclave, ...more }],
  };
}

const LABEL = String.raw`[a-z0-9_]+="(?:[^"\\]|\\[\\"n])*"`;
const SAMPLE = new RegExp(String.raw`^(denclave_[a-z0-9_]+(?:\{${LABEL}(?:,${LABEL})*\})?) (-?[0-9.e+-]+)$`);

/** The samples of a text by what stands before their values. @throws {Error} on a line of another form. */
export function readSamples(text: string): ReadonlyMap<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || /^# (HELP|TYPE) denclave_[a-z0-9_]+ ./.test(line)) continue;
    const [, id = "", value = ""] = SAMPLE.exec(line) ?? [];
    assert(id !== "" && !samples.has(id), line);
    samples.set(id, Number(value));
  }
  return samples;
}

/** Every number and truth value of a reply, by path. Lists and texts are not counters. */
function* countersOf(reply: object, path = ""): Generator<readonly [string, number]> {
  for (const [name, value] of Object.entries(reply)) {
    if (isObject(value)) yield* countersOf(value, `${path}${name}.`);
    else if (typeof value === "number" || typeof value === "boolean") yield [path + name, Number(value)];
  }
}

/** Each counter of these replies has a sample, with its value. @returns the text */
export async function assertEveryCounter(
  health: Readonly<Record<string, unknown>>,
  metrics: Readonly<Record<string, unknown>>,
): Promise<string> {
  const text = await prometheusText(upState({ health, metrics }));
  const samples = readSamples(text);
  const { requests, ...stats } = metrics;
  assert(isObject(requests) && Object.keys(requests).length > 0);
  const seen = [...countersOf(health), ...countersOf(stats)].map(([path]) => {
    const [name] = OF_HEALTH[path] ?? [];
    return [path, samples.has(`denclave_${name}{enclave="a"}`)];
  });
  assertEquals(
    seen.filter(([, isShown]) => !isShown),
    [],
    "no metric shows this: add it to lib/ctl/up/metrics.ts",
  );
  for (const [type, counts] of Object.entries(requests)) {
    assert(isObject(counts));
    const shown = (name: string, label = "") =>
      samples.get(`denclave_${name}{enclave="a",type="${type}"${label}}`);
    const found = {
      ok: shown("requests_total", ',outcome="ok"'),
      error: shown("requests_total", ',outcome="error"'),
      mean_ms: shown("request_duration_mean_seconds"),
      max_ms: shown("request_duration_max_seconds"),
      p50_ms: shown("request_duration_p50_seconds"),
      p99_ms: shown("request_duration_p99_seconds"),
    };
    const expected = Object.entries(counts).map((
      [name, value],
    ) => [name, name.endsWith("_ms") ? Number(value) / 1000 : value]);
    assertEquals(found as Record<string, unknown>, Object.fromEntries(expected));
  }
  return text;
}
