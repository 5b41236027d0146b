/**
 * `dev` with a workflow that misbehaves as the plaintext asks. The service is the one that ships.
 *
 * @module
 */
import process from "node:process";
import { main } from "../../scripts/dev.ts";
import { runEntry } from "../../lib/shared/cli/entry.ts";
import { type Workflow, type WorkflowContext, WorkflowError } from "../../lib/workflow_context.ts";

const encoder = new TextEncoder();
const text = (value: unknown) => encoder.encode(String(value));
const constant = text("always the same");
let aborted = "";

/** Modules of the service have classes of this name too: a bundle renames all but one. */
class OpenError extends Error {
  override name = "OpenError";
}

/** How many of them worked. */
function tries(ways: readonly (() => unknown)[]): Uint8Array<ArrayBuffer> {
  let worked = 0;
  for (const way of ways) {
    try {
      way();
      worked++;
    } catch {
      // Refused, as it should be.
    }
  }
  return text(`${worked} worked`);
}

/** Ways to misbehave, and some to behave. */
const WAYS: Readonly<
  Record<string, (plaintext: Uint8Array<ArrayBuffer>, context: WorkflowContext) => unknown>
> = {
  echo: (plaintext) => plaintext,
  throws: () => {
    throw new Error("words that production keeps");
  },
  "throws a class of its own": () => {
    setTimeout(() => {
      throw new OpenError("thrown when nobody waits");
    }, 1);
    throw new OpenError("words that production keeps");
  },
  refuses: () => {
    throw new WorkflowError("order.too_large", "Orders have at most 10 lines");
  },
  "rejects late": (plaintext) => {
    setTimeout(() => {
      throw new Error("thrown when nobody waits");
    }, 1);
    void Promise.reject(new Error("rejected when nobody waits"));
    return plaintext;
  },
  "never ends": (_, { signal, requestId }) => {
    signal.addEventListener("abort", () => aborted = requestId);
    return new Promise(() => {});
  },
  "was aborted": () => text(aborted !== ""),
  "returns text": () => "not bytes",
  "returns nothing": () => undefined,
  "changes its input": (plaintext) => plaintext.fill(0x41),
  "returns the same again": () => constant,
  "calls exit": () => Deno.exit(3),
  "aborts": () => process.abort(),
  "prints rubbish": (plaintext) => (Deno.stdout.writeSync(text("rubbish\n")), plaintext),
  "prints half a frame": (plaintext) => (Deno.stdout.writeSync(new Uint8Array([0xfa, 0xde])), plaintext),
  "closes stdin": (plaintext) => (Deno.stdin.close(), plaintext),
  "prints to the console": (plaintext) => {
    console.log("seen", { n: 1 });
    console.error("also seen");
    return plaintext;
  },
  "reads its parent": () =>
    tries(
      ["mem", "environ", "maps", "fd"].map((name) => () =>
        Deno.readFileSync(`/proc/${process.ppid}/${name}`)
      ),
    ),
  "opens a library": () =>
    tries(["/lib64/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"].map((path) => () => Deno.dlopen(path, {}))),
  "starts programs": () =>
    tries([() => new Deno.Command(Deno.execPath()).spawn(), () => Deno.kill(process.ppid, "SIGKILL")]),
  "connects": async (plaintext) => {
    await Deno.connect({ port: 1 });
    return plaintext;
  },
  "starts a worker": async (plaintext) => {
    new Worker("data:text/javascript,for(;;);", { type: "module" });
    return await new Promise((resolve) => setTimeout(() => resolve(plaintext), 50));
  },
  "takes memory": () => {
    for (const hoard: Uint8Array[] = [];;) hoard.push(new Uint8Array(32 * 1024 * 1024).fill(1));
  },
  logs: (plaintext, { log }) => {
    log("warn", "seen", { event: "forged", level: "forged", length: plaintext.length, nothing: undefined });
    log("shout" as never, {} as never, "no fields" as never);
    return plaintext;
  },
  "asks for a permission": async () =>
    text(
      (await Promise.all(
        (["read", "write", "net", "env", "run", "ffi", "sys"] as const).map((name) =>
          Deno.permissions.request({ name })
        ),
      )).map(({ state }) => state),
    ),
  "reads a file": async (plaintext) => (await Deno.readFile("/etc/hostname"), plaintext),
  async: async (plaintext) => (await new Promise((resolve) => setTimeout(resolve, 5)), plaintext),
  loops: () => {
    for (;;);
  },
  allocates: () => {
    for (const hoard: unknown[] = [];;) hoard.push(new Array(1_000).fill({}));
  },
};

const misbehave: Workflow = (plaintext, context) => {
  const way = WAYS[new TextDecoder().decode(plaintext)];
  if (way === undefined) throw new TypeError("no such way");
  return way(plaintext, context) as Uint8Array<ArrayBuffer>;
};

if (import.meta.main) await runEntry((argv) => main(argv, () => Promise.resolve({ workflow: misbehave })));
