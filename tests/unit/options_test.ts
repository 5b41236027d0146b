/** Command lines. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { helpLines, nearest, parseOptions, UsageError } from "../../lib/cli/options.ts";
import {
  COMMON_OPTIONS,
  NITRO_OPTIONS,
  readServeConfig,
  SERVE_OPTIONS,
  takeCommand,
} from "../../lib/cli/serve.ts";
import { EnclaveError } from "../../lib/errors.ts";
import { VERSION } from "../../lib/version.ts";

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
  const { version } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  assertEquals(VERSION, version);
});
