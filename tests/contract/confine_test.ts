/** The kernel's wall around a workflow process, alone: Deno's own would refuse all of this first. */
import { assertEquals } from "@std/assert";
import { within } from "../helpers/deadline.ts";

const CHILD = new URL("./confined.ts", import.meta.url).pathname;
const { stdout: uid } = await new Deno.Command("id", { args: ["-u"] }).output();
const isRoot = new TextDecoder().decode(uid).trim() === "0";
const RUN = ["run", "--quiet", "--no-prompt", "--no-lock", "-A"];

Deno.test({
  name:
    "behind the kernel's wall a child reads, traces and signals neither its parent nor a sibling of another user, and cannot take more memory",
  ignore: !isRoot,
  fn: async () => {
    const sleeping = new Deno.Command("sleep", { args: ["60"], stdout: "null" }).spawn();
    try {
      const { code, stdout, stderr } = await within(
        new Deno.Command(Deno.execPath(), { args: [...RUN, CHILD, String(Deno.pid), String(sleeping.pid)] })
          .output(),
        "the child",
      );
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      assertEquals(JSON.parse(new TextDecoder().decode(stdout)), {
        refused: [],
        worked: [],
        ids: [65_534, 65_534, 0],
        nice: 5,
        diesWithParent: 9,
        small: true,
        large: false,
      });
    } finally {
      sleeping.kill("SIGKILL");
      await sleeping.status;
    }
  },
});
if (!isRoot) console.log("skipped: the kernel's wall can be put up by root only");

Deno.test("a child whose parent has ended before the wall is up does not go on", async () => {
  const args = [...RUN, CHILD, "1", "1"];
  const { code, stderr } = await within(new Deno.Command(Deno.execPath(), { args }).output(), "the child");
  assertEquals(code, 1);
  assertEquals(
    new TextDecoder().decode(stderr).includes("The process that started this one has ended"),
    true,
  );
});
