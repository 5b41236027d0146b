/**
 * A workflow that misbehaves as the plaintext asks: in the place of lib/workflow.ts, from source and compiled. It returns any other plaintext.
 *
 * @module
 */
import { fork, spawnSync } from "node:child_process";
import process from "node:process";
import { type Workflow, type WorkflowContext, WorkflowError } from "../../lib/workflow_context.ts";
import { importedBy } from "./side_effect.ts";

const encoder = new TextEncoder();
const text = (value: unknown) => encoder.encode(String(value));
const constant = text("always the same");
let aborted = "";
let kept: Uint8Array<ArrayBuffer> | undefined;

/** Modules of the service have classes of this name too: a bundle renames all but one. */
class OpenError extends Error {
  override name = "OpenError";
}

/** What a frame begins with. */
function header(length: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, 0xfade_c0de);
  new DataView(bytes.buffer).setUint32(4, length);
  return bytes;
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
  "prints a frame that is too long": (plaintext) => (Deno.stdout.writeSync(header(0xffff_ffff)), plaintext),
  "prints a frame without its end": (plaintext) => (Deno.stdout.writeSync(header(5_000)), plaintext),
  "answers for another": (plaintext) => {
    // A result for a request that it was not given.
    Deno.stdout.writeSync(new Uint8Array([...header(9), 6, 0x41, 0x2e, 0x84, 0x80, 0, 0, 0, 0]));
    return plaintext;
  },
  "closes stdout": (plaintext) => (Deno.stdout.close(), plaintext),
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
    tries([
      () => new Deno.Command(Deno.execPath()).spawn(),
      () => Deno.kill(process.ppid, "SIGKILL"),
      () => process.kill(process.ppid, "SIGKILL"),
      () => fork("/proc/self/exe"),
      () => {
        const { error } = spawnSync("/bin/true");
        if (error !== undefined) throw error;
      },
    ]),
  "connects": async (plaintext) => {
    await Deno.connect({ port: 1 });
    return plaintext;
  },
  "floods the log": (plaintext, { log }) => {
    for (let line = 0; line < 20_000; line++) log("error", "flood", { line });
    return plaintext;
  },
  "keeps": (plaintext) => (kept = plaintext, plaintext.slice()),
  "returns what it kept": () => kept,
  "says where it was imported": () => text(importedBy),
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
  "loops after its answer": (plaintext) => {
    setTimeout(() => {
      for (;;);
    });
    return plaintext;
  },
  loops: () => {
    for (;;);
  },
  allocates: () => {
    for (const hoard: unknown[] = [];;) hoard.push(new Array(1_000).fill({}));
  },
};

/** In the place of lib/workflow.ts. */
export const workflow: Workflow = (plaintext, context) => {
  const way = WAYS[new TextDecoder().decode(plaintext)];
  if (way === undefined) return plaintext;
  return way(plaintext, context) as Uint8Array<ArrayBuffer>;
};
