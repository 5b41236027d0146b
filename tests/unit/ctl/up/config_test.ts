/** denclave.yaml: what it may say, and how a mistake is shown. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError } from "../../../../lib/ctl/config/mod.ts";
import { FIRST_CONFIG, parseUpConfig } from "../../../../lib/ctl/up/config.ts";

const parse = (text: string) => parseUpConfig(text, "/etc/denclave/denclave.yaml");
const ENCLAVE = "  - name: main\n    image: a.eif\n    measurements: a.json\n    cid: 16\n";
const LEAST = `policy: p.yaml\nenclaves:\n${ENCLAVE}`;

Deno.test("the file that --init writes is complete, and its paths are relative to its folder", () => {
  const { policy, enclaves: [enclave], proxy, metrics, limits, root } = parse(FIRST_CONFIG);
  assertEquals(policy, "/etc/denclave/denclave-policy.yaml");
  assertEquals(enclave, {
    name: "main",
    image: "/etc/denclave/build/enclave.eif",
    measurements: "/etc/denclave/build/enclave.json",
    cpus: 2,
    memoryMib: 2_048,
    cid: 16,
    port: 5_000,
    connect: undefined,
    sessionKey: { wrapped: "/etc/denclave/tsk.wrapped", epoch: undefined },
    listen: [{ kind: "raw", address: { transport: "tcp", hostname: "127.0.0.1", port: 5_001 } }],
    restartHours: undefined,
  });
  const config = "/etc/nitro_enclaves/vsock-proxy.yaml";
  assertEquals(proxy, { port: 8_000, remote: undefined, workers: 20, config });
  assertEquals([metrics.hostname, metrics.port, root], ["127.0.0.1", 9_464, undefined]);
  assertEquals([limits.firstPauseMs, limits.longestPauseMs, limits.steadyMs], [1_000, 300_000, 600_000]);
});

Deno.test("what is commented out in the file of --init can be said too", () => {
  const commented = FIRST_CONFIG.replaceAll(
    /^( *)# (epoch|restart_hours|remote|master_keys|- unix|- http)/gm,
    "$1$2",
  )
    .replaceAll(/^#( {3}(?:gateway|builds|enclave))/gm, " $1").replace("master_keys:", "master_keys:");
  const { enclaves: [enclave], masterKeys, proxy } = parse(commented);
  assertEquals([enclave?.sessionKey?.epoch, enclave?.restartHours], [1, 20]);
  assertEquals(enclave?.listen.length, 3);
  assertEquals(masterKeys?.gateway, "/etc/denclave/config/production.yaml");
  assertMatch(proxy?.remote ?? "", /^vpce-.*\.vpce\.amazonaws\.com$/);
});

Deno.test("the least is a policy and an enclave; without proxy none is started; auto leaves the CID to nitro-cli", () => {
  const { enclaves: [enclave], proxy, masterKeys } = parse(LEAST.replace("cid: 16", "cid: auto"));
  assertEquals([enclave?.cid, enclave?.sessionKey, enclave?.listen, proxy, masterKeys], [
    undefined,
    undefined,
    [],
    undefined,
    undefined,
  ]);
});

/** What is wrong, the text, and the first line of the error. */
const WRONG: readonly (readonly [string, string, RegExp])[] = [
  ["nothing", "{}", /:1:1: policy: is missing/],
  ["no enclave", "policy: p\nenclaves: []\n", /:2:11: enclaves: must have one entry at least/],
  [
    "a field that is misspelt",
    LEAST.replace("image", "imgae"),
    /:4:5: enclaves\[0\]\.imgae: .*did you mean image/,
  ],
  ["a reserved CID", LEAST.replace("16", "3"), /:6:10: enclaves\[0\]\.cid: must be 4 or more/],
  [
    "too little memory",
    `${LEAST}    memory: 128\n`,
    /:7:13: enclaves\[0\]\.memory: must be a whole number from 408/,
  ],
  ["a name with spaces", LEAST.replace("main", '"the main"'), /:3:11: enclaves\[0\]\.name: must be a name/],
  [
    "the same name twice",
    `${LEAST}${ENCLAVE.replace("16", "17")}`,
    /:7:11: enclaves\[1\]\.name: must differ/,
  ],
  [
    "the same CID twice",
    `${LEAST}${ENCLAVE.replace("main", "two")}`,
    /:10:10: enclaves\[1\]\.cid: must differ/,
  ],
  [
    "the same listener twice",
    `${LEAST}    listen: ["unix:/a", "unix:/a"]\n`,
    /:7:25: enclaves\[0\]\.listen\[1\]: must differ/,
  ],
  ["a listener on vsock", `${LEAST}    listen: ["vsock:3:1"]\n`, /:7:14: .*Cannot use address/],
  [
    "a proxy's remote that is an option",
    `${LEAST}proxy: {remote: --help}\n`,
    /:7:17: proxy\.remote: must be a host name/,
  ],
  [
    "a metrics address without a port",
    `${LEAST}metrics: localhost\n`,
    /:7:10: metrics: must be <host>:<port>/,
  ],
  [
    "a limit of nothing",
    `${LEAST}limits: {health_ms: 0}\n`,
    /:7:21: limits\.health_ms: must be a whole number/,
  ],
  ["a path of an anchor", `${LEAST}root: &a b\n`, /:7:/],
];
for (const [what, text, expected] of WRONG) {
  Deno.test(`${what} is refused, with its line and column`, () => {
    const { message } = assertThrows(() => parse(text), ConfigError);
    assertMatch(message, expected);
  });
}

Deno.test("all mistakes are told at once", () => {
  const { problems } = assertThrows(() => parse("policy: 1\nmetrics: x\nenclaves: 3\n"), ConfigError);
  assertEquals(problems.map(({ field }) => field), ["policy", "metrics", "enclaves"]);
});
