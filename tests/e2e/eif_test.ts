/** `denclavectl eif` as a person runs it: the same bytes wherever and whenever an image is made, and how images are described. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeHex } from "@std/encoding";
import { kernelFile } from "../fixtures/elf.ts";
import { imageOf, smallParts } from "../fixtures/eif.ts";
import { INPUTS, KEYS, LOADER } from "../fixtures/image_inputs.ts";
import { Folder } from "../helpers/folder.ts";
import { type CtlResult, runCtl } from "../helpers/ctl_process.ts";
import { git, makeReproduction } from "../helpers/reproduction.ts";

async function build(
  folder: Folder,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CtlResult> {
  await Deno.mkdir(`${folder.path}/out`, { recursive: true });
  return await runCtl(["eif", "build", "--manifest", `${folder.path}/enclave.yaml`, ...args], { env });
}

async function sha256(path: string): Promise<string> {
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))));
}

Deno.test("in another folder, at another time, under another umask, locale and zone: the same image, the same provenance", async () => {
  const made: string[][] = [];
  for (
    const [umask, mode, time, env] of [
      [0o022, 0o644, 1_000_000, {}],
      [0o077, 0o700, 1_800_000_000, { LC_ALL: "tr_TR.UTF-8", LANG: "ja_JP.UTF-8", TZ: "Pacific/Kiritimati" }],
    ] as const
  ) {
    await using folder = await Folder.make(INPUTS);
    for (const path of Object.keys(INPUTS)) {
      await Deno.utime(`${folder.path}/${path}`, time, time);
      await Deno.chmod(`${folder.path}/${path}`, mode);
    }
    const before = Deno.umask(umask);
    try {
      const { code, stderr } = await build(folder, [], env);
      assertEquals([code, stderr], [0, ""]);
    } finally {
      Deno.umask(before);
    }
    const out = `${folder.path}/out`;
    assertEquals([...Deno.readDirSync(out)].map(({ name }) => name).sort(), [
      "enclave.eif",
      "enclave.provenance.json",
    ]);
    made.push([
      await sha256(`${out}/enclave.eif`),
      await Deno.readTextFile(`${out}/enclave.provenance.json`),
    ]);
  }
  assertEquals(made[0], made[1]);
  assertEquals(JSON.parse(made[0]?.[1] ?? "").image.sha256, made[0]?.[0]);
});

Deno.test("the provenance lists what an image is made of, and options take precedence over the manifest", async () => {
  await using folder = await Folder.make(INPUTS);
  const args = ["--env", "LOG_LEVEL=debug", "--source-date-epoch", "86400", "--image-name", "mine", "--json"];
  const { code, stdout, stderr } = await build(folder, args);
  assertEquals(code, 0, stderr);
  const provenance = JSON.parse(stdout);
  assertEquals(provenance.env, {
    HOME: "/",
    SSL_CERT_FILE: "/etc/pki/tls/certs/ca-bundle.crt",
    KMS_KEYS: KEYS,
    FEATURES: "session_key",
    LOG_LEVEL: "debug",
  });
  assertEquals(
    [provenance.cmdline, provenance.cmd, provenance.metadata.ImageName, provenance.metadata.BuildMetadata],
    ["reboot=k panic=30", ["/app/denclave", "--port", "5000"], "mine", {
      BuildTime: "1970-01-02T00:00:00+00:00",
      BuildTool: "denclave",
      BuildToolVersion: provenance.built_by.denclave,
      OperatingSystem: "Linux",
      KernelVersion: "4.14.256",
    }],
  );
  assertMatch(provenance.built_by.git_commit, /^[0-9a-f]{40}$/);
  assertEquals(provenance.inputs.map(({ role }: { readonly role: string }) => role), [
    "kernel",
    "init",
    "nsm.ko",
    "/app/denclave",
    "/app/libaws-c-common.so",
    "/app/libaws-nitro-enclaves-sdk-c.so",
    "/app/more.json",
    "/etc/group",
    "/etc/hosts",
    "/etc/passwd",
    "/etc/pki/tls/certs/ca-bundle.crt",
    LOADER,
    "/lib64/libc.so.6",
    "/lib64/libm.so.6",
  ]);
  const described = await runCtl(["eif", "describe", `${folder.path}/out/enclave.eif`, "--json"]);
  const { Measurements, CheckCRC, IsSigned } = JSON.parse(described.stdout);
  assertEquals([Measurements, CheckCRC, IsSigned], [
    { HashAlgorithm: "Sha384 { ... }", ...provenance.measurements },
    true,
    false,
  ]);
});

Deno.test("the provenance says whether the work tree had changes, and believes a record of the very binary alone", async () => {
  await using folder = await Folder.make(INPUTS);
  await git(folder.path, "init", "--quiet");
  await folder.write(".gitignore", "/out/\n");
  await git(folder.path, "add", ".");
  await git(folder.path, "commit", "--quiet", "-m", "inputs");
  await Deno.mkdir(`${folder.path}/out`);
  const provenance = async () => {
    const args = ["eif", "build", "--manifest", `${folder.path}/enclave.yaml`, "--json"];
    const { stdout, stderr } = await runCtl(args, { cwd: folder.path });
    return JSON.parse(stdout === "" ? stderr : stdout);
  };
  const clean = await provenance();
  assertEquals([clean.built_by.dirty, clean.program], [false, null]);
  const record = {
    file: "denclave",
    sha256: await sha256(`${folder.path}/in/denclave`),
    deno: "2.9.6",
    bundle_sha256: "ab",
    git_commit: "cd".repeat(20),
    dirty: false,
    options: { flavour: "production", "test-net": [] },
  };
  const write = (value: unknown) => folder.write("in/denclave.build.json", JSON.stringify(value));
  await write({ ...record, sha256: "of another binary" });
  const other = await provenance();
  assertEquals([other.built_by.git_commit, other.built_by.dirty, other.program], [
    clean.built_by.git_commit,
    true,
    null,
  ]);
  await write(record);
  const own = await provenance();
  assertEquals([own.built_by.git_commit, own.built_by.dirty, own.program], [
    record.git_commit,
    false,
    record,
  ]);
});

Deno.test("an image is reproduced from the same inputs, also without the configuration that lay beside its kernel", async () => {
  const { folder, args, path } = await makeReproduction();
  await using _removed = folder;
  const { code, stdout, stderr } = await build(folder, ["--json"]);
  assertEquals([code, JSON.parse(stdout).metadata.BuildMetadata.KernelVersion], [0, "4.14.256"], stderr);
  for (const config of ["there", "removed"]) {
    if (config === "removed") await Deno.remove(`${folder.path}/blobs/bzImage.config`);
    const result = await runCtl(args, { env: { PATH: path } });
    assertEquals([result.code, /^DIFFERS .*$/m.exec(result.stdout)], [0, null], result.stderr);
    assertMatch(result.stdout, /^same {4}image$/m);
  }
});

Deno.test("a signing key that other users may use is refused", async () => {
  await using folder = await Folder.make(INPUTS);
  const key = `${folder.path}/key.pem`;
  await Deno.chmod(key, 0o640);
  const { code, stderr } = await build(folder, ["--sign", key, "--cert", `${folder.path}/cert.pem`]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, `other users may use it (mode 640): chmod 600 ${key}`);
});

Deno.test("a signed image passes, with the PCRs of its build; one that was changed does not", async () => {
  await using folder = await Folder.make(INPUTS);
  const sign = ["--sign", `${folder.path}/key.pem`, "--cert", `${folder.path}/cert.pem`, "--json"];
  const { stdout, code, stderr } = await build(folder, sign);
  assertEquals(code, 0, stderr);
  assertEquals(stdout.includes("PRIVATE"), false);
  const { PCR0, PCR8 } = JSON.parse(stdout).measurements;
  const image = `${folder.path}/out/enclave.eif`;
  const good = await runCtl([
    "eif",
    "verify",
    image,
    "--pcr",
    `0=${PCR0}`,
    "--pcr",
    `8=${PCR8.toUpperCase()}`,
  ]);
  assertEquals([good.code, good.stdout], [
    0,
    "ok    CRC\nok    signature\nok    certificate\nok    PCR0\nok    PCR8\n",
  ]);
  const bytes = await Deno.readFile(image);
  bytes[562] = 0xff;
  await Deno.writeFile(image, bytes);
  const changed = await runCtl(["eif", "verify", image, "--pcr", `0=${PCR0}`, "--json"]);
  const { ok, checks } = JSON.parse(changed.stdout);
  assertEquals([changed.code, ok, checks.map(({ problem }: { problem?: string }) => problem === undefined)], [
    1,
    false,
    [false, false, true, false],
  ]);
  const shown = await runCtl(["eif", "describe", image]);
  assertEquals(shown.code, 0);
  assertStringIncludes(shown.stdout, "DOES NOT HOLD");
});

Deno.test("an image of pieces is made as AWS's tool makes it, and its texts cannot steer a terminal", async () => {
  await using folder = await Folder.make({
    kernel: kernelFile({ machine: "aarch64" }),
    a: "boot",
    b: "program",
  });
  const piece = (name: string) => `${folder.path}/${name}`;
  const args = [
    "--kernel",
    piece("kernel"),
    "--cmdline",
    "a \x1b[2J",
    "--ramdisk",
    piece("a"),
    "--ramdisk",
    piece("b"),
  ];
  const { code, stderr } = await runCtl([
    "eif",
    "build",
    ...args,
    "-o",
    piece("x.eif"),
    "--arch",
    "aarch64",
  ]);
  assertEquals(code, 0, stderr);
  const { stdout } = await runCtl(["eif", "describe", piece("x.eif")]);
  assertMatch(stdout, /architecture {2}aarch64/);
  assertMatch(stdout, /cmdline {7}a \\u001b\[2J\n/);
});

/** For mistakes that are made with any program. */
const OTHER = [
  "build",
  "-b",
  "in/denclave",
  "--blobs",
  "blobs",
  "--sysroot",
  "root",
  "--allow-other-program",
];
const MISTAKES: readonly (readonly [readonly string[], number, RegExp])[] = [
  [["describe"], 2, /Which image\?/],
  [["describe", "/nonexistent.eif"], 2, /Cannot read \/nonexistent.eif: there is no such file/],
  [["describe", "enclave.yaml"], 1, /enclave.yaml is not an enclave image\n.*begins with \.eif/],
  [["build"], 2, /Which program should the image run\?/],
  [
    ["build", "--binary", "in/denclave", "--blobs", "none"],
    69,
    /Cannot find none\/cmdline.*\n.*aws-nitro-enclaves-cli/,
  ],
  [[...OTHER, "--lib-dir", "root"], 69, /root\/libaws-c-common.so\n/],
  [[...OTHER, "--sysroot", "in"], 69, /the loader of \/app\/denclave\n.*--sysroot/],
  [[...OTHER, "--sign", "key.pem"], 2, /--sign and --cert go together/],
  [[...OTHER, "--install-dir", "/tmp/a"], 2, /mounts a file system on \/tmp/],
  [[...OTHER, "--compress", "xz"], 2, /"xz" for --compress/],
  [[...OTHER, "--file", "/app/denclave=ca.pem"], 1, /Cannot put two files at \/app\/denclave\n.*--file/],
];

Deno.test("each mistake has its own exit code, and a message with the remedy", async () => {
  await using folder = await Folder.make({ ...INPUTS, "small.eif": await imageOf(smallParts()) });
  for (const [args, code, message] of MISTAKES) {
    const result = await runCtl(["eif", ...args], { cwd: folder.path });
    assertEquals([result.code, result.stdout], [code, ""], `${args.join(" ")}: ${result.stderr}`);
    assertMatch(result.stderr, message);
  }
  assertEquals(
    [...Deno.readDirSync(folder.path)].filter(({ name }) => /enclave\.eif|partial/.test(name)),
    [],
  );
});
