/**
 * `dev` with a workflow that misbehaves as the plaintext asks. The service is the one that ships.
 *
 * @module
 */
import { main } from "../../scripts/dev.ts";
import { runEntry } from "../../lib/shared/cli/entry.ts";
import { type Workflow, type WorkflowContext, WorkflowError } from "../../lib/workflow_context.ts";

const encoder = new TextEncoder();
const text = (value: unknown) => encoder.encode(String(value));
const kept: Uint8Array<ArrayBuffer>[] = [];
const constant = text("always the same");
let aborted = "";

/** Modules of the service have classes of this name too: a bundle renames all but one. */
class OpenError extends Error {
  override name = "OpenError";
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
  "keeps a reference": (plaintext) => {
    kept.push(plaintext);
    return plaintext;
  },
  "shows what it kept": () =>
    text(kept.map((bytes) => bytes.every((byte) => byte === 0) ? "wiped" : "there")),
  "returns the same again": () => constant,
  "changes its input": (plaintext) => plaintext.fill(0x41),
  "calls exit": () => Deno.exit(3),
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

if (import.meta.main) await runEntry((argv) => main(argv, misbehave));
