/** Files that hold keys. */
import { assertEquals, assertRejects } from "@std/assert";
import { readSecretFile } from "../../../../lib/shared/files.ts";
import { Folder } from "../../../helpers/folder.ts";

for (const mode of [0o604, 0o602, 0o601, 0o640, 0o620, 0o644, 0o666, 0o777]) {
  Deno.test(`a secret file of mode ${mode.toString(8)} is refused, also through a link`, async () => {
    await using folder = await Folder.make({ key: "secret", alias: { link: "key" } });
    await Deno.chmod(`${folder.path}/key`, mode);
    for (const name of ["key", "alias"]) {
      const path = `${folder.path}/${name}`;
      await assertRejects(
        () => readSecretFile(path, 6),
        TypeError,
        `mode ${mode.toString(8)}): chmod 600 ${path}`,
      );
    }
  });
}

Deno.test("a secret file of its owner's alone is read up to its limit", async () => {
  await using folder = await Folder.make({ key: "secret" });
  const path = `${folder.path}/key`;
  for (const mode of [0o600, 0o400]) {
    await Deno.chmod(path, mode);
    assertEquals(new TextDecoder().decode(await readSecretFile(path, 6)), "secret");
  }
  await assertRejects(() => readSecretFile(path, 5), RangeError, "more than 5 bytes");
});
