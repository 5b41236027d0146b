/**
 * A service with a workflow, as its own process, configured; and a client that seals for it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { Folder } from "./folder.ts";
import { ServiceProcess } from "./service_process.ts";
import { runTool } from "./tools.ts";

/** How to start it. */
export interface RigOptions {
  /** `scripts/dev.ts`, or a program like it. */
  readonly entry: string;
  /** Whether it is a bundle, which has its packages within. */
  readonly isBundle?: boolean;
  readonly flags?: readonly string[];
  /** A flag for V8. */
  readonly v8?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a service, with a key that it keeps in a file, and configures it. */
export async function workflowRig({ entry, isBundle = false, flags = [], v8 = "", env = {} }: RigOptions) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await Folder.make());
  const kms = `--kms-local-file=${folder.path}/kms.json`;
  const tskFile = `${folder.path}/tsk`;
  const run = [
    ...["run", "--no-prompt", "--quiet", "-A"],
    ...(isBundle ? ["--no-config"] : ["--lock=tests/deno.lock", "--frozen"]),
    ...(v8 === "" ? [] : [v8]),
    entry,
  ];
  const created = [...run, "tsk", "create", kms, `--tsk-file=${tskFile}`];
  const { code, stdout, stderr } = await runTool(Deno.execPath(), created, { env });
  assertEquals(code, 0, stderr);
  const args = [...run, ...(flags.includes("--listen") ? [] : ["--listen=tcp:127.0.0.1:0"]), kms, ...flags];
  const service = stack.use(await ServiceProcess.start({ command: Deno.execPath(), args, env }));
  const raw = decodeHex((await Deno.readTextFile(tskFile)).trim());
  const key = stack.use(new SealingKey(new SecretBytes(raw), { random: HOST_RANDOM.fill }));
  const own = stack.use(await Client.connect(service.address, { timeoutMs: 20_000 }));
  const access = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
  const configure = { type: "configure", encrypted_tsk: stdout.trim(), ...access };
  await own.request(configure);

  /** A request to `process` these data. */
  const sealed = (plaintext: string | Uint8Array<ArrayBuffer>): WireObject => {
    const bytes = typeof plaintext === "string" ? new TextEncoder().encode(plaintext) : plaintext;
    return { type: "process", ciphertext: encodeHex(key.seal(bytes)) };
  };
  const request = (plaintext: string | Uint8Array<ArrayBuffer>, client = own) =>
    client.exchange(sealed(plaintext));
  /** The plaintext of a reply that worked. */
  const open = (reply: WireObject) => {
    assertEquals(reply["status"], "ok", JSON.stringify(reply));
    return key.open(decodeHex(String(reply["result"])));
  };
  /** The answer's plaintext; or the error's code. */
  const ask = async (text: string, client = own) => {
    const reply = await request(text, client);
    return reply["status"] === "ok" ? new TextDecoder().decode(open(reply)) : `error ${reply["msg"]}`;
  };
  const health = () => own.exchange({ type: "health" });
  const connect = () => Client.connect(service.address);
  const owned = stack.move();
  return {
    ...{ service, folder, tskFile, configure, sealed, request, open, ask, health, connect },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A service that is configured, and a client that holds its key. */
export type WorkflowRig = Awaited<ReturnType<typeof workflowRig>>;
