/**
 * An SDK process: reads requests on stdin, answers on stdout. What the SDK prints goes to stderr, where the service reads it.
 *
 * It never outlives the service: it ends when its stdin closes, and the kernel kills it when its parent ends, also while a call of the SDK hangs.
 *
 * Permission: FFI on the SDK's libraries and on libc.
 *
 * @module
 */
import { dieWithParent } from "../../../../ffi/libc.ts";
import { writeAll } from "../../../shared/write_all.ts";
import { createEngine } from "./engine.ts";
import { decode } from "cborg";
import { FrameReader } from "../../children/frames.ts";
import { frameOf, MAX_LENGTH } from "./protocol.ts";
import type { SdkMessage, SdkRequest } from "./protocol.ts";

/** The standard streams of this process. */
export interface SdkProcessStreams {
  readonly stdin: ReadableStream<Uint8Array>;
  readonly stdout: { writeSync(bytes: Uint8Array): number };
}

/**
 * Answers requests until stdin ends, or until the parent has ended.
 *
 * @param parentPid the process id of the service
 * @throws {EnclaveError} `libc` when the kernel cannot be told to end it with its parent.
 */
export async function runSdkProcess({ stdin, stdout }: SdkProcessStreams, parentPid: number): Promise<void> {
  if (!dieWithParent(parentPid)) return;
  const arrived: Uint8Array<ArrayBuffer>[] = [];
  const reader = new FrameReader({ maxLength: MAX_LENGTH, take: (body) => arrived.push(body) });
  const write = (message: SdkMessage) => {
    const frame = frameOf(message);
    writeAll((bytes) => stdout.writeSync(bytes), frame);
    frame.fill(0);
  };
  const answer = createEngine(write);
  for await (const chunk of stdin) {
    reader.push(chunk);
    for (const body of arrived.splice(0)) {
      const response = answer(decode(body) as SdkRequest);
      body.fill(0);
      write(response);
      if (response.ok) response.plaintext?.fill(0);
    }
  }
}
