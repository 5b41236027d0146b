/** What the log says of a workflow that threw. */
import { assertEquals } from "@std/assert";
import { WorkflowFault } from "../../../../lib/enclave/session_key/workflow_call.ts";

/** Deno's words when it runs from source, and in a compiled binary. */
const ADVICE = [
  'Requires read access to "/etc/hosts", run again with the --allow-read flag',
  'Requires read access to "/etc/hosts", specify the required permissions during compilation using `deno compile --allow-read`',
];
for (const message of ADVICE) {
  Deno.test(`a workflow that may not read a file is not told to allow it: ${message.slice(38, 50)}`, () => {
    const fault = new WorkflowFault("id", new Deno.errors.NotCapable(message));
    assertEquals(fault.describe(true), {
      request_id: "id",
      class: "NotCapable",
      message:
        'Requires read access to "/etc/hosts": a workflow may use no files, no network and no programs, as in the enclave',
    });
    assertEquals(fault.describe(false), { request_id: "id", class: "NotCapable" });
  });
}
