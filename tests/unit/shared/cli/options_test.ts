/** Command lines. */
import { encodeBase64 } from "@std/encoding";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import { COMMON_OPTIONS, takeCommand } from "../../../../lib/shared/cli/options.ts";
import {
  measuredConfiguration,
  NITRO_OPTIONS,
  readServeConfig,
  SERVE_OPTIONS,
} from "../../../../lib/shared/cli/serve_options.ts";
import { VERSION } from "../../../../lib/shared/version.ts";
import { formatAddress } from "../../../../lib/shared/wire/address.ts";

/** From EIP-55. */
const CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const CONTRACT = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
const SPECS = [...SERVE_OPTIONS, ...NITRO_OPTIONS, ...COMMON_OPTIONS];
const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const env = (values: Readonly<Record<string, string>>) => (name: string) => values[name];

Deno.test("a flag takes precedence over the environment, and the environment over the default", () => {
  const port = (argv: readonly string[], values = {}) => parseOptions(SPECS, argv, env(values)).text("port");
  assertEquals([
    port([]),
    port([], { PORT: "6000" }),
    port(["-p", "7000"], { PORT: "6000" }),
  ], ["5000", "6000", "7000"]);
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

Deno.test("a switch is on by 1, true or yes in the environment, and other values are refused", () => {
  const once = (word: string) => parseOptions(SPECS, [], env({ CONFIGURE_ONCE: word })).on("configure-once");
  assertEquals([once("1"), once("TRUE"), once("0"), once("no")], [true, true, false, false]);
  assertThrows(() => once("maybe"), UsageError, "CONFIGURE_ONCE");
});

const LISTENS: readonly (readonly [readonly string[], Readonly<Record<string, string>>, string])[] = [
  [["--port", "6000"], {}, "vsock:-1:6000"],
  [["--port", "6000"], { LISTEN: "tcp:127.0.0.1:1" }, "vsock:-1:6000"],
  [["--listen", "unix:/a"], { PORT: "6000" }, "unix:/a"],
  [[], { PORT: "6000" }, "vsock:-1:6000"],
];
for (const [argv, env, expected] of LISTENS) {
  Deno.test(`with ${JSON.stringify([argv, env])} the service listens on ${expected}`, () => {
    const config = readServeConfig(parseOptions(SPECS, argv, (name) => env[name]));
    assertEquals(formatAddress(config.address), expected);
  });
}

Deno.test("--port and --listen together are refused, since one of them would be ignored", () => {
  const options = parseOptions(SPECS, ["--port", "6000", "--listen", "unix:/a"]);
  assertThrows(() => readServeConfig(options), UsageError, "--port does not go with --listen");
});

Deno.test("the configuration listens on vsock port 5000 by default, with the documented limits", () => {
  const config = readServeConfig(parseOptions(SPECS, ["--kms-key", ARN]));
  assertEquals(config.address, { transport: "vsock", cid: -1, port: 5000 });
  assertEquals(config.limits, {
    maxMessage: 10_485_760,
    maxConnections: 64,
    idleMs: 30_000,
    requestMs: 60_000,
    maxInFlight: undefined,
  });
  assertEquals([config.keys[0]?.region, config.configureOnce, config.requireEpoch], [
    "us-east-1",
    false,
    false,
  ]);
});

Deno.test("a command may be omitted, and a mistyped one gets a suggestion", () => {
  const commands = ["serve", "decrypt"];
  assertEquals(takeCommand(["--port", "1"], commands), { command: undefined, rest: ["--port", "1"] });
  assertEquals(takeCommand(["decrypt", "-c", "x"], commands), { command: "decrypt", rest: ["-c", "x"] });
  assertEquals(
    assertThrows(() => takeCommand(["decript"], commands), UsageError).hint,
    "Did you mean decrypt?",
  );
});

Deno.test("the version is that of deno.json", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(new URL("../../../../deno.json", import.meta.url)));
  assertEquals(VERSION, version);
});

Deno.test("what follows -- is no option, and is refused where a command takes no arguments", () => {
  const argv = ["--", "--listen", "unix:/a"];
  assertThrows(() => parseOptions(SPECS, argv), UsageError, 'Unexpected argument "--listen"');
  const options = parseOptions(SPECS, argv, undefined, { positionals: 2 });
  assertEquals([options.positionals, options.text("listen")], [["--listen", "unix:/a"], undefined]);
});

Deno.test("the environment is asked for the variables of the table, and for no others", () => {
  const asked: string[] = [];
  parseOptions(SPECS, [], (name) => (asked.push(name), undefined));
  assertEquals(asked.toSorted(), SPECS.flatMap((spec) => "env" in spec ? [spec.env] : []).toSorted());
});

const CLIENT_KEY = encodeBase64(new Uint8Array(32).fill(7));

for (
  const [variable, value, flag] of [
    ["PORT", "x", "--port"],
    ["PORT", "0", "--port"],
    ["PORT", "4294967296", "--port"],
    ["MAX_MESSAGE", "63", "--max-message"],
    ["MAX_CONNECTIONS", "0", "--max-connections"],
    ["IDLE_MS", "9", "--idle-ms"],
    ["REQUEST_MS", "3600001", "--request-ms"],
    ["DRAIN_MS", "-1", "--drain-ms"],
    ["LOG_LEVEL", "INFO", "--log-level"],
    ["REGION", "us-east-1.evil.example", "--region"],
    ["TSK_CONTEXT", "=v", "--tsk-context"],
    ["TSK_CONTEXT", "novalue", "--tsk-context"],
    ["TSK_CONTEXT", "a=1,a=2", "--tsk-context"],
    ["KMS_KEYS", ",", "--kms-key"],
    ["CONFIGURE_ONCE", " ", "CONFIGURE_ONCE"],
    ["MIN_EPOCH", " ", "--min-epoch"],
    ["MIN_TSK_EPOCH", "-1", "--min-tsk-epoch"],
    ["WALLET_CHAINS", "1,01", "--wallet-chain"],
    ["WALLET_CHAINS", "0x1", "--wallet-chain"],
    ["WALLET_CHAINS", " , ", "--wallet-chain"],
    ["WALLET_RECIPIENTS", ",", "--wallet-recipient"],
    ["REQUIRE_SEALED", "maybe", "REQUIRE_SEALED"],
    ["CLIENT_KEYS", ",", "--client-key"],
    ["CLIENT_KEYS", "AAAA", "--client-key"],
    ["CLIENT_KEYS", "not base64!", "--client-key"],
    ["WALLET_RECIPIENTS", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--wallet-recipient"],
    ["WALLET_CALLS", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--wallet-call"],
    ["WALLET_CALLS", `${CONTRACT}:0xa9059cbb:0xa9059cbb`, "--wallet-call"],
    ["WALLET_VERIFYING_CONTRACTS", `${CONTRACT}:`, "--wallet-verifying-contract"],
    ["WALLET_VERIFYING_CONTRACTS", ":Order", "--wallet-verifying-contract"],
    ["WALLET_VERIFYING_CONTRACTS", "Order", "--wallet-verifying-contract"],
    ["WALLET_VERIFYING_CONTRACTS", `${CONTRACT}:Order[]`, "--wallet-verifying-contract"],
    ["WALLET_VERIFYING_CONTRACTS", `${CONTRACT}:*`, "--wallet-verifying-contract"],
    ["WALLET_VERIFYING_CONTRACTS", `${CONTRACT}:0xa9059cbb`, "--wallet-verifying-contract"],
    ["WALLET_MAX_VALUE", "1e18", "--wallet-max-value"],
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

Deno.test("a verifying contract without a type is refused, and the error has the form with a type", () => {
  const error = assertThrows(() => read([`--wallet-verifying-contract=${CONTRACT}`]), UsageError);
  assertEquals(error.hint?.includes("<contract's address>:<primary type>"), true);
});

Deno.test("a name that every object inherits is not a value for a switch", () => {
  const constructor = env({ CONFIGURE_ONCE: "constructor" });
  assertThrows(() => parseOptions(SERVE_OPTIONS, [], constructor), UsageError, "CONFIGURE_ONCE");
});
Deno.test("a least epoch of session keys implies --require-epoch, whatever REQUIRE_EPOCH says", () => {
  const config = readServeConfig(
    parseOptions(SPECS, ["--min-tsk-epoch", "5"], env({ REQUIRE_EPOCH: "0" })),
  );
  assertEquals([config.requireEpoch, config.minTskEpoch], [true, 5]);
});

const MEASURED = [...SERVE_OPTIONS, ...NITRO_OPTIONS];
/** A valid value of every option that takes one, and another that means something else. */
const VALUES: Readonly<Record<string, readonly [string, string]>> = {
  "port": ["5000", "5001"],
  "listen": ["unix:/a", "unix:/b"],
  "region": ["us-east-1", "us-west-2"],
  "kms-key": [ARN, ARN.replace("us-east-1", "eu-west-1")],
  "features": ["sealed", "wallet"],
  "tsk-context": ["app=x", "stage=y"],
  "min-tsk-epoch": ["1", "2"],
  "client-key": [CLIENT_KEY, encodeBase64(new Uint8Array(32).fill(8))],
  "wallet-chain": ["1", "137"],
  "wallet-recipient": [CHECKSUMMED, "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"],
  "wallet-call": [`${CHECKSUMMED}:0xa9059cbb`, `${CHECKSUMMED}:0x095ea7b3`],
  "wallet-max-value": ["1", "2"],
  "wallet-delegation": [CHECKSUMMED, CONTRACT],
  "wallet-verifying-contract": [`${CONTRACT}:Order`, `${CONTRACT}:Permit`],
  "wallet-message-prefix": ["Sign in", "Log in"],
  "wallet-cache": ["1", "2"],
  "min-epoch": ["1", "2"],
  "max-message": ["64", "65"],
  "max-connections": ["1", "2"],
  "max-in-flight": ["536870912", "536870913"],
  "workflow-processes": ["1", "2"],
  "workflow-ms": ["10", "11"],
  "workflow-memory": ["16777216", "16777217"],
  "idle-ms": ["10", "11"],
  "request-ms": ["10", "11"],
  "clock": ["nsm", "kernel"],
  "drain-ms": ["1", "2"],
  "log-level": ["info", "warn"],
  "library-dir": ["/a", "/b"],
  "sdk-processes": ["1", "2"],
  "proxy-port": ["8000", "8001"],
  "kms-deadline-ms": ["10", "11"],
};
const read = (argv: readonly string[], values = {}) =>
  readServeConfig(parseOptions(SPECS, argv, env(values)));

/** Where it listens, how it logs and ends, and what only says where something is: these alone fall back to their defaults. */
const MAY_BE_EMPTY = ["port", "listen", "region", "drain-ms", "log-level", "library-dir", "proxy-port"];

Deno.test("the options that may be empty are those that tighten nothing", () => {
  const found = MEASURED.filter(({ refuseEmpty }) => !refuseEmpty).map(({ name }) => name);
  assertEquals(found.toSorted(), MAY_BE_EMPTY.toSorted());
});

for (const spec of MEASURED) {
  const { name } = spec;
  const refuseEmpty = !MAY_BE_EMPTY.includes(name);
  const variable = spec.env;

  Deno.test(`${variable}= is ${refuseEmpty ? "refused by its name" : "as if it was not there"}`, () => {
    if (refuseEmpty) assertThrows(() => read([], { [variable]: "" }), UsageError, variable);
    else assertEquals(read([], { [variable]: "" }), read([]));
  });

  Deno.test(`${variable} means what --${name} means`, () => {
    const [value = "1"] = VALUES[name] ?? [];
    const flag = "value" in spec ? `--${name}=${value}` : `--${name}`;
    assertEquals(read([], { [variable]: value }), read([flag]));
  });

  if (!("value" in spec)) continue;

  const isList = "multiple" in spec && spec.multiple;
  if (refuseEmpty) {
    Deno.test(`--${name}= is refused by its name`, () => {
      assertThrows(() => read([`--${name}=`]), UsageError, `--${name}`);
    });

    Deno.test(`--${name} given twice is refused by its name, ${isList ? "with the same value" : "with any value"}`, () => {
      const [value, other] = VALUES[name] ?? ["", ""];
      read([`--${name}`, value]);
      const second = isList ? value : other;
      assertThrows(() => read([`--${name}`, value, `--${name}`, second]), UsageError, `--${name}`);
      if (isList) read([`--${name}`, value, `--${name}`, other]);
      // A message's prefix may have commas in it.
      if (!isList || name === "wallet-message-prefix") return;
      assertThrows(() => read([], { [variable]: `${value},${value}` }), UsageError, `--${name}`);
      assertEquals(
        read([], { [variable]: `${value}, ${other},` }),
        read([`--${name}=${value}`, `--${name}=${other}`]),
      );
    });
  }
}

Deno.test("the order of --features does not change the measured configuration, and without it the hash is that of versions before it", () => {
  const measured = (...argv: string[]) => measuredConfiguration(read(argv));
  assertEquals(
    measured("--features=sealed,wallet"),
    measured("--features", "wallet", "--features", "sealed"),
  );
  assertEquals([measured("--features=wallet")["features"], "features" in measured()], [["wallet"], false]);
});

Deno.test("a feature that there is not is refused, and what needs the feature sealed without it", () => {
  assertThrows(() => read(["--features=wallet,wallets"]), UsageError, '"wallets"');
  for (const option of ["--require-sealed", `--client-key=${CLIENT_KEY}`]) {
    assertThrows(() => read(["--features=wallet", option]), UsageError, "need the feature sealed");
    read(["--features=wallet,sealed", option]);
  }
  read(["--features=wallet"], { REQUIRE_SEALED: "0" });
});

/** Options that the configuration hash does not cover, because they do not affect the use of keys. */
const NOT_MEASURED = ["port", "listen", "drain-ms", "log-level"];

for (const spec of MEASURED) {
  const isMeasured = !NOT_MEASURED.includes(spec.name);
  Deno.test(`--${spec.name} ${isMeasured ? "changes" : "does not change"} the measured configuration`, () => {
    const [value, other] = VALUES[spec.name] ?? ["", ""];
    const measured = (argv: readonly string[]) => JSON.stringify(measuredConfiguration(read(argv)));
    const isSwitch = !("value" in spec);
    const first = measured(isSwitch ? [] : [`--${spec.name}`, value]);
    const second = measured(isSwitch ? [`--${spec.name}`] : [`--${spec.name}`, other]);
    assertEquals(first !== second, isMeasured);
  });
}
