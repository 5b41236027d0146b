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
import type { Address } from "../../lib/shared/wire/address.ts";
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
async function start({ entry, isBundle = false, flags = [], v8 = "", env = {} }: RigOptions) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await Folder.make());
  const key = `--kms-local-file=${folder.path}/kms.json`;
  const tskFile = `${folder.path}/tsk`;
  const run = [
    ...["run", "--no-prompt", "--quiet", "-A"],
    ...(isBundle ? ["--no-config"] : ["--lock=tests/deno.lock", "--frozen"]),
    ...(v8 === "" ? [] : [v8]),
    entry,
  ];
  const created = [...run, "tsk", "create", key, `--tsk-file=${tskFile}`];
  const { code, stdout, stderr } = await runTool(Deno.execPath(), created, { env });
  assertEquals(code, 0, stderr);
  const args = [...run, ...(flags.includes("--listen") ? [] : ["--listen=tcp:127.0.0.1:0"]), key, ...flags];
  const service = stack.use(await ServiceProcess.start({ command: Deno.execPath(), args, env }));
  const raw = decodeHex((await Deno.readTextFile(tskFile)).trim());
  const sealing = stack.use(await SealingKey.take(new SecretBytes(raw), { random: HOST_RANDOM.fill }));
  const client = stack.use(await Client.connect(service.address, { timeoutMs: 20_000 }));
  const access = { aws_access_key_id: "AKID", aws_secret_access_key: "secret" };
  const configure = { type: "configure", encrypted_tsk: stdout.trim(), ...access };
  await client.request(configure);
  return { service, folder, tskFile, configure, client, sealing, stack: stack.move() };
}

/** A service that is configured, and a client that holds its key. */
export class WorkflowRig implements AsyncDisposable {
  readonly service: ServiceProcess & { readonly address: Address };
  /** Goes with the rig. */
  readonly folder: Folder;
  /** The key as hex, in the folder. */
  readonly tskFile: string;
  /** The request that configured it. */
  readonly configure: WireObject;
  #client: Client;
  #key: SealingKey;
  #stack: AsyncDisposableStack;

  private constructor(parts: Awaited<ReturnType<typeof start>>) {
    ({
      service: this.service,
      folder: this.folder,
      tskFile: this.tskFile,
      configure: this.configure,
      client: this.#client,
      sealing: this.#key,
      stack: this.#stack,
    } = parts);
  }

  static async start(options: RigOptions): Promise<WorkflowRig> {
    return new WorkflowRig(await start(options));
  }

  /** A request to `process` these data. */
  async sealed(plaintext: string | Uint8Array<ArrayBuffer>): Promise<WireObject> {
    const bytes = typeof plaintext === "string" ? new TextEncoder().encode(plaintext) : plaintext;
    return { type: "process", ciphertext: encodeHex(await this.#key.seal(bytes)) };
  }

  async request(plaintext: string | Uint8Array<ArrayBuffer>, client = this.#client): Promise<WireObject> {
    return await client.exchange(await this.sealed(plaintext));
  }

  /** The plaintext of a reply that worked. */
  async open(reply: WireObject): Promise<Uint8Array<ArrayBuffer>> {
    assertEquals(reply["status"], "ok", JSON.stringify(reply));
    return await this.#key.open(decodeHex(String(reply["result"])));
  }

  /** The answer's plaintext; or the error's code. */
  async ask(text: string, client = this.#client): Promise<string> {
    const reply = await this.request(text, client);
    if (reply["status"] !== "ok") return `error ${reply["msg"]}`;
    return new TextDecoder().decode(await this.open(reply));
  }

  health(): Promise<WireObject> {
    return this.#client.exchange({ type: "health" });
  }

  connect(): Promise<Client> {
    return Client.connect(this.service.address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}
