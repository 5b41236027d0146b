/**
 * A service with a workflow, as its own process, configured; and a client that seals for it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import type { WireObject } from "../../lib/shared/wire/messages.ts";
import { ServiceProcess } from "./service_process.ts";

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

/** A service that is configured, and a client that holds its key. */
export class WorkflowRig implements AsyncDisposable {
  readonly service: Awaited<ReturnType<typeof ServiceProcess.start>>;
  #client: Client;
  #key: SealingKey;
  #stack: AsyncDisposableStack;

  private constructor(
    service: Awaited<ReturnType<typeof ServiceProcess.start>>,
    client: Client,
    key: SealingKey,
    stack: AsyncDisposableStack,
  ) {
    this.service = service;
    this.#client = client;
    this.#key = key;
    this.#stack = stack;
  }

  static async start(
    { entry, isBundle = false, flags = [], v8 = "", env = {} }: RigOptions,
  ): Promise<WorkflowRig> {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir();
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const run = [
      "run",
      "--no-prompt",
      "--quiet",
      ...(isBundle ? ["--no-config"] : ["--lock=tests/deno.lock", "--frozen"]),
      "-A",
      ...(v8 === "" ? [] : [v8]),
    ];
    const made = await new Deno.Command(Deno.execPath(), {
      args: [
        ...run,
        entry,
        "tsk",
        "create",
        `--kms-local-file=${folder}/kms.json`,
        `--tsk-file=${folder}/tsk`,
      ],
      env,
    }).output();
    assert(made.success, new TextDecoder().decode(made.stderr));
    const service = stack.use(
      await ServiceProcess.start({
        command: Deno.execPath(),
        args: [...run, entry, "--listen=tcp:127.0.0.1:0", `--kms-local-file=${folder}/kms.json`, ...flags],
        env,
      }),
    );
    const tsk = decodeHex((await Deno.readTextFile(`${folder}/tsk`)).trim());
    const key = await SealingKey.take(new SecretBytes(tsk), { random: HOST_RANDOM.fill });
    stack.use(key);
    const client = stack.use(await Client.connect(service.address));
    const reply = await client.exchange({
      type: "configure",
      encrypted_tsk: new TextDecoder().decode(made.stdout).trim(),
      aws_access_key_id: "AKID",
      aws_secret_access_key: "secret",
    });
    assertEquals(reply["status"], "ok");
    return new WorkflowRig(service, client, key, stack.move());
  }

  async request(plaintext: string | Uint8Array<ArrayBuffer>, client = this.#client): Promise<WireObject> {
    const bytes = typeof plaintext === "string" ? new TextEncoder().encode(plaintext) : plaintext;
    return await client.exchange({ type: "process", ciphertext: encodeHex(await this.#key.seal(bytes)) });
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
