/** The commands that a rehearsal prints. */
import { assertEquals } from "@std/assert";
import { denoCommand } from "../../../../lib/dev/rehearsal/rehearse_commands.ts";

Deno.test("printed commands start Deno by npx when the rehearsal was started by npx, where no deno is on PATH", () => {
  assertEquals(
    denoCommand("/home/a/.npm/_npx/0123/node_modules/@deno/linux-x64-glibc/deno"),
    `npx --yes deno@${Deno.version.deno}`,
  );
  for (const path of ["/usr/local/bin/deno", "/usr/lib/node_modules/deno/deno"]) {
    assertEquals(denoCommand(path), "deno");
  }
});
