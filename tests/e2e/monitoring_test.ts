/** The metrics of `denclavectl up` and the files of examples/monitoring, by Prometheus's own promtool. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "../../lib/ctl/config/deps/yaml.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { assertEveryCounter, upState } from "../helpers/prometheus.ts";
import { prometheusText } from "../../lib/ctl/up/metrics.ts";
import { findTool, runTool } from "../helpers/tools.ts";
import { workflowRig } from "../helpers/workflow_rig.ts";

const MONITORING = new URL("../../examples/monitoring", import.meta.url).pathname;
const promtool = findTool(
  [["promtool", "--version"]],
  "the check of metrics and alert rules, since there is no promtool (Debian: prometheus)",
);

/** Runs promtool; it must find nothing. @returns what it printed */
async function check(args: readonly string[], options: Parameters<typeof runTool>[2] = {}): Promise<string> {
  const { code, stdout, stderr } = await runTool(promtool ?? "", args, options);
  assertEquals(code, 0, stdout + stderr);
  return stdout + stderr;
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, ignore: promtool === undefined, fn });

Deno.test("every counter of the development service's replies is a metric of denclavectl up", async () => {
  await using rig = await workflowRig({ entry: "scripts/dev.ts", flags: ["--wallet-cache", "8"] });
  assertEquals(await rig.ask("data"), "data");
  using client = await rig.connect();
  assertEquals((await client.exchange({ type: "process" }))["status"], "error");
  const [health, metrics] = [await rig.health(), await client.exchange({ type: "metrics" })];
  const text = await assertEveryCounter(health, metrics);
  if (promtool !== undefined) assertEquals(await check(["check", "metrics"], { stdin: text }), "");
});

Deno.test("denclavectl status asks loopback itself where HTTP_PROXY names a proxy", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => Response.json(upState()),
  );
  const args = ["status", "--address", `127.0.0.1:${server.addr.port}`];
  const { code, stdout, stderr } = await runCtl(args, { env: { HTTP_PROXY: "http://127.0.0.1:9" } });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "serving");
});

test("promtool has no objection to any name, type or text, with hostile names of enclaves", async () => {
  const names = ["a", 'b"\\\n# HELP x', "é", ""];
  const { enclaves: [enclave], ...state } = upState({ clockDifferenceMs: -1, credentialsAgeSeconds: 1 });
  assert(enclave !== undefined);
  const text = await prometheusText({ ...state, enclaves: names.map((name) => ({ ...enclave, name })) });
  assertEquals(await check(["check", "metrics"], { stdin: text }), "");
});

test("Prometheus's example configuration and its rules are valid", async () => {
  assertStringIncludes(await check(["check", "config", `${MONITORING}/prometheus.yml`]), "rules found");
});

const OF_ENCLAVE = '{instance="i",enclave="a"}';
const within = (labels: string) => `{instance="i",enclave="a",${labels}}`;

/** A service in good order, as promtool writes series. */
const GOOD: Readonly<Record<string, string>> = {
  'up{job="denclave",instance="i"}': "1+0x90",
  'denclave_proxy_running{instance="i"}': "1+0x90",
  [`denclave_enclave_phase${within('phase="serving"')}`]: "1+0x90",
  [`denclave_enclave_phase${within('phase="waiting"')}`]: "0+0x90",
  [`denclave_session_key_configured${OF_ENCLAVE}`]: "1+0x90",
  [`denclave_session_key_seals${OF_ENCLAVE}`]: "0+1000x90",
  [`denclave_enclave_restarts_total${within('reason="health"')}`]: "0+0x80 1+0x10",
  [`denclave_enclave_restarts_total${within('reason="schedule"')}`]: "0+1x90",
  [`denclave_self_test_checks${within('state="fail"')}`]: "0+0x90",
  [`denclave_self_test_checks${within('state="ok"')}`]: "7+0x90",
  [`denclave_warnings${OF_ENCLAVE}`]: "0+0x90",
  [`denclave_clock_difference_seconds${OF_ENCLAVE}`]: "-0.4+0x90",
  [`denclave_nsm_clock_difference_seconds${OF_ENCLAVE}`]: "0.3+0x90",
  [`denclave_connections_refused_total${OF_ENCLAVE}`]: "4+0x90",
  [`denclave_memory_in_flight_bytes${OF_ENCLAVE}`]: "100+0x90",
  [`denclave_memory_budget_bytes${OF_ENCLAVE}`]: "1000+0x90",
  [`denclave_kms_processes_hung_total${OF_ENCLAVE}`]: "2+0x90",
  [`denclave_kms_processes_lost_total${OF_ENCLAVE}`]: "0+0x80 1+0x10",
  [`denclave_workflow_processes_killed_total${OF_ENCLAVE}`]: "5+0x90",
  [`denclave_workflow_processes_lost_total${OF_ENCLAVE}`]: "0+0x80 1+0x10",
  [`denclave_requests_total${within('type="sign",outcome="ok"')}`]: "0+100x90",
  [`denclave_requests_total${within('type="sign",outcome="error"')}`]: "0+1x90",
};

/** What is different where an alert fires. */
const BAD: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  DenclaveUpMissing: { 'up{job="denclave",instance="i"}': "1+0x80 0+0x10" },
  DenclaveEnclaveNotServing: { [`denclave_enclave_phase${within('phase="serving"')}`]: "1+0x80 0+0x10" },
  DenclaveNoSessionKey: { [`denclave_session_key_configured${OF_ENCLAVE}`]: "1+0x80 0+0x10" },
  DenclaveEnclaveRestarts: { [`denclave_enclave_restarts_total${within('reason="boot"')}`]: "0+0x80 0+1x10" },
  DenclaveProxyDown: { 'denclave_proxy_running{instance="i"}': "1+0x80 0+0x10" },
  DenclaveSelfTestFails: { [`denclave_self_test_checks${within('state="fail"')}`]: "0+0x80 1+0x10" },
  DenclaveConfigurationWarning: { [`denclave_warnings${OF_ENCLAVE}`]: "1+0x90" },
  DenclaveSessionKeyNearLimit: { [`denclave_session_key_seals${OF_ENCLAVE}`]: "2147483600+1x90" },
  DenclaveEnclaveClockOff: { [`denclave_nsm_clock_difference_seconds${OF_ENCLAVE}`]: "3+0x90" },
  DenclaveParentClockOff: { [`denclave_clock_difference_seconds${OF_ENCLAVE}`]: "-2.5+0x90" },
  DenclaveClientsRefused: { [`denclave_connections_refused_total${OF_ENCLAVE}`]: "0+1x90" },
  DenclaveMemoryBudgetUsed: { [`denclave_memory_in_flight_bytes${OF_ENCLAVE}`]: "950+0x90" },
  DenclaveKmsUnreliable: { [`denclave_kms_processes_hung_total${OF_ENCLAVE}`]: "0+0x80 0+1x10" },
  DenclaveWorkflowProcessesLost: {
    [`denclave_workflow_processes_killed_total${OF_ENCLAVE}`]: "0+0x80 0+1x10",
  },
  DenclaveRequestsFail: { [`denclave_requests_total${within('type="sign",outcome="error"')}`]: "0+20x90" },
};

test("each alert fires on what it is for and nothing else, and none on a service in good order", async () => {
  const { groups } = parse(await Deno.readTextFile(`${MONITORING}/alerts.yml`));
  const alerts = groups.flatMap(({ rules }: { rules: { alert: string }[] }) =>
    rules.map(({ alert }) => alert)
  );
  assertEquals(alerts, Object.keys(BAD));
  const caseOf = (name: string, changes: Readonly<Record<string, string>>, firing: readonly string[]) => ({
    name,
    interval: "1m",
    input_series: Object.entries({ ...GOOD, ...changes }).map(([series, values]) => ({ series, values })),
    promql_expr_test: [{
      expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
      eval_time: "90m",
      exp_samples: firing.map((alert) => ({ labels: `{alertname="${alert}"}`, value: 1 })),
    }],
  });
  await using folder = await Folder.make();
  const tests = [
    caseOf("in good order", {}, []),
    ...Object.entries(BAD).map(([alert, changes]) => caseOf(alert, changes, [alert])),
  ];
  const rule_files = [`${MONITORING}/alerts.yml`];
  await folder.write("tests.json", JSON.stringify({ rule_files, evaluation_interval: "1m", tests }));
  await check(["test", "rules", `${folder.path}/tests.json`]);
});

test("every query of the dashboard is one that Prometheus parses", async () => {
  const dashboard = JSON.parse(await Deno.readTextFile(`${MONITORING}/dashboard.json`));
  const targets = dashboard.panels.flatMap(({ targets }: { targets: { expr: string }[] }) => targets);
  const queries: string[] = targets.map(({ expr }: { expr: string }) =>
    expr.replaceAll("$__rate_interval", "1m").replaceAll("$enclave", "a")
  );
  assert(queries.length > 10);
  const rules = queries.map((expr, index) => ({ record: `query:${index}`, expr }));
  await using folder = await Folder.make();
  await folder.write("rules.json", JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
  await check(["check", "rules", `${folder.path}/rules.json`]);
});
