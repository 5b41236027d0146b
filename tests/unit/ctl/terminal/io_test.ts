/** Options that the groups of `denclavectl` share: the command line wins over every variable, and variables have one prefix. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import {
  AWS_OPTIONS,
  checkRegion,
  type CtlIo,
  ENCLAVE_OPTIONS,
  enclaveAddress,
  KEY_OPTION,
  regionOf,
  STORE_OPTIONS,
  storeKind,
  tableName,
} from "../../../../lib/ctl/terminal/io.ts";
import { runCtl } from "../../../../lib/ctl/commands/main.ts";
import { openIo } from "../../../../lib/ctl/terminal/printing.ts";
import { formatAddress } from "../../../../lib/shared/wire/address.ts";

const KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
type Environment = Readonly<Record<string, string>>;

const reader = (env: Environment) => (name: string) => env[name];

function ioOf(env: Environment, print: (text: string) => void = () => {}): CtlIo {
  return openIo({
    write: (to, text) => to === "stdout" && print(text),
    isTerminal: () => false,
    env: reader(env),
    untilSignal: () => Promise.resolve("SIGTERM"),
  });
}

const ADDRESSES: readonly (readonly [string, readonly string[], Environment, string])[] = [
  ["nothing", [], {}, "vsock:16:5000"],
  ["--cid and --port", ["-c", "20", "-p", "6000"], {}, "vsock:20:6000"],
  ["DENCLAVE_CONNECT", [], { DENCLAVE_CONNECT: "tcp:127.0.0.1:1" }, "tcp:127.0.0.1:1"],
  ["--cid over DENCLAVE_CONNECT", ["-c", "20"], { DENCLAVE_CONNECT: "tcp:127.0.0.1:1" }, "vsock:20:5000"],
  ["--port over DENCLAVE_CONNECT", ["-p", "6000"], { DENCLAVE_CONNECT: "unix:/a" }, "vsock:16:6000"],
  ["--connect over DENCLAVE_CID", ["--connect", "unix:/a"], { DENCLAVE_CID: "20" }, "unix:/a"],
  ["DENCLAVE_CID and _PORT", [], { DENCLAVE_CID: "20", DENCLAVE_PORT: "6000" }, "vsock:20:6000"],
];
for (const [what, argv, env, expected] of ADDRESSES) {
  Deno.test(`with ${what} the enclave is at ${expected}`, () => {
    const options = parseOptions(ENCLAVE_OPTIONS, argv, reader(env));
    assertEquals(formatAddress(enclaveAddress(options)), expected);
  });
}

const STORES: readonly (readonly [string, readonly string[], Environment, string, string])[] = [
  ["nothing", [], {}, "sqlite:accounts.sqlite", "AccountTable"],
  ["--table", ["-t", "Mine"], {}, "dynamodb", "Mine"],
  ["--table over DENCLAVE_STORE", ["-t", "Mine"], { DENCLAVE_STORE: "sqlite:a" }, "dynamodb", "Mine"],
  ["--store over DENCLAVE_TABLE", ["--store", "sqlite:a"], { DENCLAVE_TABLE: "T" }, "sqlite:a", "T"],
  ["DENCLAVE_TABLE", [], { DENCLAVE_TABLE: "T" }, "dynamodb", "T"],
  ["--table of --store dynamodb", ["--store", "dynamodb", "-t", "T"], {}, "dynamodb", "T"],
];
for (const [what, argv, env, kind, table] of STORES) {
  Deno.test(`with ${what} the accounts are in ${kind}`, () => {
    const options = parseOptions(STORE_OPTIONS, argv, reader(env));
    assertEquals([storeKind(options), tableName(options)], [kind, table]);
  });
}

Deno.test("two options that contradict each other are refused, and neither is ignored", () => {
  const address = parseOptions(ENCLAVE_OPTIONS, ["--connect", "unix:/a", "-p", "1"]);
  assertThrows(() => enclaveAddress(address), UsageError, "--port does not go with --connect");
  const store = parseOptions(STORE_OPTIONS, ["--store", "sqlite:a", "-t", "T"]);
  assertThrows(() => storeKind(store), UsageError, "--table does not go with --store sqlite:a");
});

Deno.test("a region in the environment is ignored beside a key's ARN; a contradicting one on the command line is refused", () => {
  const key = parseKeyArn(KEY);
  const env = { DENCLAVE_REGION: "eu-west-1", AWS_REGION: "eu-west-2" };
  checkRegion(parseOptions(AWS_OPTIONS, [], reader(env)), key);
  checkRegion(parseOptions(AWS_OPTIONS, ["-r", "us-west-2"], reader(env)), key);
  const other = parseOptions(AWS_OPTIONS, ["-r", "eu-west-1"], reader(env));
  assertThrows(() => checkRegion(other, key), UsageError, "the key's ARN says us-west-2");
  const regions = [["-r", "us-east-1"], []].map((argv) =>
    regionOf(parseOptions(AWS_OPTIONS, argv, reader(env)), ioOf(env))
  );
  assertEquals(regions, ["us-east-1", "eu-west-1"]);
  assertEquals(regionOf(parseOptions(AWS_OPTIONS, []), ioOf({ AWS_REGION: "eu-west-2" })), "eu-west-2");
});

Deno.test("where nothing else gives a region, that of the key's ARN counts, and an id has none", () => {
  const specs = [...AWS_OPTIONS, KEY_OPTION];
  const given = [[{}, KEY], [{}, "mrk-1234"], [{ AWS_REGION: "eu-west-1" }, KEY]] as const;
  assertEquals(
    given.map(([env, key]) => regionOf(parseOptions(specs, ["-k", key], reader(env)), ioOf(env))),
    ["us-west-2", undefined, "eu-west-1"],
  );
});

/** Every command that has options of its own. */
const COMMANDS = [
  ...["create", "sign", "list", "show", "create-table"].map((command) => ["account", command]),
  ...["init", "status", "sign", "rewrap", "restore", "verify"].map((command) => ["gateway", command]),
  ...["init", "iam", "render", "lint", "diff", "rollover", "finalise", "apply"].map((
    name,
  ) => ["policy", name]),
  ...["create", "wrap", "show"].map((command) => ["tsk", command]),
  ...["describe", "verify", "build", "reproduce"].map((command) => ["eif", command]),
  ...[["client", "health"], ["kms", "create-key"], ["attest", "verify"], ["emulator", "serve"]],
  ...[["doctor"], ["bridge"]],
];

/** Names of other programs' own, which are read by them under the same name. */
const OF_OTHERS = /^(?:AWS_|NITRO_CLI_|SOURCE_DATE_EPOCH$)/;

Deno.test("every variable of denclavectl has its prefix, but for those that other programs define", async () => {
  const found: string[] = [];
  for (const command of COMMANDS) {
    let help = "";
    await runCtl([...command, "--help"], ioOf({ PORT: "80" }, (text) => void (help += text)));
    for (const [, name = ""] of help.matchAll(/[(;] ?env ([A-Z_]+)\)/g)) {
      assert(name.startsWith("DENCLAVE_") || OF_OTHERS.test(name), `${command.join(" ")}: ${name}`);
      found.push(name);
    }
  }
  for (const name of ["CONNECT", "CID", "PORT", "STORE", "TABLE", "REGION", "KMS_KEY", "CONFIG"]) {
    assert(found.includes(`DENCLAVE_${name}`), name);
  }
});
