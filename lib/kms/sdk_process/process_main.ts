/**
 * The SDK's host as a child process: reads requests on stdin, answers on stdout. What the SDK prints goes to stderr, where the parent
 * reads it.
 *
 * @module
 */
import { createEngine } from "./engine.ts";
import { decodeFrames, encodeFrame } from "./frames.ts";
import type { HostRequest, HostResponse } from "./protocol.ts";

/** Answers until stdin ends. */
export async function runSdkHostProcess(
  stdin: ReadableStream<Uint8Array>,
  stdout: { writeSync(bytes: Uint8Array): number },
): Promise<void> {
  const answer = createEngine();
  for await (const message of decodeFrames(stdin)) {
    const response = answer(message as HostRequest);
    const frame = encodeFrame(response);
    for (let written = 0; written < frame.length;) written += stdout.writeSync(frame.subarray(written));
    frame.fill(0);
    wipe(response);
  }
}

function wipe(response: HostResponse): void {
  if (response.ok) response.plaintext?.fill(0);
}
