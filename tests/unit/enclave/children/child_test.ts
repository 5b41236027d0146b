/** What is sent to a child, and what it leaves in this process's memory. */
import { assert, assertEquals } from "@std/assert";
import { decode } from "cborg";
import { childStarter } from "../../../../lib/enclave/children/child.ts";
import { FrameReader, HEADER_LENGTH, newFrame } from "../../../../lib/enclave/children/frames.ts";
import { frameOf } from "../../../../lib/enclave/kms/sdk_process/protocol.ts";
import { within } from "../../../helpers/deadline.ts";

/** A child process whose pipe is kept, instead of one that runs. */
class KeptPipe {
  static writes: Uint8Array<ArrayBuffer>[] = [];
  static received: Uint8Array[] = [];
  static wrote = Promise.withResolvers<void>();

  spawn() {
    const reader = new FrameReader(1_000);
    const closed = () => new ReadableStream({ type: "bytes", start: (controller) => controller.close() });
    return {
      pid: 1,
      stdin: new WritableStream<Uint8Array<ArrayBuffer>>({
        write: (chunk) => {
          KeptPipe.writes.push(chunk);
          KeptPipe.received.push(...reader.push(chunk.slice()));
          KeptPipe.wrote.resolve();
        },
      }),
      stdout: closed(),
      stderr: closed(),
      status: new Promise<never>(() => {}),
      kill: () => {},
    };
  }
}

function keptChild() {
  const { Command } = Deno;
  const put = (value: unknown) =>
    Object.defineProperty(Deno, "Command", { value, configurable: true, writable: true });
  put(KeptPipe);
  KeptPipe.writes = [];
  KeptPipe.received = [];
  KeptPipe.wrote = Promise.withResolvers();
  const start = childStarter({ command: "/none", args: [], maxLength: 1_000 });
  const child = start({ message: () => {}, ended: () => {} });
  return {
    child,
    written: async () => {
      await within(KeptPipe.wrote.promise, "the write");
      // The writer resolves, and then wipes.
      await new Promise((resolve) => setTimeout(resolve, 0));
    },
    [Symbol.dispose]: () => {
      child.kill();
      put(Command);
    },
  };
}

function filled(byte: number) {
  return newFrame(4).fill(byte, HEADER_LENGTH);
}

Deno.test("credentials that were sent to an SDK process are wiped here, and so is the message that carried them", async () => {
  using rig = keptChild();
  const secret = () => new TextEncoder().encode("NEVER-SEEN");
  const credentials = { accessKeyId: secret(), secretAccessKey: secret(), sessionToken: secret() };
  const call = { kind: "generateRandom", length: 1 } as const;
  const frame = frameOf({ id: 1, op: "call", region: "us-east-1", credentials, call });
  rig.child.post(frame);
  await rig.written();
  assertEquals(decode(KeptPipe.received[0] ?? new Uint8Array()).credentials, credentials);
  assert([frame, ...KeptPipe.writes].every(({ buffer }) => buffer.detached));
});

Deno.test("messages of one turn leave in one write, in order, and those that their owner keeps are not wiped", async () => {
  using rig = keptChild();
  const [first, kept, last] = [filled(1), filled(2), filled(3)];
  rig.child.post(first);
  rig.child.post(kept, "keep");
  rig.child.post(last);
  await rig.written();
  assertEquals(KeptPipe.received.map(([byte]) => byte), [1, 2, 3]);
  assertEquals([KeptPipe.writes.length, kept], [1, filled(2)]);
  assert([first, last, ...KeptPipe.writes].every(({ buffer }) => buffer.detached));
});
