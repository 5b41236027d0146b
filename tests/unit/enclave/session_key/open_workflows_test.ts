/** When the processes of the workflow start. */
import { assertEquals } from "@std/assert";
import { openWorkflows } from "../../../../lib/enclave/session_key/workflow/open.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { testPorts } from "../../../helpers/ports.ts";

Deno.test("no process of the workflow is started before the KMS is open, when the NSM has seeded the kernel", async () => {
  const opened = Promise.withResolvers<void>();
  const kms = Object.assign(new FakeKms(() => Promise.reject(new Error("unused"))), {
    opened: opened.promise,
  });
  using workflows = openWorkflows({
    processes: 1,
    deadlineMs: 1_000,
    memory: 1,
    maxResult: 1,
    requireWall: false,
    permissions: [],
    isDevelopment: false,
  })(testPorts({ kms }));
  const started = async () => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return workflows.state.started > 0;
  };
  const before = await started();
  // This test may start no program: that they are tried is enough.
  opened.resolve();
  assertEquals([before, await started()], [false, true]);
});
