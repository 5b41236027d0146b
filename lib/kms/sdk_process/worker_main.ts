/**
 * The SDK's host as a Worker: an isolate with a thread of its own, so that a call that blocks holds nothing else up.
 *
 * @module
 */
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import { createEngine } from "./engine.ts";
import type { HostRequest, HostResponse } from "./protocol.ts";

const answer = createEngine();

/** The buffers of a response, which are handed over instead of copied. */
function transferable(response: HostResponse): Transferable[] {
  if (!response.ok) return [];
  return [response.plaintext, response.ciphertext].flatMap((bytes) =>
    bytes === undefined ? [] : [bytes.buffer]
  );
}

self.onmessage = (event: MessageEvent<HostRequest>) => {
  const response = answer(event.data);
  self.postMessage(response, transferable(response));
};
