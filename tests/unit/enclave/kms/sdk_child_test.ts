/** What a request leaves in this process's memory once it was sent to an SDK process. */
import { assert, assertEquals } from "@std/assert";
import { childStarter } from "../../../../lib/enclave/kms/sdk_process/child.ts";
import { decodeFrames } from "../../../../lib/enclave/kms/sdk_process/frames.ts";
import type { SdkRequest } from "../../../../lib/enclave/kms/sdk_process/protocol.ts";
import { within } from "../../../helpers/deadline.ts";

/** A child process whose pipe is kept, instead of one that runs. */
class KeptPipe {
  static chunks: Uint8Array[] = [];
  static received = Promise.withResolvers<unknown>();

  spawn() {
    const closed = new ReadableStream<Uint8Array>({ start: (controller) => controller.close() });
    return {
      pid: 1,
      stdin: new WritableStream<Uint8Array>({
        write: async (chunk) => {
          KeptPipe.chunks.push(chunk);
          for await (const message of decodeFrames(ReadableStream.from([chunk.slice()]))) {
            KeptPipe.received.resolve(message);
          }
        },
      }),
      stdout: closed,
      stderr: new ReadableStream<Uint8Array>({ start: (controller) => controller.close() }),
      status: new Promise<never>(() => {}),
      kill: () => {},
    };
  }
}

Deno.test("credentials that were sent to an SDK process are wiped here, and so is the message that carried them", async () => {
  const { Command } = Deno;
  Object.defineProperty(Deno, "Command", { value: KeptPipe, configurable: true, writable: true });
  try {
    const child = childStarter("/none", [])({ message: () => {}, printed: () => {}, ended: () => {} });
    const secret = () => new TextEncoder().encode("NEVER-SEEN");
    const request = {
      id: 1,
      op: "call",
      region: "us-east-1",
      credentials: { accessKeyId: secret(), secretAccessKey: secret(), sessionToken: secret() },
      call: { kind: "generateRandom", length: 1 },
    } as const satisfies SdkRequest;
    child.post(request);
    const wiped = new Uint8Array(10);
    assertEquals(Object.values(request.credentials), [wiped, wiped, wiped]);
    const received = await within(KeptPipe.received.promise, "the message") as typeof request;
    assertEquals(received.credentials.secretAccessKey, secret());
    // The writer resolves, and then wipes.
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    await new Promise((resolve) => setTimeout(resolve, 0));
    assert(KeptPipe.chunks.length === 1 && KeptPipe.chunks[0]?.every((byte) => byte === 0));
    child.kill();
  } finally {
    Object.defineProperty(Deno, "Command", { value: Command, configurable: true, writable: true });
  }
});
