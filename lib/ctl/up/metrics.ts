/**
 * The metrics of `denclavectl up`, as Prometheus reads them. Names are fixed here: a field that a newer
 * enclave adds to a reply is left out. A name that ends in `_total` is a counter, every other a gauge.
 *
 * @module
 */
import { field } from "../../shared/json.ts";
import type { EnclaveState, Phase, UpState } from "./state.ts";

/** Of `up` itself, with their HELP texts. */
const OF_UP = {
  up_start_timestamp_seconds: "When denclavectl up started.",
  proxy_running: "Whether the vsock-proxy runs.",
  proxy_restarts_total: "Restarts of the vsock-proxy.",
  enclave_info: "Always 1; the labels describe the enclave.",
  enclave_phase: "1 for the phase that the enclave is in, 0 for the others.",
  enclave_phase_changed_timestamp_seconds: "When the phase last changed.",
  enclave_restarts_total: "Restarts of the enclave by denclavectl up, by reason.",
  clock_difference_seconds: "The enclave's clock minus the parent's.",
  credentials_age_seconds: "Age of the parent's AWS credentials, which enclaves are sent.",
} as const;

/** Of the reply to `health`: the metric and its HELP text, by the path in the reply. */
export const OF_HEALTH: Readonly<Record<string, readonly [name: string, help: string]>> = {
  configured: ["session_key_configured", "Whether the enclave has a session key."],
  configured_at: ["session_key_configured_timestamp_seconds", "When the session key was taken into use."],
  epoch: ["session_key_epoch", "Epoch of the session key."],
  seals: ["session_key_seals", "Seals made under the present session key. The limit is 2^32."],
  "workflow.processes": ["workflow_processes", "Workflow processes that take requests."],
  "workflow.busy": ["workflow_processes_busy", "Workflow processes that work on a request."],
  "workflow.queue": ["workflow_requests_waiting", "Requests that wait for a workflow process."],
  "workflow.started": ["workflow_processes_started_total", "Workflow processes started."],
  "workflow.killed": ["workflow_processes_killed_total", "Workflow processes ended at a deadline."],
  "workflow.lost": ["workflow_processes_lost_total", "Workflow processes that ended by themselves."],
  "workflow.p50_ms": ["workflow_duration_p50_seconds", "Median of the workflow's own time."],
  "workflow.p99_ms": ["workflow_duration_p99_seconds", "99th percentile of the workflow's own time."],
  uptime_s: ["uptime_seconds", "Time since the service in the enclave started."],
  "kms.attested": ["kms_attested", "Whether KMS releases keys to the attested enclave only."],
  "kms.entropy_seeded": [
    "kms_entropy_seeded",
    "Whether the SDK seeded the kernel's entropy pool from the NSM.",
  ],
  "kms.sdk_processes": ["kms_sdk_processes", "SDK processes that are open."],
  "kms.clients_warm": ["kms_clients_warm", "KMS clients with an open connection."],
  "kms.clients_set_aside": ["kms_clients_set_aside", "KMS clients that are no longer used."],
  "kms.calls_waiting": ["kms_calls_waiting", "KMS calls that wait for an SDK process."],
  "kms.processes_started": ["kms_processes_started_total", "SDK processes started."],
  "kms.processes_hung": ["kms_processes_hung_total", "SDK processes ended because a call hung."],
  "kms.processes_lost": ["kms_processes_lost_total", "SDK processes that ended by themselves."],
  "kms.processes_replaced": ["kms_processes_replaced_total", "SDK processes replaced after many clients."],
  "kms.keys": ["kms_keys", "Keys of a development backend of KMS."],
  "kms.calls": ["kms_calls_total", "Calls of a development backend of KMS."],
  "kms.failed": ["kms_calls_failed_total", "Failed calls of a development backend of KMS."],
  "wallet.guarded": ["wallet_guarded", "Whether rules for the wallet are set."],
  "wallet.cached_keys": ["wallet_cached_keys", "Account keys in the wallet's cache."],
  "wallet.cache_hits": ["wallet_cache_hits_total", "Requests served from the wallet's cache."],
  "master_key.initialised": ["master_key_initialised", "Whether the enclave has a master key."],
  "master_key.key_epoch": ["master_key_epoch", "Epoch of the master key."],
  connections: ["connections", "Open connections."],
  accepted: ["connections_accepted_total", "Connections accepted."],
  refused: ["connections_refused_total", "Connections answered busy."],
  memory_in_flight: ["memory_in_flight_bytes", "Memory reserved for messages and requests under way."],
  memory_budget: ["memory_budget_bytes", "Memory that messages and requests may take together."],
  memory_total: ["memory_total_bytes", "Memory of the enclave."],
  clock_difference_ms: [
    "nsm_clock_difference_seconds",
    "The enclave's clock minus the NSM's, as last compared.",
  ],
  log_lines_dropped: ["log_lines_dropped_total", "Log lines dropped by the rate limit."],
  warnings: ["warnings", "Warnings about the configuration, in the reply to health."],
};

/** Of each request type in the reply to `metrics`, with the type as label. */
const OF_REQUESTS = {
  ok: ["requests_total", "Requests by type and outcome."],
  error: ["requests_total", "Requests by type and outcome."],
  mean_ms: ["request_duration_mean_seconds", "Mean duration since the start."],
  max_ms: ["request_duration_max_seconds", "Longest duration since the start."],
  p50_ms: ["request_duration_p50_seconds", "Median duration, as the upper bound of a power-of-two bucket."],
  p99_ms: ["request_duration_p99_seconds", "99th percentile, as the upper bound of a power-of-two bucket."],
} as const;

const SELF_TEST = ["self_test_checks", "Checks of the enclave's self-test, by state."] as const;

/** The HELP text of every metric, by its name without prefix. */
const HELP: ReadonlyMap<string, string> = new Map([
  ...Object.entries(OF_UP),
  ...Object.values(OF_HEALTH),
  ...Object.values(OF_REQUESTS),
  SELF_TEST,
]);

const PREFIX = "denclave_";

/** Names of all metrics. */
export const METRIC_NAMES: readonly string[] = [...HELP.keys()].map((name) => PREFIX + name);

const PHASES: readonly Phase[] = ["starting", "verifying", "configuring", "serving", "waiting", "stopped"];
/** Shown with 0 from the start: where a counter appears with 1, Prometheus sees no increase. */
const NO_RESTARTS = { health: 0, boot: 0, state: 0, schedule: 0, attestation: 0, changed: 0 };
const SELF_TEST_STATES = ["ok", "warn", "fail", "skipped"] as const;
/** Request types of one enclave that become labels. */
const MAX_TYPES = 64;
const MAX_LABEL = 128;

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [name: string, value: unknown, labels?: Labels];

/** The value in a reply; times in seconds. */
function valueAt(reply: unknown, path: string): unknown {
  const value = path.split(".").reduce(field, reply);
  if (path.endsWith("_ms") && typeof value === "number") return value / 1000;
  return path.endsWith("_at") && typeof value === "string" ? Date.parse(value) / 1000 : value;
}

function* samplesOfReplies({ health, metrics, pcr0 }: EnclaveState): Generator<Sample> {
  for (const [path, [name]] of Object.entries(OF_HEALTH)) yield [name, valueAt(health, path)];
  const checks = field(health, "self_test");
  for (const state of Array.isArray(checks) ? SELF_TEST_STATES : []) {
    const found = (checks as unknown[]).filter((check) => field(check, "state") === state);
    yield [SELF_TEST[0], found.length, { state }];
  }
  for (const [type, counts] of Object.entries(field(metrics, "requests") ?? {}).slice(0, MAX_TYPES)) {
    for (const [path, [name]] of Object.entries(OF_REQUESTS)) {
      const outcome = name === "requests_total" ? { outcome: path } : {};
      yield [name, valueAt(counts, path), { type: type.slice(0, MAX_LABEL), ...outcome }];
    }
  }
  const texts = {
    version: "version",
    kernel: "kernel",
    aead: "aead",
    random: "random",
    kms_backend: "kms.backend",
  };
  const about = Object.entries(texts).map(([label, path]) => [label, valueAt(health, path)] as const);
  const labels = [...about, ["pcr0", pcr0] as const].map(([label, text]) =>
    [label, typeof text === "string" ? text.slice(0, MAX_LABEL) : ""] as const
  );
  yield ["enclave_info", 1, Object.fromEntries(labels)];
}

function* samplesOf(enclave: EnclaveState): Generator<Sample> {
  const { phase, since, restarts, clockDifferenceMs, credentialsAgeSeconds } = enclave;
  for (const candidate of PHASES) yield ["enclave_phase", candidate === phase, { phase: candidate }];
  yield ["enclave_phase_changed_timestamp_seconds", since / 1000];
  for (const [reason, count] of Object.entries({ ...NO_RESTARTS, ...restarts })) {
    yield ["enclave_restarts_total", count, { reason }];
  }
  // An enclave that starts or has stopped gives no replies: those that are left are of its last boot.
  if (phase === "starting" || phase === "stopped") return;
  yield* samplesOfReplies(enclave);
  if (clockDifferenceMs !== undefined) yield ["clock_difference_seconds", clockDifferenceMs / 1000];
  yield ["credentials_age_seconds", credentialsAgeSeconds];
}

/** A sample's number; undefined where there is none that a metric of this name can have. */
function numberOf(name: string, value: unknown): number | undefined {
  const number = typeof value === "boolean" ? Number(value) : Array.isArray(value) ? value.length : value;
  if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
  return isCounter(name) && number < 0 ? undefined : number;
}

function isCounter(name: string): boolean {
  return name.endsWith("_total");
}

/** All metrics in Prometheus's text format. Those of which there is no sample are left out. */
export async function prometheusText({ startedAt, proxy, enclaves }: UpState): Promise<string> {
  const samples: readonly Sample[] = [
    ["up_start_timestamp_seconds", startedAt / 1000],
    ["proxy_running", proxy?.running],
    ["proxy_restarts_total", proxy?.restarts],
    ...enclaves.flatMap((enclave) =>
      Array.from(samplesOf(enclave), ([name, value, labels]): Sample => {
        return [name, value, { enclave: enclave.name, ...labels }];
      })
    ),
  ];
  // Loading it takes 60 ms, which no other command should wait for.
  const { Counter, Gauge, Registry } = await import("./deps/prom_client.ts");
  const registry = new Registry();
  for (const [name, help] of HELP) {
    const own = samples.flatMap(([of, value, labels = {}]) => {
      const number = of === name ? numberOf(name, value) : undefined;
      return number === undefined ? [] : [{ number, labels }];
    });
    const labelNames = Object.keys(own[0]?.labels ?? {});
    const config = { name: PREFIX + name, help, labelNames, registers: [registry] };
    const metric = own.length === 0 ? undefined : isCounter(name) ? new Counter(config) : new Gauge(config);
    for (const { number, labels } of own) metric?.inc(labels, number);
  }
  return await registry.metrics();
}
