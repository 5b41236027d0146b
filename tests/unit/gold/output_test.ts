/**
 * What the build computes and prints: the configuration hash, the lines of kmstool's commands, the bytes of an image.
 *
 * The hash and the image contain the product's version: a new version gives new values here, and nothing else may.
 */
import { assertEquals } from "@std/assert";
import * as product from "./product.ts";

/** The contents of output.json. */
interface Output {
  readonly hashes: readonly (readonly [title: string, argv: readonly string[], hash: string])[];
  readonly kmstool: readonly (readonly [
    ...call: readonly [command: product.KmstoolCommand, argv: readonly string[]],
    ...ended: readonly [code: number, stdout: string, stderr: string],
  ])[];
  /** SHA-256 by what the image is made of. */
  readonly images: Readonly<Record<string, string>>;
}
const SPECS = [...product.SERVE_OPTIONS, ...product.NITRO_OPTIONS];
const { hashes, kmstool, images }: Output = await product.readGold("output.json");

for (const [title, argv, hash] of hashes) {
  Deno.test(`gold: the configuration hash of ${title}`, async () => {
    const config = product.readServeConfig(product.parseOptions(SPECS, argv));
    assertEquals((await product.hashConfiguration(product.measuredConfiguration(config))).toHex(), hash);
  });
}

/** All but those that came later, and do not change the hash where they are not given. */
Deno.test("gold: the set of options has every measured one", () => {
  const later = ["clock", "features", "wallet-delegation"];
  const given = hashes.flatMap(([, argv]) => argv).map((option) => option.slice(2).split("=")[0] ?? "");
  const rest = SPECS.map(({ name }) => name).filter((name) => !given.includes(name));
  assertEquals(rest.toSorted(), ["drain-ms", "listen", "log-level", "port", ...later].toSorted());
});

/** For random bytes, their number in place of them. */
const lengthOf = (base64: string) => `${Uint8Array.fromBase64(base64).length} bytes`;
for (const [index, [command, argv, code, stdout, stderr]] of kmstool.entries()) {
  Deno.test(`gold: ${command} prints the same lines (${index})`, () => {
    const printed = { stdout: "", stderr: "" };
    const found = product.runKmstool(command, argv, {
      stdout: (text) => void (printed.stdout += text),
      stderr: (text) => void (printed.stderr += text),
      openSdk: () => new product.MockSdk().open(),
    });
    const lines = command === "decrypt" ? printed.stdout : printed.stdout.replace(/(?<=: ).+/g, lengthOf);
    assertEquals([found, lines, printed.stderr], [code, stdout, stderr]);
  });
}

for (const [kind, sha256] of Object.entries(images)) {
  Deno.test(`gold: the bytes of an image of ${kind}`, async () => {
    await using folder = await product.Folder.make(product.IMAGE_INPUTS);
    const at = (path: string) => `${folder.path}/${path}`;
    await folder.write("one", "boot");
    await folder.write("two", "program");
    await product.buildEif({
      output: at("gold.eif"),
      kernel: () => Promise.resolve({ file: at("blobs/bzImage"), kernelVersion: "6.12" }),
      commandLine: "reboot=k panic=30",
      content: kind === "ramdisks" ? { ramdisks: [at("one"), at("two")] } : {
        program: {
          binary: at("in/denclave"),
          libraries: [at("in/libaws-c-common.so"), at("in/libaws-nitro-enclaves-sdk-c.so")],
          sysroot: at("root"),
          init: at("blobs/init"),
          nsm: at("blobs/nsm.ko"),
          caBundle: await Deno.readFile(at("ca.pem")),
          environment: { A: "b" },
        },
      },
      time: 1_700_000_000,
      name: "gold",
      version: "1",
    });
    assertEquals(await product.hashFile(at("gold.eif")), sha256);
  });
}
