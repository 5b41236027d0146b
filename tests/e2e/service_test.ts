/**
 * The service over real sockets, with the local KMS: clients in other languages, and clients that misbehave. It is `scripts/dev.ts`, as its own
 * process.
 */
import { assert, assertEquals } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import type { Stream } from "../../lib/shared/wire/address.ts";
import { connect } from "../../lib/shared/wire/connect.ts";
import { encodeMessage } from "../../lib/shared/wire/framing.ts";
import { devLaunch } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { until, within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { findTool, runTool } from "../helpers/tools.ts";
import { assertPostCarriesOutNothing } from "../helpers/web_page.ts";
import { type WorkflowRig, workflowRig } from "../helpers/workflow_rig.ts";

const ROOT = new URL("../..", import.meta.url).pathname;

function test(behaviour: string, flags: readonly string[], run: (rig: WorkflowRig) => Promise<void>): void {
  Deno.test(behaviour, async () => {
    await using rig = await workflowRig({ entry: "scripts/dev.ts", flags });
    await run(rig);
  });
}

/** Data come back as they were sent: the workflow returns its input. */
async function assertServes(rig: WorkflowRig, length: number, client?: Client): Promise<void> {
  const data = "x".repeat(length);
  assertEquals(await rig.ask(data, client), data);
}

/** Reads until the other side closes, or something is there. */
async function readSome(stream: Stream): Promise<string> {
  const buffer = new Uint8Array(65_536);
  const length = await within(stream.read(buffer), "a reply", 10_000);
  return length === null ? "" : new TextDecoder().decode(buffer.subarray(0, length));
}

const hasPython =
  findTool([["python3", "--version"]], "the Python clients, since there is no python3 on this machine") !==
    undefined;

for (const framing of hasPython ? ["raw", "u32be", "u64le"] : []) {
  test(`a Python client that speaks ${framing} configures and processes`, [], async (rig) => {
    const { address } = rig.service;
    assert(address.transport === "tcp");
    const requests = [{ type: "ping" }, rig.configure, await rig.sealed("data"), { type: "nonsense" }];
    const python = await runTool("python3", [
      ...[`${ROOT}tests/e2e/clients.py`, framing, "127.0.0.1", String(address.port)],
      ...requests.map((request) => JSON.stringify(request)),
    ]);
    assertEquals(python.code, 0, python.stderr);
    const replies = python.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(replies.map((reply) => reply.msg), ["pong", "configured", undefined, "unknown_type"]);
    assertEquals(new TextDecoder().decode(await rig.open(replies[2])), "data");
  });
}

Deno.test("a Unix socket serves as TCP does", async () => {
  await using folder = await Folder.make();
  const flags = ["--listen", `unix:${folder.path}/service.sock`];
  await using rig = await workflowRig({ entry: "scripts/dev.ts", flags });
  await assertServes(rig, 60_000);
});

Deno.test("a web page's POST of 23 requests to the development service carries out none of them", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await assertPostCarriesOutNothing(service.address);
});

test(
  "1,000 connections against a limit of 64: 64 are served, the others get busy or are closed, and it goes on",
  [],
  async (rig) => {
    const { address } = rig.service;
    const streams: Stream[] = [];
    try {
      const opened = await Promise.allSettled(
        Array.from({ length: 1_000 }, () => connect(address, 20_000)),
      );
      for (const result of opened) if (result.status === "fulfilled") streams.push(result.value);
      const replies = await Promise.all(streams.map(async (stream) => {
        try {
          await stream.write(encodeMessage("u32be", { type: "ping" }));
          return await readSome(stream);
        } catch {
          return "";
        }
      }));
      const count = (word: string) => replies.filter((reply) => reply.includes(word)).length;
      // This client holds one of the 64.
      assertEquals(count("pong"), 63);
      assert(count("busy") > 0, "nobody was told");
      await assertServes(rig, 64);
    } finally {
      for (const stream of streams) close(stream);
    }
    const answers = async () => {
      using another = await Client.connect(address, { timeoutMs: 2_000 });
      return (await another.exchange({ type: "ping" }))["msg"] === "pong";
    };
    await until("an answer", () => answers().catch(() => false));
  },
);

function close(stream: Stream): void {
  try {
    stream.close();
  } catch {
    // It was closed.
  }
}

Deno.test("--port alone moves the development service to that TCP port of loopback", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await using service = await ServiceProcess.start(devLaunch(["--port", String(port)]));
  assertEquals(service.address, { transport: "tcp", hostname: "127.0.0.1", port });
});
