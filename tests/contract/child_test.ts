/** What a child prints, and what it answers, when both arrive at once. */
import { assertEquals } from "@std/assert";
import { childStarter } from "../../lib/enclave/children/child.ts";
import { newFrame } from "../../lib/enclave/children/frames.ts";
import { within } from "../helpers/deadline.ts";
import { Folder } from "../helpers/folder.ts";

/** Prints a line and a frame, then makes the file that is named first. */
const SCRIPT = String.raw`read -r _; echo said >&2; printf '\372\336\300\336\0\0\0\0'; : > "$0"; read -r _`;

Deno.test("what a child prints before it answers is known when its answer is taken, though both arrive at once", async () => {
  await using folder = await Folder.make();
  const done = `${folder.path}/done`;
  const answered = Promise.withResolvers<string>();
  const child = childStarter({ command: "sh", args: ["-c", SCRIPT, done], maxLength: 100 })({
    message: () => answered.resolve(child.lines.toString()),
    ended: (how) => answered.reject(new Error(how)),
  });
  try {
    child.post(newFrame(1).fill(10));
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    // This thread reads neither stream until the child has written both.
    const wait = 'until [ -e "$0" ]; do :; done';
    new Deno.Command("timeout", { args: ["10", "sh", "-c", wait, done] }).outputSync();
    assertEquals(await within(answered.promise, "the answer"), "said");
  } finally {
    child.kill();
  }
});
