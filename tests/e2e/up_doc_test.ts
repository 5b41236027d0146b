/**
 * The walk with `denclavectl up` in docs/operations.md, run as a person would, with stand-ins for `nitro-cli`
 * and `vsock-proxy`; the unit file, as systemd reads it, and what `up` tells systemd.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { PERMISSIONS } from "../../scripts/permissions.ts";
import { commandBlocks, freeAddress, installCommands, runBlock } from "../helpers/documented.ts";
import { until, within } from "../helpers/deadline.ts";
import { Folder } from "../helpers/folder.ts";
import { findTool } from "../helpers/tools.ts";
import { START_MS, UpRig } from "../helpers/up_rig.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const RUN_MS = 90_000;
// The emulator's sockets and the AWS SDK's end a moment later.
const unsanitized = { sanitizeOps: false, sanitizeResources: false } as const;

Deno.test({
  name:
    "the walk of docs/operations.md works as written: --init, serving, a kill, status, a changed image by SIGHUP",
  ...unsanitized,
  fn: async () => {
    await using rig = await UpRig.make();
    await Deno.mkdir(`${rig.path}/build`);
    rig.allow("a", "b");
    for (const [digit, name] of [["a", "enclave"], ["b", "next"]] as const) {
      await rig.image(digit);
      for (const kind of ["eif", "json"]) {
        await Deno.rename(`${rig.path}/${digit}.${kind}`, `${rig.path}/build/${name}.${kind}`);
      }
    }
    const [listen, metrics] = [freeAddress(), freeAddress()];
    const placeholders = {
      "tcp:127.0.0.1:5001": `tcp:${listen}`,
      "denclavectl status": `denclavectl status --address ${metrics}`,
    };
    const env = rig.environment();
    const installed = { ...env, PATH: `${await installCommands(rig.path)}:${env["PATH"]}` };
    const blocks = (await commandBlocks("docs/operations.md")).filter(({ heading }) =>
      heading === "Start and stop"
    );
    assertEquals(blocks.length, 4);
    const transcript: string[] = [];
    for (const block of blocks) {
      // A line at a time, as a person types them; the shell that starts a job knows its process id.
      for (const commands of block.commands.split(/(?<!&)\n/)) {
        const run = runBlock({ ...block, commands }, {
          cwd: rig.path,
          placeholders,
          env: installed,
        });
        const log = () => Deno.readTextFile(`${rig.path}/up.log`);
        const result = await within(run, commands, RUN_MS).catch(async (thrown) => {
          throw new Error(`${transcript.join("")}${await log()}`, { cause: thrown });
        });
        transcript.push(`$ ${commands}\n${result.stdout}${result.stderr}`);
        assertEquals(result.code, 0, transcript.join(""));
        if (!commands.includes("--init")) continue;
        const file = `${rig.path}/denclave.yaml`;
        const text = (await Deno.readTextFile(file)).replace("127.0.0.1:5001", listen)
          .replace("127.0.0.1:9464", metrics)
          .replace("    port: 5000", `    port: 5000\n    connect: unix:${rig.socket()}`);
        await Deno.writeTextFile(file, `${text}root: nsm-root.pem\n`);
      }
    }
    const printed = transcript.join("");
    console.log(printed);
    assertEquals(printed.match(/^hello$/gm)?.length, 3);
    assertMatch(printed, /^serving +\S+ +main +16 +0 /m);
    assertMatch(printed, /^serving +\S+ +main +16 +1 /m);
    assertMatch(printed, /^serving +\S+ +main +16 +2 /m);
    await until("the end of up", () => rig.enclavePids().length === 0, START_MS);
    const log = await Deno.readTextFile(`${rig.path}/up.log`);
    assertMatch(log, /"event":"restart".*"reason":"health"/);
    assertMatch(log, /"event":"restart".*"reason":"changed"/);
  },
});

Deno.test("docs/operations.md names the programs that denclavectl may start, all of them", async () => {
  const [, said = ""] = /`denclavectl` may start ([^]*?), and no other program/.exec(
    await Deno.readTextFile(`${ROOT}docs/operations.md`),
  ) ?? [];
  const named = [...said.matchAll(/`([a-z-]+)`/g)].map(([, name]) => name);
  const flag = PERMISSIONS.ctl.map(({ flag }) => flag).find((text) => text.startsWith("--allow-run=")) ?? "";
  assertEquals(named.toSorted(), flag.slice("--allow-run=".length).split(",").toSorted());
});

const analyze = findTool([["systemd-analyze", "--version"]], "the unit file's check: systemd");
if (analyze !== undefined) {
  Deno.test("systemd accepts the unit file", async () => {
    await using folder = await Folder.make({
      "nitro-enclaves-allocator.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    });
    const unit = await Deno.readTextFile(`${ROOT}examples/systemd/denclave.service`);
    // The binary is not installed here.
    await folder.write("denclave.service", unit.replace("/usr/local/bin/denclavectl", "/bin/true"));
    const { code, stderr } = await new Deno.Command("systemd-analyze", {
      args: ["verify", `${folder.path}/denclave.service`],
      env: { SYSTEMD_UNIT_PATH: `${folder.path}:` },
    }).output();
    assertEquals([code, new TextDecoder().decode(stderr).includes("denclave.service:")], [0, false]);
  });
}

const python = findTool([["python3", "--version"]], "a socket that systemd would have: Python");
const notify = findTool([["systemd-notify", "--version"]], "what up tells systemd: systemd-notify");
if (python !== undefined && notify !== undefined) {
  Deno.test({
    name:
      "up tells systemd that it is ready when every enclave serves, what their phases are, and that it stops",
    ...unsanitized,
    fn: async () => {
      await using rig = await UpRig.make();
      await rig.image("a");
      await rig.configure("a");
      const socket = `${rig.path}/notify`;
      const listener = new Deno.Command("python3", {
        args: [
          "-c",
          // It closes the descriptor that systemd-notify waits for.
          `import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    data, ancillary, *_ = s.recvmsg(4096, 256)
    for _, _, fds in ancillary:
        os.close(int.from_bytes(fds[:4], sys.byteorder))
    print(data.decode(), flush=True)
`,
          socket,
        ],
        stdout: "piped",
      }).spawn();
      let told = "";
      const reading = (async () => {
        for await (const text of listener.stdout.pipeThrough(new TextDecoderStream())) told += text;
      })();
      try {
        await until("the socket", () => told.startsWith("bound"));
        rig.env["NOTIFY_SOCKET"] = socket;
        await using up = rig.up();
        await up.logged("serving");
        await until("READY=1", () => told.includes("READY=1"), START_MS);
        assertMatch(told, /STATUS=main: configuring[^]*READY=1/);
        assertEquals((await up.stop()).code, 0);
        await until("STOPPING=1", () => told.includes("STOPPING=1"));
        assertMatch(told, /STATUS=main: serving: it has its keys/);
      } finally {
        listener.kill("SIGKILL");
        await Promise.all([listener.status, reading]);
      }
    },
  });
}
