/** The metrics of `denclavectl up`: their text, and replies that are not as expected. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { METRIC_NAMES, OF_HEALTH, prometheusText } from "../../../../lib/ctl/up/metrics.ts";
import type { EnclaveState } from "../../../../lib/ctl/up/state.ts";
import { REQUESTS } from "../../../../lib/shared/wire/protocol.ts";
import { readSamples, upState } from "../../../helpers/prometheus.ts";

const samplesOf = async (more?: Partial<EnclaveState>) => readSamples(await prometheusText(upState(more)));

Deno.test("every metric has the prefix, base units, and a name of its own that Prometheus allows", () => {
  assertEquals(new Set(METRIC_NAMES).size, METRIC_NAMES.length);
  for (const name of METRIC_NAMES) {
    assert(/^denclave_[a-z0-9]+(_[a-z0-9]+)*$/.test(name), name);
    assert(!/_(ms|s|milliseconds|minutes|mib|kb)(_total)?$/.test(name), name);
  }
});

Deno.test("what up knows of itself and of an enclave is shown in seconds and by reason", async () => {
  const samples = await samplesOf({
    restarts: { health: 3, other: 1 },
    clockDifferenceMs: -1500,
    credentialsAgeSeconds: 12.5,
  });
  const expected = {
    "denclave_up_start_timestamp_seconds": 1_700_000_000,
    "denclave_proxy_running": 1,
    "denclave_proxy_restarts_total": 2,
    'denclave_enclave_phase{enclave="a",phase="serving"}': 1,
    'denclave_enclave_phase{enclave="a",phase="waiting"}': 0,
    'denclave_enclave_phase_changed_timestamp_seconds{enclave="a"}': 1_700_000_000.5,
    'denclave_enclave_restarts_total{enclave="a",reason="health"}': 3,
    'denclave_enclave_restarts_total{enclave="a",reason="attestation"}': 0,
    'denclave_enclave_restarts_total{enclave="a",reason="other"}': 1,
    'denclave_clock_difference_seconds{enclave="a"}': -1.5,
    'denclave_credentials_age_seconds{enclave="a"}': 12.5,
  };
  for (const [id, value] of Object.entries(expected)) assertEquals(samples.get(id), value, id);
});

Deno.test("two enclaves have their samples below one HELP line", async () => {
  const { enclaves: [first], ...state } = upState({ health: { configured: true } });
  assert(first !== undefined);
  const text = await prometheusText({ ...state, enclaves: [first, { ...first, name: 'b"\\\n' }] });
  assertEquals(text.match(/# HELP denclave_session_key_configured /g)?.length, 1);
  assertStringIncludes(text, '\ndenclave_session_key_configured{enclave="a"} 1\n');
  assertStringIncludes(text, '\ndenclave_session_key_configured{enclave="b\\"\\\\\\n"} 1\n');
});

Deno.test("a counter is of type counter, every other metric a gauge", async () => {
  const text = await prometheusText(upState({ health: { accepted: 1, connections: 2 } }));
  assertStringIncludes(text, "# TYPE denclave_connections_accepted_total counter\n");
  assertStringIncludes(text, "# TYPE denclave_connections gauge\n");
});

Deno.test("every field of health that the protocol describes as a number or truth value has a metric", () => {
  const counted = Object.entries(REQUESTS.health.reply).filter(([, { type }]) =>
    ["integer", "number", "boolean"].includes(type)
  );
  assert(counted.length > 5);
  assertEquals(counted.map(([name]) => name).filter((name) => OF_HEALTH[name] === undefined), []);
});

for (const phase of ["starting", "stopped"] as const) {
  Deno.test(`an enclave that is ${phase} shows nothing of the replies of its last boot`, async () => {
    const replies = { health: { configured: true, uptime_s: 5 }, metrics: { requests: { ping: { ok: 1 } } } };
    const samples = [...await samplesOf({ phase, ...replies, credentialsAgeSeconds: 1 })].map(([id]) => id);
    const left = new Set(samples.map((id) => id.replace(/\{.*/, "")));
    assertEquals([...left].filter((name) => !/_(up|proxy|enclave)_/.test(name)), []);
    assertEquals(left.has("denclave_enclave_info"), false);
  });
}

Deno.test("fields that this version does not know, and values of another kind, break nothing", async () => {
  const samples = await samplesOf({
    health: {
      configured: "yes",
      configured_at: "at noon",
      epoch: NaN,
      seals: Infinity,
      accepted: -1,
      refused: 4,
      workflow: 7,
      kms: null,
      wallet: { guarded: true, new_counter: 1 },
      new_counter: 9,
      version: { x: 1 },
      kernel: { toString: 1 },
      random: [{ toString: 1 }],
      self_test: "ok",
      warnings: ["a", "b"],
    },
    metrics: { requests: { ping: null, sign: { ok: 2, error: "none", mean_ms: "soon" } }, new_counter: 2 },
  });
  const told = [...samples].filter(([id]) => !/_(up|proxy|enclave)_/.test(id));
  assertEquals(told, [
    ['denclave_wallet_guarded{enclave="a"}', 1],
    ['denclave_connections_refused_total{enclave="a"}', 4],
    ['denclave_warnings{enclave="a"}', 2],
    ['denclave_requests_total{enclave="a",type="sign",outcome="ok"}', 2],
  ]);
});

Deno.test("the number of series and the length of labels are bounded, whatever the replies", async () => {
  const types = Array.from(
    { length: 5_000 },
    (_, index) => [`${index}`.padEnd(500, "x"), { ok: 1, error: 0, mean_ms: 1 }],
  );
  const text = await prometheusText(upState({
    health: { version: "v".repeat(10_000), kms: { backend: "b".repeat(10_000) } },
    metrics: { requests: Object.fromEntries(types) },
  }));
  assert(readSamples(text).size < 300);
  assert(text.length < 100_000);
});

Deno.test("an enclave is described by one sample, with its versions as labels", async () => {
  const health = { version: "1.2", kernel: "6.1", aead: "AWS-LC", random: "NSM", kms: { backend: "nitro" } };
  const ids = [...await samplesOf({ health, pcr0: "ab" })].filter(([id]) =>
    id.startsWith("denclave_enclave_info")
  );
  const labels = 'version="1.2",kernel="6.1",aead="AWS-LC",random="NSM",kms_backend="nitro",pcr0="ab"';
  assertEquals(ids, [[`denclave_enclave_info{enclave="a",${labels}}`, 1]]);
});

Deno.test("the checks of the self-test are counted by state", async () => {
  const self_test = [
    { check: "clock", state: "fail" },
    { check: "memory", state: "ok" },
    { state: "new" },
    1,
  ];
  const samples = await samplesOf({ health: { self_test } });
  const counts = ["ok", "warn", "fail", "skipped"].map((state) =>
    samples.get(`denclave_self_test_checks{enclave="a",state="${state}"}`)
  );
  assertEquals(counts, [1, 0, 1, 0]);
});
