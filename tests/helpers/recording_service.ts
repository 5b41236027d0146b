/**
 * A service on loopback that keeps what it is asked, and answers what a test wants.
 *
 * @module
 */
import { assert } from "@std/assert";
import { encodeMessage, FrameDecoder } from "../../lib/shared/wire/framing.ts";
import { parseObject, type WireObject } from "../../lib/shared/wire/messages.ts";

/** Starts it on a port of loopback. */
export function recordingService(answer: (request: WireObject) => WireObject | Promise<WireObject>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const requests: WireObject[] = [];
  const serve = async (connection: Deno.Conn) => {
    const decoder = new FrameDecoder(1 << 20);
    for (let length; (length = await connection.read(decoder.space())) !== null;) {
      decoder.commit(length);
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        assert("body" in frame);
        const request = parseObject(frame.body);
        decoder.release();
        requests.push(request);
        await connection.write(encodeMessage("u32be", await answer(request)));
      }
    }
    connection.close();
  };
  const serving = (async () => {
    for await (const connection of listener) void serve(connection).catch(() => connection.close());
  })();
  return {
    address: `tcp:127.0.0.1:${listener.addr.port}`,
    requests,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}
