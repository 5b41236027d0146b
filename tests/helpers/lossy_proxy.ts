/**
 * A TCP proxy between a client and a real server, which drops requests or replies as a test scripts.
 *
 * @module
 */

/** What becomes of a connection. */
export type Fate = "pass" | "refuse" | "lose the answer";

/** The proxy. */
export interface LossyProxy extends Disposable {
  readonly url: string;
  /** Of each request that is seen, by the text at its beginning. */
  fate: (request: string) => Fate;
}

/** Starts a proxy before a server on this machine. */
export function startLossyProxy(target: string): LossyProxy {
  const { port } = new URL(target);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const proxy: LossyProxy = {
    url: `http://127.0.0.1:${listener.addr.port}`,
    fate: () => "pass",
    [Symbol.dispose]: () => {
      listener.close();
      for (const connection of open) close(connection);
    },
  };
  const close = (connection: Deno.TcpConn) => {
    if (!open.delete(connection)) return;
    try {
      connection.close();
    } catch {
      // Closed by the other side.
    }
  };

  async function serve(client: Deno.TcpConn): Promise<void> {
    open.add(client);
    let server: Deno.TcpConn | undefined;
    let losing = false;
    try {
      server = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
      open.add(server);
      const upstream = server;
      const back = (async () => {
        const buffer = new Uint8Array(65_536);
        for (
          let length = await upstream.read(buffer);
          length !== null;
          length = await upstream.read(buffer)
        ) {
          // The server has handled the request; the reply is dropped.
          if (losing) return;
          await write(client, buffer.subarray(0, length));
        }
      })().catch(() => {}).finally(() => close(client));
      const buffer = new Uint8Array(65_536);
      for (let length = await client.read(buffer); length !== null; length = await client.read(buffer)) {
        const text = new TextDecoder().decode(buffer.subarray(0, length));
        const fate = proxy.fate(text);
        if (fate === "refuse") return;
        losing ||= fate === "lose the answer";
        await write(upstream, buffer.subarray(0, length));
      }
      await back;
    } catch {
      // One of the two has gone.
    } finally {
      close(client);
      if (server !== undefined) close(server);
    }
  }

  void (async () => {
    for await (const client of listener) void serve(client);
  })().catch(() => {});
  return proxy;
}

async function write(stream: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await stream.write(bytes.subarray(written));
}
