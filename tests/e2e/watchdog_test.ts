/** The watchdog ends a process whose main thread is stuck, and no other. */
import { assertEquals } from "@std/assert";

const STOPS = 6;
const STOP_MS = 700;
const END_MS = 20_000;

/** Starts a watched program, and waits until it says that it is. */
async function start(...args: readonly string[]): Promise<Deno.ChildProcess> {
  const main = "tests/helpers/watchdog_main.ts";
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", "--lock=tests/deno.lock", "--frozen", "-A", main, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  assertEquals(new TextDecoder().decode(value), "ready\n");
  return child;
}

/** Its exit code, in time. */
async function ended(child: Deno.ChildProcess): Promise<number | string> {
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve("still runs"), END_MS);
  const result = await Promise.race([child.status.then(({ code }) => code), late.promise]);
  clearTimeout(timer);
  if (typeof result === "string") child.kill("SIGKILL");
  await child.status;
  return result;
}

Deno.test("a process that was stopped for longer than --silence-ms continues", async () => {
  const child = await start("400");
  for (let count = 0; count < STOPS; count++) {
    child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, STOP_MS));
    child.kill("SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, STOP_MS / 4));
  }
  await child.stdin.close().catch(() => {});
  assertEquals(await ended(child), 0);
  await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
});

Deno.test("a main thread that is stuck in a write to a full pipe is ended with the stated code", async () => {
  const child = await start("400", "fill-stdout");
  assertEquals(await ended(child), 70);
  await child.stdin.close().catch(() => {});
  await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
});
