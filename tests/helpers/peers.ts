/**
 * Real protocol servers of others, as processes of the test's own: moto (KMS, DynamoDB) and dynalite (DynamoDB).
 *
 * @module
 */
import dynalite from "../deps/dynalite.ts";

const MOTO = new URL("../peers/build/venv/bin/moto_server", import.meta.url).pathname;
const START_MS = 30_000;

/** A server that runs. */
export interface PeerServer extends AsyncDisposable {
  /** Such as `http://127.0.0.1:1234`. */
  readonly url: string;
}

/** Whether moto was installed (scripts/build_peers.ts). */
export function hasMoto(): boolean {
  try {
    return Deno.statSync(MOTO).isFile;
  } catch {
    return false;
  }
}

/** Starts moto on a port of its choice, or a given one. */
export async function startMoto(port = 0): Promise<PeerServer> {
  const child = new Deno.Command(MOTO, {
    args: ["-H", "127.0.0.1", "-p", String(port)],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    env: { PYTHONUNBUFFERED: "1" },
  }).spawn();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
  let text = "";
  let url: string | undefined;
  while (url === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`moto did not start: ${text}`);
    text += value;
    url = /http:\/\/127\.0\.0\.1:[0-9]+/.exec(text)?.[0];
  }
  clearTimeout(timer);
  // Its log of requests is read away, so that it never waits for us.
  const drained = (async () => {
    while (!(await reader.read()).done);
  })();
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.status;
      await drained;
    },
  };
}

/** Starts dynalite in this process, in memory. */
export async function startDynalite(port = 0): Promise<PeerServer> {
  const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("dynalite listens on TCP");
  return {
    url: `http://127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
