/** Options that the groups of `denclavectl` share: the command line wins over every variable. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import {
  enclaveAddress,
  regionOf,
  requireKey,
  storeKind,
  tableName,
} from "../../../../lib/ctl/terminal/io.ts";
import {
  AWS_OPTIONS,
  ENCLAVE_OPTIONS,
  KEY_OPTION,
  STORE_OPTIONS,
} from "../../../../lib/ctl/terminal/options.ts";
import type { CtlIo } from "../../../../lib/ctl/terminal/printing.ts";
import { recordingIo } from "../../../helpers/ctl_io.ts";
import { formatAddress } from "../../../../lib/shared/wire/address.ts";

const KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
type Environment = Readonly<Record<string, string>>;

const reader = (env: Environment) => (name: string) => env[name];

const ioOf = (env: Environment): CtlIo => recordingIo({ env }).io;

const ADDRESSES: readonly (readonly [string, readonly string[], Environment, string])[] = [
  ["nothing", [], {}, "vsock:16:5000"],
  ["--cid and --port", ["-c", "20", "-p", "6000"], {}, "vsock:20:6000"],
  ["DENCLAVE_CONNECT", [], { DENCLAVE_CONNECT: "tcp:127.0.0.1:1" }, "tcp:127.0.0.1:1"],
  ["--cid over DENCLAVE_CONNECT", ["-c", "20"], { DENCLAVE_CONNECT: "tcp:127.0.0.1:1" }, "vsock:20:5000"],
  ["--port over DENCLAVE_CONNECT", ["-p", "6000"], { DENCLAVE_CONNECT: "unix:/a" }, "vsock:16:6000"],
  ["--connect over DENCLAVE_CID", ["--connect", "unix:/a"], { DENCLAVE_CID: "20" }, "unix:/a"],
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
  const specs = [...AWS_OPTIONS, KEY_OPTION];
  const parse = (...argv: string[]) => parseOptions(specs, ["-k", KEY, ...argv], reader(env));
  const env = { DENCLAVE_REGION: "eu-west-1", AWS_REGION: "eu-west-2" };
  for (const argv of [[], ["-r", "us-west-2"]]) assertEquals(requireKey(parse(...argv)).arn, KEY);
  assertThrows(() => requireKey(parse("-r", "eu-west-1")), UsageError, "the key's ARN says us-west-2");
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
