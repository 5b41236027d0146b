/**
 * The compiled binary, with the stand-ins for the SDK's libraries beside it. Unlike the binary that ships, it may also listen on loopback;
 * otherwise they are the same.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import { testProduction } from "../e2e/production_suite.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const DEV_BINARY = `${NATIVE_DIR}/denclave-dev`;
const BINARY = `${NATIVE_DIR}/denclave-test`;

testProduction({ name: "binary", command: BINARY, prefix: [], libraryDir: NATIVE_DIR });

Deno.test("binary: finds the libraries beside itself", async () => {
  await using service = await ServiceProcess.start({
    command: BINARY,
    args: ["--listen", "tcp:127.0.0.1:0"],
  });
  assertEquals((await service.logged("sdk_open"))["directory"], NATIVE_DIR);
  assertEquals((await service.stop()).code, 0);
});

Deno.test("binary: listens on vsock by default", async () => {
  await using service = await ServiceProcess.start({ command: BINARY, args: [] });
  assertEquals(service.address, { transport: "vsock", cid: -1, port: 5000 });
  assertEquals((await service.stop()).code, 0);
});

Deno.test("binary: may listen on no other vsock port, and says so", async () => {
  await using service = ServiceProcess.spawn({ command: BINARY, args: ["--port", "5001"] });
  assertEquals((await service.ended()).code, 69);
  assertStringIncludes(service.stderr, "Cannot listen on vsock:-1:5001");
});

Deno.test("binary: a library that is not the SDK is refused with the symbol that it lacks", async () => {
  // This one was compiled to look in the folder of the broken stand-in.
  await using service = ServiceProcess.spawn({
    command: `${NATIVE_DIR}/broken/denclave-test`,
    args: ["--listen", "tcp:127.0.0.1:0"],
  });
  assertEquals((await service.ended()).code, 69);
  assertStringIncludes(service.stderr, "lacks the symbol aws_");
});

/** Whether a binary has this text in it. */
async function contains(binary: string, text: string): Promise<boolean> {
  return (await new Deno.Command("grep", { args: ["-q", text, binary] }).output()).success;
}

Deno.test("binary: contains no development backend, and the development binary does", async () => {
  const found = await Promise.all(
    [BINARY, DEV_BINARY].map((binary) => contains(binary, "denclave-local-kms")),
  );
  assertEquals(found, [false, true]);
});

Deno.test("development binary: serves with the local KMS, and says what it is", async () => {
  await using service = await ServiceProcess.start({
    command: DEV_BINARY,
    args: ["--listen", "tcp:127.0.0.1:0"],
  });
  using client = await Client.connect(service.address);
  const { kms, warnings } = await client.request({ type: "health" });
  assertEquals([(kms as Record<string, unknown>)["backend"], (warnings as unknown[]).length], ["local", 1]);
  assertEquals((await service.stop()).code, 0);
});

/** `/dev/full` refuses every byte: an unexpected error at a known place. */
async function failToPrint(binary: string): Promise<string> {
  const { code, stderr } = await new Deno.Command("sh", {
    args: ["-c", '"$0" --help >/proc/self/oom_score_adj', binary],
    stdin: "null",
  }).output();
  assertEquals(code, 70);
  const [position = ""] = /[a-z-]+\.js:[0-9]+:[0-9]+/.exec(new TextDecoder().decode(stderr)) ?? [];
  return position;
}

async function sourceOf(position: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--allow-read", "scripts/source_position.ts", ...args, position],
    stdin: "null",
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("binary: a position in an error leads to the source, by the map beside the binary and no other", async () => {
  for (
    const [binary, source, code] of [
      [BINARY, "main.ts", "Deno.stdout.writeSync"],
      [`${NATIVE_DIR}/denclavectl`, "scripts/ctl.ts", "Deno[to].writeSync"],
    ] as const
  ) {
    const found = await sourceOf(await failToPrint(binary), ["--map", `${binary}.map`, "--binary", binary]);
    const [, file, line] = /^(\S+):([0-9]+):[0-9]+\n$/.exec(found) ?? [];
    assertEquals(file, source, found);
    const text = (await Deno.readTextFile(source)).split("\n")[Number(line) - 1] ?? "";
    assertStringIncludes(text, code);
  }
  const other = await sourceOf("denclave.js:1:1", ["--map", `${DEV_BINARY}.map`, "--binary", BINARY]);
  assertStringIncludes(other, "is not the source map of");
});

Deno.test("binary: the record beside it says what it was made from", async () => {
  const record = JSON.parse(await Deno.readTextFile(`${BINARY}.build.json`));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(BINARY))).toHex();
  assertEquals([record.sha256, record.options.flavour, record.options["install-dir"]], [
    hash,
    "production",
    NATIVE_DIR,
  ]);
});

Deno.test("binary: reads no compiled code from the folder for temporary files", async () => {
  // Deno's code cache has a fixed name there, which any user of the machine could take first.
  const found = await Promise.all(
    [BINARY, DEV_BINARY, `${NATIVE_DIR}/denclavectl`].map((binary) =>
      contains(binary, '"code_cache_key":null')
    ),
  );
  assertEquals(found, [true, true, true]);
});

Deno.test("binary: one that was moved says where it belongs, and ends with 69", async () => {
  const folder = await Deno.makeTempDir({ prefix: "denclave-moved-" });
  try {
    await Deno.copyFile(BINARY, `${folder}/denclave`);
    await using service = ServiceProcess.spawn({
      command: `${folder}/denclave`,
      args: ["--listen", "tcp:127.0.0.1:0"],
    });
    assertEquals((await service.ended()).code, 69);
    assertStringIncludes(service.stderr, `compiled for ${BINARY}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("binary: no hint advises a library folder that its permissions refuse", async () => {
  await using service = ServiceProcess.spawn({
    command: BINARY,
    args: ["--listen", "tcp:127.0.0.1:0", "--library-dir", "/opt"],
  });
  assertEquals((await service.ended()).code, 69);
  assertStringIncludes(service.stderr, "leave --library-dir out");
});
