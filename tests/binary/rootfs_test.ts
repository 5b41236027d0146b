/**
 * The compiled binary in the root file system that an image is made of: everything that it needs is there. With the stand-ins for the SDK's
 * libraries, in the folder that the binary was compiled to look in.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { compiledPermissions } from "../../lib/ctl/image/checks.ts";
import { MIN_MEMORY_MIB } from "../../lib/ctl/nitro/memory.ts";
import { buildEif, describeEif, FileSource } from "../../lib/ctl/eif/mod.ts";
import { Client } from "../../lib/ctl/client/client.ts";
import { roundTrip, Tsk } from "../e2e/production_suite.ts";
import { Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { STUB_KEY_ARN } from "../helpers/stub_format.ts";
import { canEnter, UnpackedImage } from "../helpers/unpacked_image.ts";

const PROGRAM = `${NATIVE_DIR}/denclave-test`;
const LIBRARIES = ["libaws-c-common.so", "libaws-nitro-enclaves-sdk-c.so"].map((name) =>
  `${NATIVE_DIR}/${name}`
);
const ignore = !await canEnter();

async function writeImage(folder: Folder, command?: readonly string[]): Promise<string> {
  for (const name of ["kernel", "init", "nsm.ko"]) await folder.write(name, name);
  const output = `${folder.path}/a.eif`;
  await buildEif({
    output,
    kernel: () => Promise.resolve({ file: `${folder.path}/kernel` }),
    commandLine: "",
    time: 0,
    name: "test",
    version: "0",
    content: {
      program: {
        binary: PROGRAM,
        libraries: LIBRARIES,
        installDir: NATIVE_DIR,
        caBundle: new TextEncoder().encode("none is needed here"),
        init: `${folder.path}/init`,
        nsm: `${folder.path}/nsm.ko`,
        command,
      },
    },
  });
  return output;
}

async function makeImage(folder: Folder, command?: readonly string[]): Promise<UnpackedImage> {
  const image = await writeImage(folder, command);
  return await UnpackedImage.unpack(image, await describeEif(image));
}

/** The image with AWS's kernel and the real SDK has 106 MB: what the inputs add that this test does not have. */
const OTHER_INPUTS_BYTES = 9_300_000;

Deno.test("image: four times its size is within the least memory that the doctor and the scripts ask for", async () => {
  await using folder = await Folder.make();
  const { size } = await Deno.stat(await writeImage(folder));
  const memoryMib = 4 * Math.ceil((size + OTHER_INPUTS_BYTES) / 1024 ** 2);
  assertEquals(memoryMib <= MIN_MEMORY_MIB, true, `${memoryMib} MiB`);
});

Deno.test({
  name: "image: the binary starts in its root file system, opens the SDK in a process of its own, and serves",
  ignore,
  fn: async () => {
    await using folder = await Folder.make();
    await using image = await makeImage(folder, [
      PROGRAM,
      "--listen",
      "tcp:127.0.0.1:0",
      "--kms-key",
      STUB_KEY_ARN,
    ]);
    await using service = await ServiceProcess.start(image.launch(image.command));
    using tsk = new Tsk();
    using client = await Client.connect(service.address);
    assertEquals((await client.request(tsk.configure()))["msg"], "configured");
    await roundTrip(client, tsk, 60_000);
    assertEquals((await service.logged("sdk_open"))["directory"], NATIVE_DIR);
    assertEquals((await service.stop()).code, 0);
  },
});

Deno.test({
  name: "image: its own loader finds every library, of the binary and of the SDK",
  ignore,
  fn: async () => {
    await using folder = await Folder.make();
    await using image = await makeImage(folder);
    const [common = "", sdk = ""] = LIBRARIES;
    const loader = Deno.build.arch === "aarch64"
      ? "/lib/ld-linux-aarch64.so.1"
      : "/lib64/ld-linux-x86-64.so.2";
    // The SDK's library needs the other one by its versioned name: whoever opens it has opened that one before.
    for (const args of [[PROGRAM], [common], ["--preload", common, sdk]]) {
      const { command, args: rest } = image.launch([loader, "--list", ...args]);
      const { success, stdout, stderr } = await new Deno.Command(command, { args: [...rest] }).output();
      const listed = new TextDecoder().decode(stdout);
      assertEquals(
        [success, listed.includes("not found")],
        [true, false],
        listed + new TextDecoder().decode(stderr),
      );
      assertStringIncludes(listed, "libc.so.6 => /lib");
    }
    // No shell, no other program.
    const { command, args } = image.launch(["/bin/sh", "-c", "true"]);
    assertEquals((await new Deno.Command(command, { args: [...args] }).output()).code, 127);
  },
});

Deno.test("the binary itself says which folder, port and libraries it was compiled for", async () => {
  using file = await FileSource.open(PROGRAM);
  const permissions = await compiledPermissions(file);
  assertEquals(permissions?.run, [PROGRAM]);
  assertEquals(permissions?.net.includes("vsock:-1:5000"), true);
  for (const library of LIBRARIES) assertEquals(permissions?.ffi.includes(library), true);
});
