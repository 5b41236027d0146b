/** Command lines. */
import { encodeBase64 } from "@std/encoding";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { helpLines, nearest, parseOptions, UsageError } from "../../../lib/cli/options.ts";
import { COMMON_OPTIONS, takeCommand } from "../../../lib/cli/options.ts";
import { NITRO_OPTIONS, readServeConfig, SERVE_OPTIONS } from "../../../lib/cli/serve.ts";
import { EnclaveError } from "../../../lib/errors.ts";
import { VERSION } from "../../../lib/version.ts";

/** From EIP-55. */
const CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const SPECS = [...SERVE_OPTIONS, ...NITRO_OPTIONS, ...COMMON_OPTIONS];
const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const env = (values: Readonly<Record<string, string>>) => (name: string) => values[name];

Deno.test("a flag wins over the environment, which wins over the default", () => {
  const port = (argv: readonly string[], values = {}) => parseOptions(SPECS, argv, env(values)).text("port");
  assertEquals([
    port([]),
    port([], { PORT: "6000" }),
    port(["-p", "7000"], { PORT: "6000" }),
    port([], { PORT: "" }),
  ], ["5000", "6000", "7000", "5000"]);
});

const REFUSED: readonly (readonly [readonly string[], string])[] = [
  [["--prot", "1"], "Did you mean --port?"],
  [["--kms-keys", "x"], "Did you mean --kms-key?"],
  [["--xyzzy"], "--help lists"],
  [["-z"], "Unknown option -z"],
  [["--port"], "needs a value"],
  [["--port", "--listen"], "needs a value"],
  [["--configure-once=yes"], "takes no value"],
];
for (const [argv, words] of REFUSED) {
  Deno.test(`${argv.join(" ")} is refused: ${words}`, () => {
    const error = assertThrows(() => parseOptions(SPECS, argv), UsageError);
    assertStringIncludes(`${error.message} ${error.hint}`, words);
  });
}

Deno.test("a value that begins with a dash is taken after an equals sign", () => {
  assertEquals(parseOptions(SPECS, ["--listen=-x"]).text("listen"), "-x");
});

Deno.test("a switch is on by 1, true or yes in the environment, and other words are refused", () => {
  const once = (word: string) => parseOptions(SPECS, [], env({ CONFIGURE_ONCE: word })).on("configure-once");
  assertEquals([once("1"), once("TRUE"), once("0"), once("no")], [true, true, false, false]);
  assertThrows(() => once("maybe"), UsageError, "CONFIGURE_ONCE");
});

Deno.test("an option that may be given again takes commas as well", () => {
  const options = parseOptions(SPECS, ["--tsk-context", "a=1,b=2", "--tsk-context", "c=x=y"]);
  assertEquals(readServeConfig(options).context, { a: "1", b: "2", c: "x=y" });
});

Deno.test("the configuration listens on vsock port 5000 by default, with DESIGN's limits", () => {
  const config = readServeConfig(parseOptions(SPECS, ["--kms-key", ARN]));
  assertEquals(config.address, { transport: "vsock", cid: -1, port: 5000 });
  assertEquals(config.limits, {
    maxMessage: 10_485_760,
    maxConnections: 64,
    idleMs: 30_000,
    requestMs: 60_000,
    maxInFlight: 512 * 1024 * 1024,
  });
  assertEquals([config.keys[0]?.region, config.configureOnce, config.requireEpoch], [
    "us-east-1",
    false,
    false,
  ]);
});

for (
  const argv of [
    ["--port", "0"],
    ["--port", "5e3"],
    ["--max-message", "1"],
    ["--region", "evil.example"],
    ["--kms-key", "alias/mine"],
    ["--listen", "nowhere"],
    ["--tsk-context", "novalue"],
    ["--log-level", "loud"],
    ["extra"],
  ]
) {
  Deno.test(`${argv.join(" ")} is refused before anything starts`, () => {
    assertThrows(() => readServeConfig(parseOptions(SPECS, argv)), EnclaveError);
  });
}

Deno.test("a command may be left out, and one that is mistyped is suggested", () => {
  const commands = ["serve", "decrypt"];
  assertEquals(takeCommand(["--port", "1"], commands), { command: undefined, rest: ["--port", "1"] });
  assertEquals(takeCommand(["decrypt", "-c", "x"], commands), { command: "decrypt", rest: ["-c", "x"] });
  assertEquals(
    assertThrows(() => takeCommand(["decript"], commands), UsageError).hint,
    "Did you mean decrypt?",
  );
});

Deno.test("the nearest name is near, or none", () => {
  assertEquals([nearest("regoin", ["region", "port"]), nearest("zzzzzz", ["region", "port"])], [
    "region",
    undefined,
  ]);
});

Deno.test("the help names every option with its variable", () => {
  const help = helpLines(SPECS);
  for (const spec of SPECS) assertStringIncludes(help, `--${spec.name}`);
  assertStringIncludes(help, "env KMS_KEYS");
});

Deno.test("the version is that of deno.json", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)));
  assertEquals(VERSION, version);
});

const READ: readonly (readonly [readonly string[], string | undefined])[] = [
  [["--listen", "unix:/a"], "unix:/a"],
  [["--listen=unix:/a=b"], "unix:/a=b"],
  [["--listen", "unix:/a", "--listen", "unix:/b"], "unix:/b"],
  [["--listen="], ""],
  [["--listen", "-"], "-"],
  [["--", "--listen", "unix:/a"], undefined],
];
for (const [argv, expected] of READ) {
  Deno.test(`${argv.join(" ")} gives ${JSON.stringify(expected)}`, () => {
    assertEquals(parseOptions(SPECS, argv).text("listen"), expected);
  });
}

Deno.test("short options take their value beside or after them", () => {
  assertEquals([["-p", "7"], ["-p7"]].map((argv) => parseOptions(SPECS, argv).text("port")), ["7", "7"]);
});

Deno.test("a switch that is off in the environment is turned on by its flag, and stays off by an empty variable", () => {
  const once = (argv: readonly string[], word: string) =>
    parseOptions(SPECS, argv, env({ CONFIGURE_ONCE: word })).on("configure-once");
  assertEquals([once(["--configure-once"], "0"), once([], "")], [true, false]);
});

Deno.test("the environment is asked for the variables of the table, and for no others", () => {
  const asked: string[] = [];
  parseOptions(SPECS, [], (name) => (asked.push(name), undefined));
  assertEquals(asked.toSorted(), SPECS.flatMap((spec) => "env" in spec ? [spec.env] : []).toSorted());
});

const CLIENT_KEY = encodeBase64(new Uint8Array(32).fill(7));

Deno.test("the environment configures all of the service", () => {
  const config = readServeConfig(parseOptions(
    SPECS,
    [],
    env({
      LISTEN: "unix:/run/s",
      REGION: "eu-west-1",
      KMS_KEYS: `${ARN}, ${ARN.replace("us-east-1", "eu-west-1")},`,
      TSK_CONTEXT: "app=x",
      CONFIGURE_ONCE: "yes",
      REQUIRE_EPOCH: "true",
      REQUIRE_SEALED: "1",
      CLIENT_KEYS: `${CLIENT_KEY},${CLIENT_KEY}`,
      MAX_MESSAGE: "64",
      MAX_CONNECTIONS: "1",
      IDLE_MS: "10",
      REQUEST_MS: "3600000",
      DRAIN_MS: "0",
      LOG_LEVEL: "debug",
      WALLET_CHAINS: "1,137",
      WALLET_RECIPIENTS: "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
      WALLET_CALLS: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed:0xA9059CBB",
      WALLET_VERIFYING_CONTRACTS: "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
      WALLET_MESSAGE_PREFIX: "Sign in to , ",
      WALLET_MAX_VALUE: "1000000000000000000",
      MIN_EPOCH: "7",
      WALLET_CACHE: "8",
      WALLET_CACHE_MS: "300000",
    }),
  ));
  assertEquals({ ...config, keys: config.keys.map((key) => key.region) }, {
    address: { transport: "unix", path: "/run/s" },
    region: "eu-west-1",
    keys: ["us-east-1", "eu-west-1"],
    context: { app: "x" },
    configureOnce: true,
    requireEpoch: true,
    sealed: { required: true, clientKeys: [new Uint8Array(32).fill(7)] },
    wallet: {
      guards: {
        chains: [1n, 137n],
        recipients: [CHECKSUMMED],
        calls: [{ contract: CHECKSUMMED, selector: "0xa9059cbb" }],
        verifyingContracts: ["0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"],
        messagePrefixes: ["Sign in to , "],
        permitTypes: [],
        maxValue: 10n ** 18n,
      },
      cache: { entries: 8, maxAgeMs: 300_000 },
    },
    minEpoch: 7,
    limits: { maxMessage: 64, maxConnections: 1, idleMs: 10, requestMs: 3_600_000, maxInFlight: 536_870_912 },
    silenceMs: 60_000,
    drainMs: 0,
    logLevel: "debug",
  });
});

for (
  const [variable, value, flag] of [
    ["PORT", "x", "--port"],
    ["PORT", "4294967296", "--port"],
    ["MAX_MESSAGE", "63", "--max-message"],
    ["MAX_CONNECTIONS", "0", "--max-connections"],
    ["IDLE_MS", "9", "--idle-ms"],
    ["REQUEST_MS", "3600001", "--request-ms"],
    ["DRAIN_MS", "-1", "--drain-ms"],
    ["LOG_LEVEL", "INFO", "--log-level"],
    ["REGION", "us-east-1.evil.example", "--region"],
    ["TSK_CONTEXT", "=v", "--tsk-context"],
    ["WALLET_CHAINS", "0x1", "--wallet-chain"],
    ["WALLET_CHAINS", "", "WALLET_CHAINS"],
    ["WALLET_CHAINS", " , ", "--wallet-chain"],
    ["WALLET_RECIPIENTS", ",", "--wallet-recipient"],
    ["REQUIRE_SEALED", "", "REQUIRE_SEALED"],
    ["REQUIRE_SEALED", "maybe", "REQUIRE_SEALED"],
    ["CLIENT_KEYS", "", "CLIENT_KEYS"],
    ["CLIENT_KEYS", ",", "--client-key"],
    ["CLIENT_KEYS", "AAAA", "--client-key"],
    ["CLIENT_KEYS", "not base64!", "--client-key"],
    ["WALLET_MAX_VALUE", "", "WALLET_MAX_VALUE"],
    ["WALLET_MESSAGE_PREFIX", "", "WALLET_MESSAGE_PREFIX"],
    ["WALLET_RECIPIENTS", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--wallet-recipient"],
    ["WALLET_CALLS", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--wallet-call"],
    ["WALLET_MAX_VALUE", "1e18", "--wallet-max-value"],
    ["WALLET_CACHE_MS", "300001", "--wallet-cache-ms"],
  ] as const
) {
  Deno.test(`${variable}=${value} is refused, by the name of ${flag}`, () => {
    assertThrows(
      () => readServeConfig(parseOptions(SPECS, [], env({ [variable]: value }))),
      UsageError,
      flag,
    );
  });
}

Deno.test("an alias in KMS_KEYS is refused with the reason", () => {
  const error = assertThrows(
    () => readServeConfig(parseOptions(SPECS, [], env({ KMS_KEYS: `${ARN},alias/mine` }))),
    EnclaveError,
  );
  assertEquals([error.code, error.hint?.includes("alias can be moved")], ["invalid_key_arn", true]);
});
