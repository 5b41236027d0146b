/**
 * Protocol servers of other projects, each run as a process of the test: moto (KMS, DynamoDB) and dynalite (DynamoDB).
 *
 * @module
 */
import { skipTests } from "./skip.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const BIN = `${ROOT}tests/peers/build/venv/bin`;
const MOTO = `${BIN}/moto_server`;
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

let isReported = false;

/** Whether moto was installed (scripts/build.ts); reports it if not, once for each file of tests. */
export function hasMoto(): boolean {
  if (isFile(MOTO)) return true;
  if (!isReported) {
    skipTests("the tests against moto, since it is not installed (deno task build peers says why)");
  }
  isReported = true;
  return false;
}

/** A program that is installed with moto; reports it if it is not there. @param what is skipped without it */
export function peerProgram(name: string, what: string): string | undefined {
  if (isFile(`${BIN}/${name}`)) return `${BIN}/${name}`;
  skipTests(`${what}, since ${name} is not installed (deno task build peers says why)`);
  return undefined;
}

/** Where shellcheck is. */
export const shellcheckPath = (): string | undefined =>
  peerProgram("shellcheck", "the check of shell scripts");

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
  // Its request log is read and discarded, so that the server does not block on a full pipe.
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
export function startMoto(): Promise<PeerServer> {
  return start(MOTO, ["-H", "127.0.0.1", "-p", "0"], "stderr");
}

/**
 * One server for the tests of a file, one after the other: started when the first asks for it, ended after the last. Each gets it as new.
 *
 * @param reset makes it forget what it was told
 */
function sharePeer(
  start: () => Promise<PeerServer>,
  reset: (url: string) => Promise<void>,
): () => Promise<PeerServer> {
  let shared: Promise<PeerServer> | undefined;
  Deno.test.afterAll(async () => {
    await (await shared)?.[Symbol.asyncDispose]();
  });
  return async () => {
    shared ??= start();
    const { url } = await shared;
    await reset(url);
    return { url, [Symbol.asyncDispose]: () => Promise.resolve() };
  };
}

/** moto for the tests of this file. A test that makes moto check signatures starts its own. */
export function shareMoto(): () => Promise<PeerServer> {
  return sharePeer(startMoto, async (url) => {
    await post(`${url}/moto-api/reset`, {}, "");
  });
}

/** dynalite for the tests of this file. */
export function shareDynalite(): () => Promise<PeerServer> {
  return sharePeer(startDynalite, async (url) => {
    const { TableNames } = JSON.parse(await askDynamoDb(url, "ListTables", {})) as { TableNames: string[] };
    for (const TableName of TableNames) await askDynamoDb(url, "DeleteTable", { TableName });
  });
}

function askDynamoDb(url: string, operation: string, fields: object): Promise<string> {
  const scope = "AKIDTEST/20260101/us-east-1/dynamodb/aws4_request";
  return post(url, {
    "content-type": "application/x-amz-json-1.0",
    "x-amz-target": `DynamoDB_20120810.${operation}`,
    "x-amz-date": "20260101T000000Z",
    authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=none`,
  }, JSON.stringify(fields));
}

async function post(url: string, headers: HeadersInit, body: string): Promise<string> {
  const response = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`);
  return text;
}

/** Starts dynalite, in memory. */
export function startDynalite(): Promise<PeerServer> {
  const args = [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${ROOT}deno.json`,
    `--lock=${ROOT}tests/deno.lock`,
    "--frozen",
    "--allow-all",
  ];
  return start(Deno.execPath(), [...args, `${ROOT}tests/peers/dynalite_main.ts`], "stdout");
}
