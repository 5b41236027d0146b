/**
 * What the build computes and prints: the configuration hash, the lines of kmstool's commands, the bytes of an image.
 *
 * The hash and the image contain the product's version: a new version gives new values here, and nothing else may.
 */
import { assertEquals } from "@std/assert";
import {
  buildEif,
  Folder,
  hashConfiguration,
  hashFile,
  IMAGE_INPUTS,
  measuredConfiguration,
  MockSdk,
  NITRO_OPTIONS,
  parseOptions,
  readServeConfig,
  runKmstool,
  SERVE_OPTIONS,
  STUB_KEY_ARN,
  stubWrap,
} from "./product.ts";

const KEYS = [
  "arn:aws:kms:us-east-1:111122223333:key/11111111-1111-4111-8111-111111111111",
  "arn:aws:kms:us-west-2:111122223333:key/mrk-22222222222222222222222222222222",
];
/** Every measured option. */
const OPTIONS = [
  ...KEYS.map((key) => `--kms-key=${key}`),
  "--region=us-east-1",
  "--tsk-context=app=gold,purpose=tsk",
  "--configure-once",
  "--require-epoch",
  "--min-tsk-epoch=3",
  "--bind-process",
  "--require-sealed",
  `--client-key=${new Uint8Array(32).fill(9).toBase64()}`,
  "--max-sealed-age-ms=60000",
  "--max-message=1000000",
  "--max-connections=10",
  "--max-in-flight=536870912",
  "--idle-ms=1000",
  "--request-ms=2000",
  "--silence-ms=3000",
  "--wallet-chain=1",
  "--wallet-recipient=0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
  "--wallet-call=0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed:0xa9059cbb",
  "--wallet-max-value=21004",
  "--wallet-verifying-contract=0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359:Order",
  "--wallet-message-prefix=Sign in",
  "--wallet-cache=5",
  "--wallet-cache-ms=1000",
  "--min-epoch=2",
  "--library-dir=/app",
  "--sdk-processes=2",
  "--proxy-port=8001",
  "--kms-deadline-ms=5000",
];
const HASHES: readonly (readonly [string, readonly string[], string])[] = [
  ["the default options", [], "11fe6d2b30e3cabdaefcabce39cdd0510e55291f385b3ccb99720e660bc0f644"],
  ["every measured option", OPTIONS, "bd66f7379954cc84ea8603b91c9c4acbeaa9be76396e763fba0820ca2da0cf60"],
];
for (const [title, argv, hash] of HASHES) {
  Deno.test(`gold: the configuration hash of ${title}`, async () => {
    const config = readServeConfig(parseOptions([...SERVE_OPTIONS, ...NITRO_OPTIONS], argv));
    assertEquals((await hashConfiguration(measuredConfiguration(config))).toHex(), hash);
  });
}

Deno.test("gold: the set of options has every measured one", () => {
  const given = OPTIONS.map((option) => option.slice(2).split("=")[0] ?? "");
  const names = [...SERVE_OPTIONS, ...NITRO_OPTIONS].map(({ name }) => name);
  const rest = names.filter((name) => !given.includes(name));
  assertEquals(rest.toSorted(), ["drain-ms", "listen", "log-level", "port"]);
});

const KEYS_OF_CALLER = ["-k", "AKID", "-s", "secret", "-t", "token"];
const CIPHERTEXT = stubWrap(new TextEncoder().encode("gold")).toBase64();
type Call = readonly [
  command: "decrypt" | "genkey" | "genrandom",
  argv: readonly string[],
  code: number,
  stdout: string,
  stderr: string,
];
const KMSTOOL: readonly Call[] = [
  ["decrypt", [...KEYS_OF_CALLER, "-c", CIPHERTEXT], 0, "PLAINTEXT: Z29sZA==\n", ""],
  [
    "decrypt",
    [...KEYS_OF_CALLER, "-c", CIPHERTEXT, "-K", STUB_KEY_ARN, "-a", "SYMMETRIC_DEFAULT"],
    0,
    "PLAINTEXT: Z29sZA==\n",
    "",
  ],
  [
    "genkey",
    [...KEYS_OF_CALLER, "-K", STUB_KEY_ARN, "-p", "AES-256"],
    0,
    "CIPHERTEXT: 120 bytes\nPLAINTEXT: 32 bytes\n",
    "",
  ],
  [
    "genkey",
    [...KEYS_OF_CALLER, "-K", STUB_KEY_ARN, "-p", "AES-128"],
    0,
    "CIPHERTEXT: 104 bytes\nPLAINTEXT: 16 bytes\n",
    "",
  ],
  ["genrandom", [...KEYS_OF_CALLER, "-l", "5"], 0, "PLAINTEXT: 5 bytes\n", ""],
  ["decrypt", KEYS_OF_CALLER, 1, "", "--ciphertext must be set\n"],
  ["decrypt", [...KEYS_OF_CALLER, "-c", "!"], 1, "", "--ciphertext is not a base64 string\n"],
  [
    "decrypt",
    [...KEYS_OF_CALLER, "-c", CIPHERTEXT, "-K", STUB_KEY_ARN],
    1,
    "",
    "--encryption-algorithm must be set with --key-id\nFor a symmetric key: SYMMETRIC_DEFAULT.\n",
  ],
  ["decrypt", ["-c", CIPHERTEXT], 1, "", "--aws-access-key-id must be set\n"],
  [
    "decrypt",
    [...KEYS_OF_CALLER, "-c", "AAAA"],
    255,
    "",
    "KMS Decrypt failed: InvalidCiphertextException: from the mock\n" +
    "The ciphertext was not made by this key, was changed, or was made under another EncryptionContext.\n",
  ],
  [
    "genkey",
    [...KEYS_OF_CALLER, "-K", STUB_KEY_ARN, "-p", "RSA"],
    1,
    "",
    "Unknown key spec: RSA\nUse AES-256 or AES-128.\n",
  ],
  [
    "genrandom",
    [...KEYS_OF_CALLER, "-l", "0"],
    1,
    "",
    'Cannot use "0" for --length\nGive a whole number from 1 to 1024.\n',
  ],
  [
    "genrandom",
    [...KEYS_OF_CALLER, "--lenght", "1"],
    1,
    "",
    "Unknown option --lenght\nDid you mean --length? --help lists the options.\n",
  ],
  [
    "genkey",
    ["--help"],
    1,
    "",
    [
      "usage: denclave genkey [options]",
      "",
      "  -r, --region REGION                 AWS region to use for KMS (default us-east-1)",
      "  -x, --proxy-port PORT               port of the parent's vsock-proxy (default 8000)",
      "  -k, --aws-access-key-id ID          AWS access key id",
      "  -s, --aws-secret-access-key SECRET  AWS secret access key",
      "  -t, --aws-session-token TOKEN       session token that goes with them",
      "  -K, --key-id KEY                    the KMS key that wraps the data key",
      "  -p, --key-spec SPEC                 AES-256 or AES-128",
      "  -h, --help                          show this and end",
      "",
    ].join("\n"),
  ],
];
/** For random bytes, their number in place of them. */
const lengthOf = (base64: string) => `${Uint8Array.fromBase64(base64).length} bytes`;
for (const [index, [command, argv, code, stdout, stderr]] of KMSTOOL.entries()) {
  Deno.test(`gold: ${command} prints the same lines (${index})`, () => {
    const printed = { stdout: "", stderr: "" };
    const found = runKmstool(command, argv, {
      stdout: (text) => void (printed.stdout += text),
      stderr: (text) => void (printed.stderr += text),
      openSdk: () => new MockSdk().open(),
    });
    const lines = command === "decrypt" ? printed.stdout : printed.stdout.replace(/(?<=: ).+/g, lengthOf);
    assertEquals([found, lines, printed.stderr], [code, stdout, stderr]);
  });
}

const IMAGES = [["a program", "40c16938aa9fcebb2aa52b15cbc6614f9e29d1aea9465c32860642395c3e77ab"], [
  "ramdisks",
  "9d02d734cf203fe5ec1eb54dbd75cee74ebbd8d73b642dc0f8d8ab1a017606c2",
]] as const;
for (const [kind, sha256] of IMAGES) {
  Deno.test(`gold: the bytes of an image of ${kind}`, async () => {
    await using folder = await Folder.make(IMAGE_INPUTS);
    const at = (path: string) => `${folder.path}/${path}`;
    await folder.write("one", "boot");
    await folder.write("two", "program");
    await buildEif({
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
    assertEquals(await hashFile(at("gold.eif")), sha256);
  });
}
