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
import { decodeFrames, encodeFrame } from "./frames.ts";
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
  const write = (message: SdkMessage) => {
    const frame = encodeFrame(message);
    writeAll((bytes) => stdout.writeSync(bytes), frame);
    frame.fill(0);
  };
  const answer = createEngine(write);
  for await (const message of decodeFrames(stdin)) {
    const response = answer(message as SdkRequest);
    write(response);
    if (response.ok) response.plaintext?.fill(0);
  }
}
