/** What `denclavectl` says about mistakes of a command line. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EXIT } from "../../../../lib/shared/cli/options.ts";
import { ctlExitCode } from "../../../../lib/ctl/commands/main.ts";
import { KeyAdminError, KMS_CODES } from "../../../../lib/ctl/aws/key_admin.ts";
import { tryCtl } from "../../../helpers/ctl_io.ts";
import { Folder } from "../../../helpers/folder.ts";

const KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const PCR0 = "ab".repeat(48);
const ROLE = "arn:aws:iam::111122223333:role/Parent";

/** A command line, in which `@name` is a file of the folder below, and what is said about it. */
const MISTAKES: readonly (readonly [string, readonly string[], RegExp])[] = [
  [
    "a file that is not there",
    ["attest", "verify", "@missing", "--insecure-skip-pcrs"],
    /Cannot read \S+missing: No such file.*\nCheck the path/,
  ],
  [
    "a file that is too long",
    ["attest", "verify", "@long", "--insecure-skip-pcrs"],
    /Cannot read \S+long: it is longer than 65536 bytes\nCheck that this is the right input/,
  ],
  [
    "a file that is not text",
    ["policy", "lint", "@binary"],
    /Cannot read \S+binary: .*\nIt must be text in UTF-8/,
  ],
  ["a folder", ["policy", "lint", "@"], /Cannot read .*\nCheck that it is a file/],
  ["no build", ["policy", "render", "--admin", ROLE], /Which build/],
  ["stdin for two policies", ["policy", "diff", "-", "-"], /Only one of the policies can be stdin/],
  ["no key", ["policy", "apply", "/dev/null"], /Which KMS key/],
  ["nothing to sign", ["account", "sign", "--name", "alice"], /--message/],
  ["an enclave that nothing identifies", ["account", "show", "--name", "alice", "--verify"], /PCR0/],
  ["an attester that nothing identifies", ["account", "create", "--name", "eve", "--attest"], /PCR0/],
  ["no name", ["account", "create"], /--name/],
  ["no region for DynamoDB", ["account", "list", "-t", "AccountTable"], /region/],
  [
    "measurements without registers",
    ["policy", "render", "-m", "@empty", "--parent", ROLE, "--admin", ROLE],
    /\S+empty: Cannot find Measurements in the JSON/,
  ],
  [
    "a parent that is no ARN",
    ["policy", "init", "-k", KEY, "--parent", "x", "--admin", ROLE, "-f", "@written"],
    /parents\[0\]: must be the ARN of a role or user/,
  ],
];
for (const [what, argv, words] of MISTAKES) {
  Deno.test(`${what} is named, with what to do: denclavectl ${argv.slice(0, 2).join(" ")}`, async () => {
    await using folder = await Folder.make();
    await folder.write("empty", "{}");
    await folder.write("short", '{"PCR0":"00","PCR1":"00","PCR2":"00"}');
    await folder.write("long", "a".repeat(65_537));
    await folder.write("binary", new Uint8Array([0xff, 0xfe, 0xff]));
    const given = argv.map((word) => word.replace("@", `${folder.path}/`));
    assertMatch((await tryCtl(given)).stderr, words);
    await assertRejects(() => Deno.stat(`${folder.path}/written`), Deno.errors.NotFound);
  });
}

Deno.test("a file that is not there ends every command with the same exit code", async () => {
  await using folder = await Folder.make();
  const missing = `${folder.path}/missing`;
  const tcp = ["--connect", "tcp:127.0.0.1:1"];
  const commands: readonly (readonly string[])[] = [
    ["client", "process", "--tsk-file", missing, "--data", "x", ...tcp],
    ["client", "process", "--tsk-file", missing, "--data", `@${missing}`, ...tcp],
    ["client", "ping", "--sealed", "--pcr", `0=${PCR0}`, "--client-key-file", missing, ...tcp],
    ["client", "ping", "--sealed", "--measurements", missing, ...tcp],
    ["account", "sign", "-n", "a", "--transaction", missing, "--store", `sqlite:${folder.path}/a.sqlite`],
    ["account", "sign", "-n", "a", "--items", missing, "--store", `sqlite:${folder.path}/a.sqlite`],
    ["attest", "verify", missing, "--pcr", `0=${PCR0}`, "--insecure-skip-nonce"],
    ["gateway", "status", "--config", missing],
    ["eif", "describe", missing],
    ["eif", "verify", missing],
    ["tsk", "show", "--tsk-file", missing],
    ["policy", "render", "--policy-file", missing],
    ["policy", "apply", missing, "-k", KEY],
  ];
  const codes: Record<string, number> = {};
  for (const args of commands) codes[args.slice(0, 3).join(" ")] = (await tryCtl(args)).code;
  assertEquals(Object.entries(codes).filter(([, code]) => code !== 2), []);
});

for (const [meaning, code] of Object.entries(KMS_CODES)) {
  const isAway = meaning === "missing" || meaning === "unavailable";
  Deno.test(`a KMS error that means ${meaning} exits ${isAway ? 69 : 1}`, () => {
    const error = new KeyAdminError("Cannot", { code, hint: "", cause: undefined });
    assertEquals(ctlExitCode(error), isAway ? EXIT.unavailable : EXIT.failed);
  });
}
