/** The Dockerfile, without Docker: the commands of each stage, run with what that stage copies, and the image that they make. */
import { assertEquals, assertRejects } from "@std/assert";
import { collectRoot, OpenFiles } from "../../lib/ctl/eif/mod.ts";
import { buildStages, filesOf } from "../helpers/dockerfile.ts";
import { Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { ServiceProcess } from "../helpers/service_process.ts";
import { runTool } from "../helpers/tools.ts";
import { canEnter, launchIn } from "../helpers/unpacked_image.ts";

const KMS_KEYS = "arn:aws:kms:us-east-1:111122223333:key/1,arn:aws:kms:us-east-1:111122223333:key/mrk-2";
const FEATURES = "session_key,sealed";
const RUNTIME = ["libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1"];
const LIBRARIES = ["libaws-c-common.so", "libaws-nitro-enclaves-sdk-c.so"];
const LOADERS = { x86_64: "/lib64/ld-linux-x86-64.so.2", aarch64: "/lib/ld-linux-aarch64.so.1" } as const;
const BUNDLE = "/etc/pki/tls/certs/ca-bundle.crt";

async function shell(script: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runTool("sh", ["-euc", script, ...args]);
  assertEquals(code, 0, stderr);
  return stdout;
}

/** A distribution's files, as texts, and a machine of an architecture. */
async function machine(
  architecture: keyof typeof LOADERS,
  more: Readonly<Record<string, string>> = {},
): Promise<Folder> {
  const runtime = [LOADERS[architecture], ...RUNTIME.map((name) => `/lib64/${name}`)];
  const folder = await Folder.make({
    ...Object.fromEntries(runtime.map((path) => [`runtime${path}.real`, path])),
    ...Object.fromEntries(
      runtime.map((path) => [`runtime${path}`, { link: `${path.replace(/.*\//, "")}.real` }]),
    ),
    [`runtime${BUNDLE}`]: "certificates",
    "bin/uname": `#!/bin/sh\necho ${architecture}\n`,
    ...more,
  });
  await Deno.chmod(`${folder.path}/bin/uname`, 0o755);
  return folder;
}

for (const architecture of ["x86_64", "aarch64"] as const) {
  Deno.test(`on ${architecture} the image gets that architecture's loader, where its programs name it`, async () => {
    await using folder = await machine(architecture);
    const bin = `${folder.path}/bin`;
    await buildStages({ folder: folder.path, bin, args: { KMS_KEYS, FEATURES }, only: ["runtime"] });
    const rootfs = `${folder.path}/runtime/rootfs`;
    const expected = [LOADERS[architecture], ...RUNTIME.map((name) => `/lib64/${name}`)].sort();
    assertEquals(await filesOf(rootfs), expected);
    for (const path of ["", ...expected]) {
      assertEquals((await Deno.lstat(rootfs + path)).mtime?.getTime(), 0, path);
    }
    // The file, not the link.
    assertEquals(await Deno.readTextFile(rootfs + LOADERS[architecture]), LOADERS[architecture]);
  });
}

for (
  const [what, args, remedy] of [
    ["no KMS key", { KMS_KEYS: "", FEATURES }, "KMS_KEYS=<key arn>"],
    ["a second entry that is none", { KMS_KEYS: `${KMS_KEYS},foo`, FEATURES }, "KMS_KEYS=<key arn>"],
    [
      "an alias",
      { KMS_KEYS: "arn:aws:kms:us-east-1:111122223333:alias/a", FEATURES },
      "KMS_KEYS=<key arn>",
    ],
    ["an id", { KMS_KEYS: "1", FEATURES }, "KMS_KEYS=<key arn>"],
    ["no features", { KMS_KEYS, FEATURES: "" }, "FEATURES=session_key,wallet,master_key,sealed,receipts"],
    ["a feature that there is not", { KMS_KEYS, FEATURES: "wallets" }, "FEATURES=session_key,wallet"],
  ] as const
) {
  Deno.test(`a build with ${what} is refused before anything is compiled`, async () => {
    await using folder = await machine("x86_64");
    const bin = `${folder.path}/bin`;
    const build = buildStages({ folder: folder.path, bin, args });
    await assertRejects(() => build, Error, `give --build-arg ${remedy}`);
    assertEquals(
      await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name).then((names) => names.sort()),
      [
        "bin",
        "runtime",
      ],
    );
  });
}

Deno.test("a libnsm.so of its own is copied beside the SDK, and to where the loader looks", async () => {
  const usr = ["libnsm.so", ...LIBRARIES].map((name) => [`sdk/usr/lib64/${name}`, name]);
  await using folder = await machine("x86_64", Object.fromEntries(usr));
  await buildStages({ folder: folder.path, bin: `${folder.path}/bin`, args: {}, only: ["sdk"] });
  assertEquals(
    await filesOf(`${folder.path}/sdk/sdk`),
    [...LIBRARIES, "libnsm.so"].map((name) => `/${name}`),
  );
  assertEquals(await filesOf(`${folder.path}/sdk/loader`), ["/lib64/libnsm.so"]);
});

const isAbleToEnter = await canEnter();
Deno.test("the Dockerfile's stages build an image of the files that eif build puts into one, and its program serves", async (t) => {
  // Mozilla's CA certificates, as Deno brings them.
  const print = 'import { rootCertificates } from "node:tls"; console.log(rootCertificates.join("\\n"));';
  const bundle = await shell('"$0" eval "$1"', Deno.execPath(), print);
  await using folder = await Folder.make({ [`runtime${BUNDLE}`]: bundle, "bin/none": "" });
  // This machine's C runtime, in the folders of Amazon Linux.
  const listed = await shell('ldd "$0"', `${NATIVE_DIR}/denclave-test`);
  const loader = LOADERS[Deno.build.arch];
  const found = [loader, ...[...listed.matchAll(/ => (\/\S+)/g)].map(([, path = ""]) => path)];
  const place =
    'mkdir -p "$0/runtime/usr/lib" "$0/runtime/usr/lib64" "$0/sdk/usr/lib64"; ln -s usr/lib usr/lib64 "$0/runtime"';
  await shell(`${place}; cp -L "$@" "$0/runtime/usr/lib64"`, folder.path, ...found);
  if (Deno.build.arch === "aarch64") await shell('cp -L "$1" "$0/runtime/usr/lib"', folder.path, loader);
  await shell('cp "$@" "$0/sdk/usr/lib64"', folder.path, ...LIBRARIES.map((name) => `${NATIVE_DIR}/${name}`));
  // The Deno that compiles.
  await shell('ln -s -- "$(readlink -f -- "$(command -v "${DENO:-deno}")")" "$0/bin/deno"', folder.path);
  const variables = await buildStages({
    folder: folder.path,
    bin: `${folder.path}/bin`,
    args: { KMS_KEYS, FEATURES },
  });
  const image = `${folder.path}/image`;

  await t.step("the files of eif build", async () => {
    using files = new OpenFiles();
    const root = await collectRoot({
      binary: `${folder.path}/binary/out/denclave`,
      libraries: LIBRARIES.map((name) => `${folder.path}/sdk/usr/lib64/${name}`),
      caBundle: new TextEncoder().encode(""),
      sysroot: `${folder.path}/runtime`,
    }, (path) => files.open(path));
    const etc = ["/etc/group", "/etc/hosts", "/etc/passwd"];
    assertEquals(
      await filesOf(image),
      root.files.map(({ path }) => path).filter((path) => !etc.includes(path)),
    );
    const certificates = await Deno.readTextFile(image + BUNDLE);
    assertEquals(certificates.match(/BEGIN CERTIFICATE/g)?.length, 5);
  });
  await t.step({
    name: "the program starts with the image's environment",
    ignore: !isAbleToEnter,
    fn: async () => {
      for (const mounted of ["proc", "dev"]) await Deno.mkdir(`${image}/${mounted}`);
      // Where this machine's loader looks, which is not Amazon Linux's.
      const [, looks = ""] = /libc\.so\.6 => (\S+)\/libc/.exec(listed) ?? [];
      await shell('[ -e "$0$1" ] || { mkdir -p "$0$1"; rmdir "$0$1"; ln -s /lib64 "$0$1"; }', image, looks);
      const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
      await using service = await ServiceProcess.start(launchIn(image, environment, ["/app/denclave"]));
      assertEquals(service.address, { transport: "vsock", cid: -1, port: 5000 });
      assertEquals(service.events("listening")[0]?.["kms_keys"], 2);
      assertEquals((await service.logged("sdk_open"))["directory"], "/app");
      assertEquals((await service.stop()).code, 0);
    },
  });
});
