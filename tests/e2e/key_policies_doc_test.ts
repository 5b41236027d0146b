/** docs/key_policies.md, run command by command, against moto and against the project's own KMS emulator. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { imageOf, smallParts } from "../fixtures/eif.ts";
import { bytesSource } from "../../lib/ctl/eif/mod.ts";
import { ctlLaunch } from "../helpers/ctl_process.ts";
import { runDocument } from "../helpers/documented.ts";
import { Folder } from "../helpers/folder.ts";
import { createMotoKey } from "../helpers/moto_kms.ts";
import { hasMoto, startMoto } from "../helpers/peers.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const DOCUMENT = "docs/key_policies.md";
const role = (account: string, name: string) => `arn:aws:iam::${account}:role/${name}`;

/** Follows the document with a key, and gives what each block printed. */
async function follow(url: string, keyArn: string, admin: string) {
  const account = keyArn.split(":")[4] ?? "";
  await using folder = await Folder.make();
  await folder.write("build/enclave.eif", await imageOf(smallParts()));
  const next = smallParts({ kernel: bytesSource(new Uint8Array(100).fill(9), "kernel") });
  await folder.write("build/next.eif", await imageOf(next));
  return await runDocument(DOCUMENT, {
    cwd: folder.path,
    placeholders: {
      "<key arn>": keyArn,
      "<parent role arn>": role(account, "Parent"),
      "<admin role arn>": admin,
      "<issuer role arn>": role(account, "Issuer"),
    },
    env: {
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: "made-for-tests",
      AWS_SECRET_ACCESS_KEY: "made-for-tests",
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_CONFIG_FILE: "/nonexistent/config",
      AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
    },
  });
}

function check(printed: Awaited<ReturnType<typeof follow>>): void {
  const shown = printed.map(({ stdout }) => stdout).join("");
  assertMatch(shown, /^ok: 0 failed/m);
  assertEquals([...shown.matchAll(/^The key has the new policy\.$/gm)].length, 3);
  assertMatch(shown, /^Nothing was changed\. --yes makes the change\.$/m);
}

Deno.test("the key policy page works as written, against the KMS emulator", async () => {
  const account = "111122223333";
  const admin = role(account, "Admin");
  await using server = await ServiceProcess.start(
    ctlLaunch(["emulator", "serve", "--listen", "tcp:127.0.0.1:0", "--account", account, "--caller", admin]),
  );
  const [listening] = server.events("listening");
  const [keyArn] = listening?.["keys"] as string[];
  assert(keyArn !== undefined);
  check(await follow(String(listening?.["url"]), keyArn, admin));
});

Deno.test({ name: "the key policy page works as written, against moto", ignore: !hasMoto() }, async () => {
  await using moto = await startMoto();
  const keyArn = await createMotoKey(moto.url);
  const account = keyArn.split(":")[4] ?? "";
  check(await follow(moto.url, keyArn, `arn:aws:iam::${account}:root`));
});
