/**
 * The compiled binary, with the stand-ins for the SDK's libraries beside it. Its flavour may listen on loopback as well, which the one that ships
 * may not; else it is the same.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { testProduction } from "../e2e/production_suite.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const BINARY = `${NATIVE_DIR}/denclave-test`;

testProduction({ name: "binary", command: BINARY, prefix: [], libraryDir: NATIVE_DIR });

Deno.test("binary: finds the libraries beside itself", async () => {
  await using service = await ServiceProcess.start({
    command: BINARY,
    args: ["--listen", "tcp:127.0.0.1:0"],
  });
  assertEquals(service.events("sdk_open")[0]?.["directory"], NATIVE_DIR);
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

Deno.test("binary: has nothing of the development backends in it", async () => {
  const found = await new Deno.Command("grep", {
    args: ["-c", "denclave-local-kms", BINARY],
    stdout: "piped",
  }).output();
  assertEquals(new TextDecoder().decode(found.stdout).trim(), "0");
});
