/** `denclavectl tsk`: session keys made, kept and wrapped by their issuer. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { decodeBase64, decodeHex } from "@std/encoding";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { failureLines } from "../../../../lib/shared/cli/failure.ts";
import { parseOptions } from "../../../../lib/shared/cli/options.ts";
import { readServeConfig, SERVE_OPTIONS } from "../../../../lib/shared/cli/serve_options.ts";
import { runProgram } from "../../../../lib/ctl/terminal/command.ts";
import { type TskBackend, tskCommands } from "../../../../lib/ctl/commands/tsk.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { LocalKms } from "../../../../lib/dev/kms/local.ts";
import { recordingIo } from "../../../helpers/ctl_io.ts";
import { Folder } from "../../../helpers/folder.ts";

/** Runs a command against a local KMS, and says what it printed. */
async function tsk(command: string, args: readonly string[], kms: LocalKms | EnclaveError) {
  const keyArn = kms instanceof LocalKms ? kms.keyArns[0] ?? "" : "";
  const backend: TskBackend = {
    options: [],
    open: () =>
      Promise.resolve({
        keyArn,
        encrypt: async (plaintext, context) => {
          if (kms instanceof LocalKms) return await kms.encrypt(keyArn, plaintext, context);
          throw kms;
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
  const { io, shown } = recordingIo();
  const program = { name: "denclavectl", commands: tskCommands(backend), help: String };
  return { code: await runProgram(program, ["tsk", command, ...args], io), ...shown };
}

async function open(): Promise<LocalKms> {
  return await LocalKms.open({ region: "us-east-1" });
}

Deno.test("a new session key is in a file that only its owner can read, and the enclave's default context opens it", async () => {
  await using folder = await Folder.make();
  await using kms = await open();
  const file = `${folder.path}/tsk.hex`;
  const { stdout, code } = await tsk("create", ["--tsk-file", file], kms);
  assertEquals(code, 0);
  assertEquals(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
  const written = (await Deno.readTextFile(file)).trim();
  assertMatch(written, /^[0-9a-f]{64}$/);

  const { context } = readServeConfig(parseOptions(SERVE_OPTIONS, []));
  using credentials = Credentials.fromStrings({ accessKeyId: "a", secretAccessKey: "b", sessionToken: "" });
  using opened = await kms.decrypt(
    { region: "us-east-1", credentials },
    {
      ciphertext: decodeBase64(stdout.trim()),
      keyId: kms.keyArns[0] ?? "",
      ...(context === undefined ? {} : { context }),
    },
  );
  assertEquals(opened.expose(), decodeHex(written));
});

Deno.test("a session key's file is never overwritten, and the key in it stays", async () => {
  await using folder = await Folder.make();
  await using kms = await open();
  const file = `${folder.path}/tsk.hex`;
  await tsk("create", ["--tsk-file", file], kms);
  const before = await Deno.readTextFile(file);
  const refused = await assertRejects(() => tsk("create", ["--tsk-file", file], kms), EnclaveError, file);
  assertMatch(refused.hint ?? "", /never overwritten/);
  assertEquals(failureLines(refused).exitCode, 2);
  assertEquals(await Deno.readTextFile(file), before);
});

Deno.test("when KMS refuses to wrap a new key, no file is left behind", async () => {
  await using folder = await Folder.make();
  const file = `${folder.path}/tsk.hex`;
  const refusal = new EnclaveError("no", { code: "kms_encrypt" });
  await assertRejects(() => tsk("create", ["--tsk-file", file], refusal), EnclaveError, "no");
  await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
});

Deno.test("wrap binds the same key to another epoch, and show prints the fingerprint of both", async () => {
  await using folder = await Folder.make();
  await using kms = await open();
  const file = `${folder.path}/tsk.hex`;
  const first = JSON.parse((await tsk("create", ["--tsk-file", file, "--epoch", "1", "--json"], kms)).stdout);
  const second = JSON.parse((await tsk("wrap", ["--tsk-file", file, "--epoch", "2", "--json"], kms)).stdout);
  assertEquals([first.context, second.context], [
    { app: "denclave", purpose: "tsk", epoch: "1" },
    { app: "denclave", purpose: "tsk", epoch: "2" },
  ]);
  assert(first.encrypted_tsk !== second.encrypted_tsk);
  const { stdout } = await tsk("show", ["--tsk-file", file], kms);
  assertEquals([first.fingerprint, second.fingerprint], [stdout.trim(), stdout.trim()]);
});

for (
  const [what, content, mode, words] of [
    ["holds too few digits", "ab", 0o600, /64 hex digits/],
    ["can be read by others", "ab".repeat(32), 0o644, /other users may use it/],
    ["is far too long", "a".repeat(1_000), 0o600, /more than 256 bytes/],
  ] as const
) {
  Deno.test(`a session key file that ${what} is refused`, async () => {
    await using folder = await Folder.make();
    await using kms = await open();
    const file = `${folder.path}/tsk.hex`;
    await Deno.writeTextFile(file, content, { mode });
    const refused = await assertRejects(() => tsk("wrap", ["--tsk-file", file], kms), EnclaveError);
    assertMatch(refused.message, words);
    assertEquals(refused.code, "usage");
  });
}
