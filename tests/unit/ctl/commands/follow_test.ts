/** `client logs --follow`, against a service in this process. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { describeCtlFailure, runCtl } from "../../../../lib/ctl/commands/main.ts";
import { EventLog } from "../../../../lib/enclave/server/events.ts";
import { recordingIo, tryCtl } from "../../../helpers/ctl_io.ts";
import { until, within } from "../../../helpers/deadline.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { recordingService } from "../../../helpers/recording_service.ts";
import { startTestService } from "../../../helpers/test_service.ts";

Deno.test("client logs --follow prints events as they come, each once, until the service ends", async () => {
  const events = new EventLog({ write: () => {}, level: "info" });
  const kms = new FakeKms(() => Promise.reject(new Error("not asked")));
  const service = startTestService({ kms, events });
  events.log("info", "before");
  const { io, shown } = recordingIo();
  const argv = ["client", "logs", "--follow", "--connect", `tcp:127.0.0.1:${service.address.port}`];
  const running = runCtl(argv, io).then(() => "", (thrown) => describeCtlFailure(thrown, argv).lines.join());
  for (const name of ["first", "second"]) {
    await until("the last event", () => shown.stdout.endsWith("\n") && !shown.stdout.includes(name));
    events.log("info", name);
    await until(name, () => shown.stdout.includes(name));
  }
  await service.stop(5_000);
  assertStringIncludes(await within(running, "the command's end"), "closed the connection");
  const lines = shown.stdout.trim().split("\n").map((line) => JSON.parse(line)["event"]);
  assertEquals(lines.filter((name) => name !== "configuration"), ["before", "first", "second", "draining"]);
});

Deno.test("client logs --follow says how many lines were lost, and waits less than its own time limit", async () => {
  const kept = { status: "ok", boot_id: "b", events: [{ event: "a", seq: 9 }] };
  await using service = recordingService(({ after }) =>
    after === 9
      ? { ...kept, dropped: 3, events: [{ event: "b", seq: 13 }] }
      : after === 13
      ? { status: "error", msg: "internal_error", details: "" }
      : kept
  );
  const options = ["--follow", "--timeout-ms", "10000", "--connect", service.address];
  const { stdout, code } = await tryCtl(["client", "logs", ...options]);
  assertEquals(stdout, '{"event":"a","seq":9}\n{"event":"dropped","lines":3}\n{"event":"b","seq":13}\n');
  assertEquals([code === 0, service.requests.slice(1)], [false, [
    { type: "logs", after: 9, boot_id: "b", wait_ms: 5_000 },
    { type: "logs", after: 13, boot_id: "b", wait_ms: 5_000 },
  ]]);
});
