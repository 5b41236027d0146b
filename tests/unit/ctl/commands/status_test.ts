/** `denclavectl status`: its table, its JSON, and answers that are none. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { prometheusText } from "../../../../lib/ctl/up/metrics.ts";
import { statusTable } from "../../../../lib/ctl/up/status.ts";
import { render } from "../../../../lib/ctl/terminal/printing.ts";
import type { UpState } from "../../../../lib/ctl/up/state.ts";
import { tryCtl } from "../../../helpers/ctl_io.ts";
import { readSamples, upState } from "../../../helpers/prometheus.ts";

const NOW = 1_700_000_000_000;

const STATE: UpState = {
  startedAt: NOW - 200_000_000,
  proxy: { running: true, restarts: 1 },
  enclaves: [
    {
      name: "main",
      cid: 16,
      phase: "serving",
      reason: "It answers.",
      since: NOW - 7_325_000,
      restarts: { health: 2, boot: 0, changed: 1 },
      epoch: 3,
      seals: 1234,
      clockDifferenceMs: -12,
    },
    { name: "é2", phase: "waiting", reason: "KMS denies\x1b[2J.", since: NOW - 61_000, restarts: {} },
  ],
};

Deno.test("the table is aligned, and what an enclave reports cannot move the cursor", () => {
  assertEquals(
    render(statusTable(STATE, NOW), false),
    [
      "phase    for    enclave  CID  restarts                 epoch  seals  clock   reason",
      "serving  2h 2m  main     16   3 (health 2, changed 1)  3      1234   -12 ms  It answers.",
      "waiting  1m 1s  é2       -    0                        -      -      -       KMS denies\\u001b[2J.",
      "",
      "vsock-proxy runs (1 restart); denclavectl up has run for 2d 7h",
      "",
    ].join("\n"),
  );
});

Deno.test("where another program runs the vsock-proxy, table and metrics say nothing of it", async () => {
  const { proxy: _, ...state } = STATE;
  assertMatch(render(statusTable(state, NOW), false), /\n\ndenclavectl up has run for 2d 7h\n$/);
  assertEquals([...readSamples(await prometheusText(state)).keys()].filter((id) => /proxy/.test(id)), []);
});

Deno.test("on a terminal phases have colours, and columns stay where they are", () => {
  const stopped = { ...STATE.enclaves[0], phase: "stopped" } as UpState["enclaves"][number];
  const state = { ...STATE, proxy: { running: false, restarts: 0 }, enclaves: [...STATE.enclaves, stopped] };
  const shown = render(statusTable(state, NOW), true);
  for (const text of ["\x1b[32mserving", "\x1b[33mwaiting", "\x1b[31mstopped", "\x1b[31mdoes not run"]) {
    assertStringIncludes(shown, `${text}\x1b[0m`);
  }
  // deno-lint-ignore no-control-regex
  assertEquals(shown.replace(/\x1b\[\d+m/g, ""), render(statusTable(state, NOW), false));
});

/** Asks a server that answers so. */
async function ask(
  respond: (path: string) => Response,
  options: readonly string[] = [],
  surroundings: Parameters<typeof tryCtl>[1] = {},
) {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => respond(new URL(request.url).pathname),
  );
  const address = `127.0.0.1:${server.addr.port}`;
  return { address, ...await tryCtl(["status", "--address", address, ...options], surroundings) };
}

const answer = (state: unknown) => (path: string) =>
  path === "/status" ? Response.json(state) : new Response("", { status: 404 });

Deno.test("status prints a table, and exits with 0 where all enclaves serve", async () => {
  const { code, stdout, stderr } = await ask(answer(upState()));
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^phase .*\nserving .* a .*\n\nvsock-proxy runs \(2 restarts\)/);
});

Deno.test("status exits with 1 where an enclave does not serve", async () => {
  assertEquals((await ask(answer(upState({ phase: "waiting" })))).code, 1);
});

Deno.test("with --json status prints the whole state, unknown fields too", async () => {
  const state = { ...upState({ health: { configured: true } }), further: 1 };
  assertEquals(JSON.parse((await ask(answer(state), ["--json"])).stdout), state);
});

const NO_STATES: readonly (readonly [string, () => Response, string])[] = [
  ["another status", () => new Response("no", { status: 503 }), "it answered 503"],
  ["a text", () => new Response("<html>"), "JSON"],
  ["another object", () => Response.json({ enclaves: [{}] }), "not the state of denclavectl up"],
  [
    "a redirection",
    () => new Response("", { status: 302, headers: { location: "/other" } }),
    "it answered 302",
  ],
];
for (const [what, respond, words] of NO_STATES) {
  Deno.test(`status names address and remedy for ${what}`, async () => {
    const { address, code, stderr } = await ask(respond);
    assertEquals(code, 69);
    assertStringIncludes(stderr, `Cannot read http://${address}/status: `);
    assertStringIncludes(stderr, words);
    assertStringIncludes(stderr, "Check that denclavectl up runs on this machine");
  });
}

Deno.test("status names address and remedy where nothing listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  const { code, stderr } = await tryCtl(["status", "--address", address]);
  assertEquals(code, 69);
  assertMatch(
    stderr,
    new RegExp(`Cannot read http://${address}/status: .*ECONNREFUSED.*\nCheck that denclavectl up runs`),
  );
});

for (
  const address of ["127.0.0.1", "http://127.0.0.1:1", "a:b@c:1", "127.0.0.1:1/x", "127.0.0.1:70000", ""]
) {
  Deno.test(`status refuses the address ${JSON.stringify(address)} and shows one`, async () => {
    const { code, stderr } = await tryCtl(["status", "--address", address]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, "such as 127.0.0.1:9464");
  });
}
