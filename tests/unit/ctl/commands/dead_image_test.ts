/** Images that would not work: `denclavectl eif build` refuses each, says what to do, and makes it where an option allows it. */
import { assertEquals, assertMatch } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { X509CertificateGenerator } from "../../../../lib/shared/attestation/deps/x509.ts";
import { elfFile, kernelFile, moduleFile, SDK_EXPORTS } from "../../../fixtures/elf.ts";
import { INPUTS, LOADER, NEEDED } from "../../../fixtures/image_inputs.ts";
import { tryCtl } from "../../../helpers/ctl_io.ts";
import { type FileContent, Folder } from "../../../helpers/folder.ts";

/** Builds in this process. @returns the exit code, and what stderr says */
async function buildHere(folder: Folder, args: readonly string[]): Promise<readonly [number, string]> {
  await Deno.mkdir(`${folder.path}/out`, { recursive: true });
  const argv = ["eif", "build", "--manifest", `${folder.path}/enclave.yaml`, ...args];
  const { code, stderr } = await tryCtl(argv);
  return [code, stderr];
}

Deno.test("the unchanged image is built", async () => {
  await using folder = await Folder.make(INPUTS);
  assertEquals(await buildHere(folder, []), [0, ""]);
});

/** What makes an image unusable: changes to {@link INPUTS}, options, and the expected message. */
interface DeadImage {
  readonly name: string;
  readonly files?: Readonly<Record<string, FileContent>>;
  readonly args?: readonly string[];
  readonly code?: number;
  readonly says: RegExp;
  /** With which it is made all the same. */
  readonly allow?: readonly string[];
}

const SDK = "in/libaws-nitro-enclaves-sdk-c.so";
const sdkLibrary = (shape: Parameters<typeof elfFile>[0]) =>
  elfFile({ needed: ["libaws-c-common.so.1", ...NEEDED], exported: SDK_EXPORTS.sdk, ...shape });
const oldLibc = elfFile({
  soname: "libc.so.6",
  needed: ["ld-linux-x86-64.so.2"],
  versions: ["libc.so.6", "GLIBC_2.2.5", "GLIBC_2.34"],
});

const DEAD: readonly DeadImage[] = [
  {
    name: "no --lib-dir",
    files: { "enclave.yaml": String(INPUTS["enclave.yaml"]).replace("lib_dir: in\n", "") },
    code: 69,
    says: /--lib-dir is not set\n.*docs\/image\.md/,
    allow: ["--allow-other-program"],
  },
  {
    name: "a library of another machine",
    files: { [SDK]: sdkLibrary({ machine: 183 }) },
    says: /sdk-c\.so is for aarch64, and .*denclave for x86_64/,
  },
  {
    name: "a library that lacks a function which the binary opens",
    files: { [SDK]: sdkLibrary({ exported: SDK_EXPORTS.sdk.filter((name) => !name.endsWith("_destroy")) }) },
    says: /sdk-c\.so lacks aws_\S+_destroy, .*\n.*docs\/image\.md/,
  },
  {
    name: "a library that needs a function which nobody has",
    files: { [SDK]: sdkLibrary({ undefined: ["s2n_init"] }) },
    says: /sdk-c\.so needs s2n_init, which none of its libraries exports\n.*--allow-missing-symbols/,
    allow: ["--allow-missing-symbols"],
  },
  {
    name: "a library that was built for a newer glibc",
    files: {
      [SDK]: sdkLibrary({ neededVersions: { "libc.so.6": ["GLIBC_2.38"] } }),
      "root/lib64/libc.so.6": oldLibc,
    },
    says: /sdk-c\.so needs GLIBC_2\.38 of libc\.so\.6, and \S+ has versions up to GLIBC_2\.34\n.*--sysroot/,
  },
  {
    name: "a libnsm.so that the SDK needs and nobody has",
    files: { [SDK]: sdkLibrary({ needed: ["libnsm.so"] }) },
    code: 69,
    says: /Cannot find "libnsm\.so" in .*\nPut libnsm\.so into the folder of --lib-dir/,
  },
  {
    name: "an invalid kernel",
    files: { "blobs/bzImage": "a kernel" },
    says: /bzImage is not a kernel\n.*--allow-kernel/,
    allow: ["--allow-kernel"],
  },
  {
    name: "an init that is no ELF file",
    files: { "blobs/init": "#!/bin/sh\n" },
    says: /Cannot read \S+\/init: it is not an ELF file\n.*AWS's blobs/,
  },
  {
    name: "an nsm.ko of another kernel",
    files: { "blobs/nsm.ko": moduleFile({ info: ["vermagic=6.6.79 SMP mod_unload "] }) },
    says: /nsm\.ko is for kernel 6\.6\.79, and \S+\/bzImage is 4\.14\.256-209\S+\n.*--allow-kernel/,
    allow: ["--allow-kernel"],
  },
  {
    name: "an empty kernel command line",
    files: { "blobs/cmdline": "\n" },
    says: /The kernel command line is empty\n.*--cmdline/,
  },
  {
    name: "no nsm.ko",
    files: { "enclave.yaml": String(INPUTS["enclave.yaml"]).replace("blobs: blobs", "blobs: bare") },
    code: 69,
    says: /Cannot find \S+\/bare\/nsm\.ko/,
    allow: ["--kernel-has-nsm"],
  },
  {
    name: "no KMS_KEYS",
    files: { "enclave.yaml": String(INPUTS["enclave.yaml"]).replace(/KMS_KEYS: '[^']+', /, "") },
    says: /names no KMS key.*\n.*--env KMS_KEYS=<key arn>, or --allow-no-kms-keys/,
    allow: ["--allow-no-kms-keys"],
  },
  {
    name: "no FEATURES",
    files: { "enclave.yaml": String(INPUTS["enclave.yaml"]).replace("FEATURES: session_key, ", "") },
    says:
      /names no features, so it would serve all .*\n.*--env FEATURES=session_key,wallet,master_key,sealed,receipts, or only/,
  },
  {
    name: "KMS_KEYS that is an alias",
    args: ["--env", "KMS_KEYS=arn:aws:kms:us-east-1:111122223333:alias/mine"],
    says: /alias\/mine" as a KMS key\n.*give the key's own ARN/,
  },
  {
    name: "a variable whose name is nearly one of the service's",
    args: ["--env", "LOG_LEVLE=info"],
    says: /does not read the variable "LOG_LEVLE"\nDid you mean LOG_LEVEL\?/,
  },
  ...["LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"].map((name): DeadImage => ({
    name: `the variable ${name}`,
    args: ["--env", `${name}=/app`],
    says: new RegExp(
      `could not start its SDK processes: Deno refuses to start any with ${name} set\nLeave it out`,
    ),
  })),
  {
    name: "a file of CA certificates that is not in the image",
    args: ["--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
    says:
      /SSL_CERT_FILE is "\/etc\/ssl\/certs\/ca-certificates\.crt", and the image has no such file\n.*--ca-bundle/,
  },
  {
    name: "a value that the option table refuses",
    args: ["--env", "LOG_LEVEL=loud"],
    says: /The service would not start: Cannot use "loud" for --log-level\n.*debug, info/,
  },
  ...["-h", "--version"].map((option): DeadImage => ({
    name: `a command that ends with ${option}`,
    args: ["--cmd", "/app/denclave", "--cmd", "serve", `--cmd=${option}`],
    says: /would not start: --(help|version) prints a text and ends\nLeave it out/,
  })),
  {
    name: "a command that is another program",
    args: ["--cmd", "/bin/sh"],
    says: /would start \/bin\/sh, but the program is \/app\/denclave\n.*--cmd/,
  },
  {
    name: "another port than the one that the binary was compiled for",
    args: ["--cmd", "/app/denclave", "--cmd=--port", "--cmd", "5001"],
    says: /listen on vsock:-1:5001, but was compiled for vsock:-1:5000\n.*compile --port/,
  },
  {
    name: "another folder than the one that the binary was compiled for",
    args: ["--install-dir", "/opt/enclave", "--cmd", "/opt/enclave/denclave"],
    says:
      /compiled for \/app\/denclave and \/app\/libaws\S+, and cannot use \/opt\/enclave\/denclave.*\n.*--install-dir/,
  },
  {
    name: "a folder of libraries that the binary may not open",
    args: ["--env", "DENCLAVE_LIBRARY_DIR=/usr/lib64"],
    says: /libraries in \/usr\/lib64, but may open only \/app\/libnsm\.so/,
  },
  {
    name: "a binary that deno task compile did not make",
    files: { "in/denclave": elfFile({ interpreter: LOADER, needed: NEEDED }) },
    says: /denclave is not a binary that deno task compile made\n.*--allow-other-program/,
    allow: ["--allow-other-program"],
  },
  {
    name: "no CA certificates",
    files: {
      "enclave.yaml": String(INPUTS["enclave.yaml"]).replace("ca_bundle: ca.pem\n", "").replace(
        "allow_no_kms_ca: true\n",
        "",
      ),
    },
    says: /no CA certificates.*\n.*--ca-bundle .*--allow-no-kms-ca/,
    allow: ["--allow-no-kms-ca"],
  },
  {
    name: "CA certificates of which none is KMS's",
    files: { "enclave.yaml": String(INPUTS["enclave.yaml"]).replace("allow_no_kms_ca: true\n", "") },
    code: 69,
    says: /None of the 1 certificates is a CA of KMS/,
    allow: ["--allow-no-kms-ca"],
  },
];
for (const { name, files = {}, args = [], code = 1, says, allow } of DEAD) {
  Deno.test(`dead image: ${name} is refused with a reason${allow === undefined ? "" : `, but for ${allow.join(" ")}`}`, async () => {
    await using folder = await Folder.make({
      ...INPUTS,
      "bare/bzImage": kernelFile(),
      "bare/init": elfFile(),
      "bare/cmdline": "reboot=k",
      ...files,
    });
    const [exitCode, stderr] = await buildHere(folder, args);
    assertEquals(exitCode, code, stderr);
    assertMatch(stderr, says);
    assertEquals([...Deno.readDirSync(`${folder.path}/out`)], []);
    if (allow !== undefined) assertEquals(await buildHere(folder, [...args, ...allow]), [0, ""]);
  });
}

const DAY_MS = 86_400_000;
const pem = (label: string, der: ArrayBuffer) =>
  `-----BEGIN ${label}-----\n${encodeBase64(new Uint8Array(der))}\n-----END ${label}-----\n`;
/** When a certificate begins and ends, in days from now. */
const VALIDITIES = [
  ["tomorrow", 1, 2, /Cannot sign with the certificate: it is not valid before \S+: nitro-cli does not run/],
  ["until yesterday", -2, -1, /Cannot sign with the certificate: it expired at \S+: nitro-cli does not run/],
  ["today", -1, 1, undefined],
] as const;
for (const [when, from, to, says] of VALIDITIES) {
  Deno.test(`a signing certificate that is valid ${when} is ${says === undefined ? "taken" : "refused"}`, async () => {
    const algorithm = { name: "ECDSA", namedCurve: "P-384" };
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await X509CertificateGenerator.create({
      ...{ subject: "CN=signer", issuer: "CN=signer" },
      notBefore: new Date(Date.now() + from * DAY_MS),
      notAfter: new Date(Date.now() + to * DAY_MS),
      signingAlgorithm: { name: "ECDSA", hash: "SHA-384" },
      publicKey: keys.publicKey,
      signingKey: keys.privateKey,
    });
    await using folder = await Folder.make({
      ...INPUTS,
      "key.pem": pem("PRIVATE KEY", await crypto.subtle.exportKey("pkcs8", keys.privateKey)),
      "cert.pem": pem("CERTIFICATE", certificate.rawData),
    });
    const args = ["--sign", `${folder.path}/key.pem`, "--cert", `${folder.path}/cert.pem`];
    const [exitCode, stderr] = await buildHere(folder, args);
    assertEquals(exitCode, says === undefined ? 0 : 1, stderr);
    if (says !== undefined) assertMatch(stderr, says);
  });
}

Deno.test("a kernel that does not say its version is taken, with a warning that nsm.ko was not compared", async () => {
  await using folder = await Folder.make({ ...INPUTS, "blobs/bzImage": kernelFile({ version: undefined }) });
  const [exitCode, warnings] = await buildHere(folder, []);
  assertEquals(exitCode, 0);
  assertMatch(
    warnings,
    /^warning: \S+\/bzImage does not say its version: whether \S+\/nsm\.ko is for it was not checked\n$/,
  );
});
