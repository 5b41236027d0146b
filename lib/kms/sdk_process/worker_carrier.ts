/**
 * Carries messages to an SDK host that is a Worker. Needs no permission beyond the FFI that the Worker inherits.
 *
 * @module
 */
import { type Carrier, type CarrierEvents, secretsOf } from "./carrier.ts";
import type { HostResponse } from "./protocol.ts";

/** Starts a Worker. */
export function startWorkerCarrier(events: CarrierEvents): Carrier {
  const worker = new Worker(new URL("./worker_main.ts", import.meta.url).href, {
    type: "module",
    name: "sdk-host",
  });
  let over = false;
  worker.onmessage = (event: MessageEvent<HostResponse>) => {
    if (!over) events.message(event.data);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    if (over) return;
    over = true;
    worker.terminate();
    events.ended(event.message);
  };
  return {
    leaks: true,
    // Handing the buffers over empties ours, which is as good as wiping them.
    post: (request) => worker.postMessage(request, secretsOf(request).map((bytes) => bytes.buffer)),
    giveUp: () => {
      over = true;
      worker.terminate();
    },
    said: () => "",
  };
}
