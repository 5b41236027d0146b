/** `denclavectl bridge` in front of the development service: bytes as they are over a Unix socket and TCP, and HTTP for everything else. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Bridge, type BridgeOptions, parseBridgeListen } from "../../lib/ctl/bridge/bridge.ts";
import { BridgeError, Client } from "../../lib/ctl/client/client.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/shared/wire/address.ts";
import { ctlLaunch, devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { within } from "../helpers/deadline.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { assertPostCarriesOutNothing } from "../helpers/web_page.ts";

const PING = JSON.stringify({ type: "ping" });
const JSON_TYPE = { "content-type": "application/json" };
const WAIT_MS = 15_000;

async function startBridge(
  listen: string,
  target: Address,
  options: Partial<BridgeOptions> = {},
): Promise<Bridge> {
  return await Bridge.start({ listen: parseBridgeListen(listen, parseAddress), target, ...options });
}

async function ask(url: string, init: RequestInit = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: JSON_TYPE,
    body: PING,
    signal: AbortSignal.timeout(WAIT_MS),
    ...init,
  });
  const text = await response.text();
  const reply = text.startsWith("{") ? JSON.parse(text) as Record<string, unknown> : {};
  const { code } = (reply["error"] ?? {}) as { readonly code?: string };
  return { status: response.status, reply, code, headers: response.headers, text };
}

/** A request with a Host header of one's own, which fetch does not send. */
async function rawHttp(url: string, head: readonly string[], body = "", end = "\r\n\r\n"): Promise<string> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(`${head.join("\r\n")}${end}${body}`));
  let text = "";
  const read = async () => {
    const piece = new Uint8Array(4096);
    for (let length; (length = await connection.read(piece)) !== null;) {
      text += new TextDecoder().decode(piece.subarray(0, length));
    }
  };
  await within(read(), "the answer", WAIT_MS);
  return text;
}

/** A server that says nothing. */
function silentServer() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open: Deno.Conn[] = [];
  const accepted = Promise.withResolvers<void>();
  const accepting = (async () => {
    for await (const connection of listener) {
      open.push(connection);
      accepted.resolve();
    }
  })().catch(() => {});
  return {
    address: { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port } as Address,
    accepted: accepted.promise,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) connection.close();
      await accepting;
    },
  };
}

Deno.test("bridge: carries every framing over a Unix socket and TCP, with large messages, and removes the socket", async () => {
  await using folder = await Folder.make();
  await using service = await ServiceProcess.start(devLaunch([]));
  const path = `${folder.path}/enclave.sock`;
  for (const listen of [`unix:${path}`, "tcp:127.0.0.1:0"]) {
    {
      await using bridge = await startBridge(listen, service.address);
      if (listen.startsWith("unix:")) assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
      for (const framing of ["u32be", "u64le", "raw"] as const) {
        using client = await Client.connect(parseAddress(bridge.address), { framing, timeoutMs: WAIT_MS });
        assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
        const reply = await client.exchange({ type: "process", ciphertext: "ab".repeat(1_000_000) });
        assertEquals(reply["status"], "error");
        assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
      }
    }
    if (listen.startsWith("unix:")) assertEquals(await Deno.stat(path).catch(() => "gone"), "gone");
  }
});

Deno.test("bridge: a client that ends its half still gets the reply", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await using bridge = await startBridge("tcp:127.0.0.1:0", service.address);
  const address = parseAddress(bridge.address);
  assert(address.transport === "tcp");
  using connection = await Deno.connect(address);
  await connection.write(new TextEncoder().encode(PING));
  await connection.closeWrite();
  const text = await within(new Response(connection.readable).text(), "the reply", WAIT_MS);
  assertStringIncludes(text, "pong");
});

Deno.test("bridge: connections beyond the limit are closed, silent ones end, and one that ended makes room", async () => {
  await using silent = silentServer();
  const problems: string[] = [];
  await using bridge = await startBridge("tcp:127.0.0.1:0", silent.address, {
    limits: { maxConnections: 1, idleMs: 300 },
    onProblem: (what) => problems.push(what),
  });
  const address = parseAddress(bridge.address);
  assert(address.transport === "tcp");
  using first = await Deno.connect(address);
  await silent.accepted;
  using second = await Deno.connect(address);
  const end = (connection: Deno.Conn) => within(connection.read(new Uint8Array(1)), "the end", WAIT_MS);
  assertEquals(await end(second), null);
  assertEquals(problems.length, 1);
  assertEquals(await end(first), null);
  using third = await Deno.connect(address);
  await third.write(new Uint8Array([1]));
  assertEquals(await end(third), null);
  assertEquals(problems.length, 1, "the third one had its place");
});

Deno.test("bridge over HTTP: one POST of JSON is one request, and its bytes are carried as they are", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await using bridge = await startBridge("http://127.0.0.1:0", service.address);
  const pong = await ask(bridge.address);
  assertEquals([pong.status, pong.reply["msg"], pong.headers.get("access-control-allow-origin")], [
    200,
    "pong",
    null,
  ]);
  // An error of the enclave's is a reply.
  const refused = await ask(bridge.address, { body: '{"type":"nonsense"}' });
  assertEquals([refused.status, refused.reply["status"]], [200, "error"]);
  const replies = await Promise.all(Array.from({ length: 40 }, () => ask(bridge.address)));
  assertEquals(replies.filter(({ status }) => status === 200).length, 40);
});

Deno.test("bridge over HTTP: what a web page could send unasked is refused", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  const mine = "http://localhost:3000";
  await using bridge = await startBridge("http://127.0.0.1:0", service.address, { allowOrigins: [mine] });
  const cases: readonly (readonly [string, RequestInit, number, string])[] = [
    ["another origin", { headers: { ...JSON_TYPE, origin: "http://evil.example" } }, 403, "origin_refused"],
    ["a form's body", { headers: { "content-type": "text/plain" } }, 415, "type_refused"],
    ["a GET", { method: "GET", body: null, headers: {} }, 405, "method_refused"],
    ["no JSON", { body: "{" }, 400, "not_json"],
    ["no object", { body: "[1]" }, 400, "not_json"],
  ];
  for (const [what, init, status, code] of cases) {
    const answer = await ask(bridge.address, init);
    assertEquals([answer.status, answer.code], [status, code], what);
  }
  const rebound = await rawHttp(
    bridge.address,
    [
      "POST / HTTP/1.1",
      "Host: evil.example",
      "Content-Type: application/json",
      `Content-Length: ${PING.length}`,
    ],
    PING,
  );
  assertStringIncludes(rebound, "host_refused");
  const page = await ask(bridge.address, { headers: { ...JSON_TYPE, origin: mine } });
  assertEquals([page.status, page.headers.get("access-control-allow-origin")], [200, mine]);
  const preflight = await ask(bridge.address, { method: "OPTIONS", body: null, headers: { origin: mine } });
  assertEquals([preflight.status, preflight.headers.get("access-control-allow-headers")], [
    204,
    "content-type",
  ]);
  const theirs = await ask(bridge.address, {
    method: "OPTIONS",
    body: null,
    headers: { origin: "http://evil.example" },
  });
  assertEquals(theirs.status, 403);
});

Deno.test("bridge over HTTP: too large, too many, no enclave and no reply are said by status and code", async () => {
  await using silent = silentServer();
  const limits = { maxLength: 1024, requestMs: 1000, maxConnections: 1 };
  await using bridge = await startBridge("http://127.0.0.1:0", silent.address, { limits });
  const large = await ask(bridge.address, { body: JSON.stringify({ type: "x".repeat(2000) }) });
  assertEquals([large.status, large.code], [413, "too_large"]);
  const waiting = ask(bridge.address);
  await silent.accepted;
  const busy = await ask(bridge.address);
  assertEquals([busy.status, busy.code], [503, "busy"]);
  const late = await waiting;
  assertEquals([late.status, late.code], [504, "no_reply"]);
  const nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = nobody.addr;
  nobody.close();
  await using astray = await startBridge("http://127.0.0.1:0", {
    transport: "tcp",
    hostname: "127.0.0.1",
    port,
  });
  const lost = await ask(astray.address);
  assertEquals([lost.status, lost.code], [502, "connect_failed"]);
});

Deno.test("bridge over HTTP: a request whose head does not come ends", async () => {
  await using silent = silentServer();
  await using bridge = await startBridge("http://127.0.0.1:0", silent.address, { limits: { headMs: 200 } });
  assertEquals(await rawHttp(bridge.address, ["POST / HTTP/1.1"], "", "\r\n"), "");
});

for (const kind of ["tcp:127.0.0.1:0", "http://127.0.0.1:0"]) {
  Deno.test(`bridge on ${kind}: ends what is open when it is disposed of`, async () => {
    await using silent = silentServer();
    const bridge = await startBridge(kind, silent.address);
    const port = Number(/:([0-9]+)$/.exec(bridge.address)?.[1]);
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    await connection.write(
      new TextEncoder().encode(
        `POST / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${PING.length}\r\n\r\n${PING}`,
      ),
    );
    await silent.accepted;
    await within(bridge[Symbol.asyncDispose](), "the end", WAIT_MS);
    const text = await within(new Response(connection.readable).text(), "the end of the connection", WAIT_MS);
    assertEquals(text.includes("200"), false);
  });
}

/** `denclavectl bridge` on a TCP port, as a process. */
function startBridgeProcess(to: Address) {
  const connect = ["--connect", formatAddress(to)];
  return ServiceProcess.start(ctlLaunch(["bridge", "--listen", "tcp:127.0.0.1:0", ...connect, "--json"]));
}

Deno.test("denclavectl bridge: says where it listens, serves, and ends with 0 on Ctrl-C", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await using bridge = await startBridgeProcess(service.address);
  using client = await Client.connect(bridge.address, { timeoutMs: WAIT_MS });
  assertEquals((await client.request({ type: "ping" }))["msg"], "pong");
  const { code } = await bridge.stop("SIGINT");
  assertEquals([code, bridge.stderr], [0, ""]);
});

Deno.test("bridge: a web page's POST of 23 requests to a TCP port carries out none of them", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await using bridge = await startBridgeProcess(service.address);
  await assertPostCarriesOutNothing(bridge.address, service.address);
});

const TARGET = ["--connect", "tcp:127.0.0.1:9"];
const REFUSED: readonly (readonly [readonly string[], string])[] = [
  [["--listen", "tcp:0.0.0.0:0", ...TARGET], "--insecure-listen-any"],
  [["--listen", "http://[::]:0", ...TARGET], "--insecure-listen-any"],
  [["--listen", "vsock:-1:5000", ...TARGET], "Listen on unix:"],
  [["--listen", "https://127.0.0.1:0", ...TARGET], "does not support TLS"],
  [TARGET, "--listen must be given"],
  [["--listen", "tcp:127.0.0.1:0", ...TARGET, "--allow-origin", "http://a"], "goes with http"],
  [["--listen", "http://127.0.0.1:0", ...TARGET, "--allow-origin", "*"], "--allow-origin"],
];

Deno.test("denclavectl bridge: refuses what it should not listen on", async () => {
  const results = await Promise.all(REFUSED.map(([args]) => runCtl(["bridge", ...args])));
  for (const [index, { code, stderr }] of results.entries()) {
    const [args, expected = ""] = REFUSED[index] ?? [[]];
    assertEquals([code, stderr.includes(expected)], [2, true], `${args.join(" ")}: ${stderr}`);
  }
});

Deno.test("a client over HTTP throws the bridge's own refusals with their codes, and goes on; one without a reply ends in time", async () => {
  await using service = await ServiceProcess.start(devLaunch([]));
  await using bridge = await startBridge("http://127.0.0.1:0", service.address, {
    limits: { maxLength: 1_000 },
  });
  using client = await Client.connect(bridge.address, { timeoutMs: WAIT_MS });
  const pad = "x".repeat(2_000);
  const refused = await assertRejects(() => client.request({ type: "ping", pad }), BridgeError);
  assertEquals(refused.code, "too_large");
  assertStringIncludes(refused.message, `${bridge.address} refused with status 413: `);
  assertEquals((await client.request({ type: "ping" })).msg, "pong");

  await using other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    // One piece for each turn of the event loop: without a pause no timer of this thread would run.
    const endless = new ReadableStream({
      pull: async (controller) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        controller.enqueue(new Uint8Array(1024).fill(32));
      },
    });
    return new Response(endless, { status: url.endsWith("/refuses") ? 500 : 200 });
  });
  const url = `http://127.0.0.1:${other.addr.port}`;
  using noBridge = await Client.connect(`${url}/refuses`, { timeoutMs: WAIT_MS });
  const unknown = await assertRejects(() => noBridge.request({ type: "ping" }), BridgeError);
  assertEquals(unknown.code, "connect_failed");
  assertStringIncludes(unknown.message, "refused with status 500: it is not a bridge");
  using endless = await Client.connect(url, { timeoutMs: 200 });
  await assertRejects(
    () => endless.request({ type: "ping" }),
    Error,
    `No reply from ${url}: nothing came within 200 ms`,
  );
});
