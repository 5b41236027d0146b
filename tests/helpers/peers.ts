/**
 * Real protocol servers of others, as processes of the test's own: moto (KMS, DynamoDB) and dynalite (DynamoDB).
 *
 * @module
 */
const ROOT = new URL("../..", import.meta.url).pathname;
const MOTO = `${ROOT}tests/peers/build/venv/bin/moto_server`;
const SHELLCHECK = `${ROOT}tests/peers/build/venv/bin/shellcheck`;
const START_MS = 30_000;

/** A server that runs. */
export interface PeerServer extends AsyncDisposable {
  /** Such as `http://127.0.0.1:1234`. */
  readonly url: string;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** Whether moto was installed (scripts/build_peers.ts). */
export function hasMoto(): boolean {
  return isFile(MOTO);
}

/** Where shellcheck is, if it was installed with moto. */
export function shellcheckPath(): string | undefined {
  return isFile(SHELLCHECK) ? SHELLCHECK : undefined;
}

/** Starts a server that says its address on one of its streams. */
async function start(
  command: string,
  args: readonly string[],
  says: "stdout" | "stderr",
): Promise<PeerServer> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: says === "stdout" ? "piped" : "null",
    stderr: says === "stderr" ? "piped" : "null",
    env: { PYTHONUNBUFFERED: "1" },
  }).spawn();
  const reader = child[says].pipeThrough(new TextDecoderStream()).getReader();
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
  let text = "";
  let url: string | undefined;
  while (url === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`${command} did not start: ${text}`);
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

/** Starts moto on a port of its choice, or a given one. */
export function startMoto(port = 0): Promise<PeerServer> {
  return start(MOTO, ["-H", "127.0.0.1", "-p", String(port)], "stderr");
}

/** Starts dynalite, in memory. */
export function startDynalite(port = 0): Promise<PeerServer> {
  const args = [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${ROOT}deno.json`,
    `--lock=${ROOT}tests/deno.lock`,
    "--frozen",
    "--allow-all",
  ];
  return start(Deno.execPath(), [...args, `${ROOT}tests/peers/dynalite_main.ts`, String(port)], "stdout");
}
