/** What goes into an image: libraries as a loader would find them, archives as a kernel unpacks them, manifests. */
import { gunzipSync } from "node:zlib";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { cpioArchive, type CpioEntry } from "../../../../lib/ctl/eif/ramdisks.ts";
import { gzipToFile } from "../../../../lib/ctl/eif/ramdisks.ts";
import { parseManifest, readManifest } from "../../../../lib/ctl/eif/manifest.ts";
import {
  buildEif,
  type BuildPlan,
  type ByteSource,
  bytesSource,
  collectRoot,
  describeEif,
  EifError,
  OpenFiles,
} from "../../../../lib/ctl/eif/mod.ts";
import { programRamdisk } from "../../../../lib/ctl/eif/ramdisks.ts";
import { readExactly } from "../../../../lib/ctl/eif/source.ts";
import { elfFile } from "../../../fixtures/elf.ts";
import { unpackCpio } from "../../../helpers/cpio.ts";
import { type FileContent, Folder } from "../../../helpers/folder.ts";

const text = (value: string) => new TextEncoder().encode(value);
const whole = (source: ByteSource) => readExactly(source, 0, source.size);
const fileOf = (path: string, content: Uint8Array, mode = 0o644): CpioEntry => ({
  path,
  mode,
  kind: "file",
  content: bytesSource(content, path),
});

const LOADER = "/lib64/ld-linux-x86-64.so.2";
/** What Deno's binary needs. */
const RUNTIME = [
  "libdl.so.2",
  "libgcc_s.so.1",
  "librt.so.1",
  "libpthread.so.0",
  "libm.so.6",
  "libc.so.6",
  "ld-linux-x86-64.so.2",
];

/** A program and the SDK's libraries, as they are built. */
const PROGRAM: Readonly<Record<string, FileContent>> = {
  "build/denclave": elfFile({ interpreter: LOADER, needed: RUNTIME }),
  // By another name than its file's, as it is when it has a version.
  "build/libaws-c-common.so": elfFile({ soname: "libaws-c-common.so.1", needed: ["libc.so.6"] }),
  "build/libaws-nitro-enclaves-sdk-c.so": elfFile({ needed: ["libaws-c-common.so.1", "libgcc_s.so.1"] }),
};

/** A distribution that keeps everything in one folder. */
function distribution(
  folder: string,
  extra: Readonly<Record<string, FileContent>>,
): Readonly<Record<string, FileContent>> {
  return {
    ...PROGRAM,
    ...Object.fromEntries(RUNTIME.map((name) => [`root${folder}/${name}`, elfFile({ soname: name })])),
    ...extra,
  };
}

/** Distributions, and where the loader of each looks. */
const DISTRIBUTIONS = {
  "Amazon Linux": {
    folder: "/lib64",
    files: distribution("/usr/lib64", {
      "root/lib64": { link: "usr/lib64" },
      "root/lib": { link: "usr/lib" },
      "root/usr/lib/libm.so.6": elfFile({ machine: 3 }),
    }),
  },
  Debian: {
    folder: "/lib/x86_64-linux-gnu",
    files: distribution("/usr/lib/x86_64-linux-gnu", {
      "root/lib": { link: "usr/lib" },
      "root/lib64": { link: "usr/lib64" },
      // An absolute link: it leads to the distribution's own file, not to this machine's.
      "root/usr/lib64/ld-linux-x86-64.so.2": { link: "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" },
    }),
  },
  Arch: {
    folder: "/usr/lib",
    files: distribution("/usr/lib", { "root/lib": { link: "usr/lib" }, "root/lib64": { link: "usr/lib" } }),
  },
} as const;

async function rootOf(folder: Folder, changes: Partial<Parameters<typeof collectRoot>[0]> = {}) {
  using files = new OpenFiles();
  return await collectRoot({
    binary: `${folder.path}/build/denclave`,
    libraries: ["libaws-c-common.so", "libaws-nitro-enclaves-sdk-c.so"].map((name) =>
      `${folder.path}/build/${name}`
    ),
    caBundle: text("CA certificates"),
    sysroot: `${folder.path}/root`,
    ...changes,
  }, (path) => files.open(path));
}

for (const [name, { folder: libraries, files }] of Object.entries(DISTRIBUTIONS)) {
  Deno.test(`on ${name}, the loader and the C library are put where that loader looks`, async () => {
    await using folder = await Folder.make(files);
    const root = await rootOf(folder);
    const found = root.files.map(({ path }) => path).filter((path) => path.includes("/lib"));
    assertEquals(
      found,
      [
        "/app/libaws-c-common.so",
        "/app/libaws-nitro-enclaves-sdk-c.so",
        LOADER,
        ...RUNTIME.slice(0, -1).map((library) => `${libraries}/${library}`),
      ].sort(),
    );
    assertEquals([root.architecture, root.program], ["x86_64", "/app/denclave"]);
    const outside = root.files.filter(({ from }) =>
      typeof from === "string" && !from.startsWith(folder.path)
    );
    assertEquals(outside, []);
  });
}

Deno.test("a library without a SONAME is also put where the loader looks, unless the library that needs it has RUNPATH $ORIGIN", async () => {
  for (const [runPath, again] of [[undefined, ["/lib64/libnsm.so"]], ["$ORIGIN", []]] as const) {
    const sdk = elfFile({ needed: ["libnsm.so"], ...(runPath === undefined ? {} : { runPath }) });
    await using folder = await Folder.make({
      ...DISTRIBUTIONS["Amazon Linux"].files,
      "build/libnsm.so": elfFile({ needed: ["libc.so.6"] }),
      "build/libaws-nitro-enclaves-sdk-c.so": sdk,
    });
    const libraries = ["libnsm.so", "libaws-c-common.so", "libaws-nitro-enclaves-sdk-c.so"]
      .map((name) => `${folder.path}/build/${name}`);
    const { files } = await rootOf(folder, { libraries });
    assertEquals(
      files.map(({ path }) => path).filter((path) => path.endsWith("/libnsm.so")),
      ["/app/libnsm.so", ...again],
    );
  }
});

Deno.test("a library is looked for in the folders that the file that needs it names, its own folder first", async () => {
  await using folder = await Folder.make({
    ...DISTRIBUTIONS.Debian.files,
    "build/denclave": elfFile({
      interpreter: LOADER,
      needed: ["liba.so"],
      runPath: "$ORIGIN/../a:/opt/none",
    }),
    "root/a/liba.so": elfFile({ needed: ["libb.so"], rpath: "${ORIGIN}/b:" }),
    "root/a/b/libb.so": elfFile(),
  });
  const { files } = await rootOf(folder, { libraries: [] });
  assertEquals(files.map(({ path }) => path).filter((path) => path.startsWith("/a/")), [
    "/a/b/libb.so",
    "/a/liba.so",
  ]);
});

Deno.test("a file that cannot be found is named, with the file that needs it", async () => {
  await using folder = await Folder.make(DISTRIBUTIONS.Debian.files);
  await Deno.remove(`${folder.path}/root/usr/lib/x86_64-linux-gnu/libgcc_s.so.1`);
  const error = await assertRejects(() => rootOf(folder), EifError, 'Cannot find "libgcc_s.so.1"');
  assertEquals(error.code, "library_missing");
  assertStringIncludes(error.message, "/app/denclave needs");
  await Deno.remove(`${folder.path}/root/usr/lib64/ld-linux-x86-64.so.2`);
  await assertRejects(() => rootOf(folder), EifError, "the loader of /app/denclave");
});

Deno.test("links in circles, files for two machines and paths that are none are refused", async () => {
  await using folder = await Folder.make({
    ...DISTRIBUTIONS.Debian.files,
    "build/arm.so": elfFile({ machine: 183 }),
    "circle/lib64": { link: "lib64" },
  });
  await assertRejects(() => rootOf(folder, { sysroot: `${folder.path}/circle` }), EifError, "in circles");
  await assertRejects(
    () => rootOf(folder, { libraries: [`${folder.path}/build/arm.so`] }),
    EifError,
    "is for aarch64",
  );
  for (const installDir of ["app", "/", "/app/../etc", "/app/", ""]) {
    await assertRejects(() => rootOf(folder, { installDir }), EifError, "not an absolute path");
  }
  const files = [{ path: "/a/../b", mode: 0o644, from: text("") }];
  await assertRejects(() => rootOf(folder, { files }), EifError, "Cannot put a file at");
});

function set(bytes: Uint8Array<ArrayBuffer>, at: number, ...values: number[]): Uint8Array<ArrayBuffer> {
  bytes.set(values, at);
  return bytes;
}

Deno.test("an archive is sorted, of one owner and time, and has the folders that its files are in", async () => {
  const entries = [
    fileOf("b/c", text("second"), 0o755),
    fileOf("b-d", text("third")),
    { path: "b/é", mode: 0o700, kind: "directory" as const },
    fileOf("a", text("")),
  ];
  const archive = await whole(cpioArchive("test", entries, 1_700_000_000));
  assertEquals(
    unpackCpio(archive).map((
      entry,
    ) => [entry.path, entry.mode.toString(8), entry.inode, entry.content.length]),
    [["a", "100644", 1, 0], ["b", "40755", 2, 0], ["b-d", "100644", 3, 5], ["b/c", "100755", 4, 6], [
      "b/é",
      "40700",
      5,
      0,
    ]],
  );
  assertEquals(
    new Set(unpackCpio(archive).map(({ uid, gid, time }) => `${uid} ${gid} ${time}`)),
    new Set(["0 0 1700000000"]),
  );
  assertEquals(archive.length % 512, 0);
  assertEquals(await whole(cpioArchive("test", entries.toReversed(), 1_700_000_000)), archive);
});

for (
  const [what, entries] of [
    ["two files of one name", [fileOf("a", text("1")), fileOf("a", text("2"))]],
    ["a path that leads up", [fileOf("a/../../b", text("1"))]],
    ["the end's name", [fileOf("TRAILER!!!", text("1"))]],
    ["4 GiB", [{
      path: "a",
      mode: 0o644,
      kind: "file",
      content: { ...bytesSource(text("")), size: 2 ** 32 },
    }]],
  ] as const satisfies readonly (readonly [string, readonly CpioEntry[]])[]
) {
  Deno.test(`an archive with ${what} is not made`, () => {
    assertThrows(() => cpioArchive("test", entries, 0), EifError);
  });
}

Deno.test("the program's ramdisk is what AWS's init reads: cmd, env, rootfs with empty mount points", async () => {
  const source = programRamdisk({
    command: ["/app/a", "--b", "c d"],
    environment: { HOME: "/", LIST: "a=1,b=2" },
    files: [{ path: "/app/a", mode: 0o755, content: bytesSource(text("a")) }],
  }, 0);
  const entries = unpackCpio(await whole(source));
  const contentOf = (path: string) =>
    new TextDecoder().decode(entries.find((entry) => entry.path === path)?.content);
  assertEquals([contentOf("cmd"), contentOf("env")], ["/app/a\n--b\nc d\n", "HOME=/\nLIST=a=1,b=2\n"]);
  assertEquals(
    entries.map(({ path }) => path),
    [
      "cmd",
      "env",
      "rootfs",
      ..."app app/a dev proc run sys tmp var".split(" ").map((path) => `rootfs/${path}`),
    ],
  );
});

Deno.test("arguments and variables that init would read as something else are refused", () => {
  const make = (command: string[], environment: Record<string, string>) =>
    programRamdisk({ command, environment, files: [] }, 0);
  assertThrows(() => make(["a", "b\nc"], {}), EifError, "an argument");
  assertThrows(() => make(["a", ""], {}), EifError, "an argument");
  assertThrows(() => make(["a"], { "A=B": "c" }), EifError, '"A=B"');
  assertThrows(() => make(["a"], { A: "b\nC=d" }), EifError, "a variable");
});

Deno.test("compressed data contains neither time nor name, and a kernel finds the next archive", async () => {
  await using folder = await Folder.make();
  const bytes = crypto.getRandomValues(new Uint8Array(30_000)).map((byte) => byte & 3);
  const archive = Uint8Array.from({ length: 3_000_000 }, (_, index) => bytes[index % bytes.length] ?? 0);
  await gzipToFile(bytesSource(archive), `${folder.path}/a`);
  await gzipToFile(bytesSource(archive), `${folder.path}/b`);
  const [a, b] = [await Deno.readFile(`${folder.path}/a`), await Deno.readFile(`${folder.path}/b`)];
  assertEquals([...a.subarray(0, 10)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
  assertEquals([a.length % 4, a.length < archive.length / 2], [0, true]);
  assertEquals(a, b);
  assertEquals(new Uint8Array(gunzipSync(a)), archive);
});

const kernelAt = (file: string) => () => Promise.resolve({ file });

function planIn(folder: Folder, changes: Partial<BuildPlan> = {}): BuildPlan {
  return {
    output: `${folder.path}/out.eif`,
    kernel: kernelAt(`${folder.path}/blobs/bzImage`),
    commandLine: "reboot=k",
    content: {
      program: {
        binary: `${folder.path}/build/denclave`,
        sysroot: `${folder.path}/root`,
        init: `${folder.path}/blobs/init`,
        nsm: `${folder.path}/blobs/nsm.ko`,
      },
    },
    time: 0,
    name: "test",
    version: "1",
    ...changes,
  };
}

const X86_KERNEL = set(new Uint8Array(2_000), 0x202, ...text("HdrS"));
const ARM_KERNEL = set(new Uint8Array(2_000), 0x38, ...text("ARM\x64"));
const BLOBS = { "blobs/bzImage": X86_KERNEL, "blobs/init": "init", "blobs/nsm.ko": "nsm" };

Deno.test("an image is made of what its inputs say, which are hashed", async () => {
  await using folder = await Folder.make({ ...DISTRIBUTIONS.Debian.files, ...BLOBS });
  const built = await buildEif(planIn(folder));
  const description = await describeEif(`${folder.path}/out.eif`);
  assertEquals([description.measurements, description.size], [built.measurements, built.size]);
  assertEquals([built.command, built.environment], [["/app/denclave"], { HOME: "/" }]);
  const init = built.inputs.find(({ role }) => role === "init");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text("init")));
  assertEquals([init?.file, init?.sha256], ["init", digest.toHex()]);
});

Deno.test("one byte more in an input is another image; the output's name is not", async () => {
  await using folder = await Folder.make({ ...DISTRIBUTIONS.Debian.files, ...BLOBS });
  const { measurements, crc } = await buildEif(planIn(folder));
  const again = await buildEif(planIn(folder, { output: `${folder.path}/other.eif` }));
  assertEquals([again.crc, again.measurements], [crc, measurements]);
  await folder.write("blobs/init", "init.");
  const changed = (await buildEif(planIn(folder))).measurements;
  assertEquals([changed.PCR0 === measurements.PCR0, changed.PCR1 === measurements.PCR1], [false, false]);
  assertEquals(changed.PCR2, measurements.PCR2);
});

Deno.test("a kernel of another machine is refused, and a program's machine is the image's", async () => {
  await using folder = await Folder.make({
    ...DISTRIBUTIONS.Debian.files,
    ...BLOBS,
    "arm/Image": ARM_KERNEL,
  });
  const kernel = kernelAt(`${folder.path}/arm/Image`);
  await assertRejects(() => buildEif(planIn(folder, { kernel })), EifError, "The program is for x86_64");
  await assertRejects(
    () => buildEif(planIn(folder, { architecture: "aarch64" })),
    EifError,
    "is for x86_64, and the image for aarch64",
  );
  const content = { ramdisks: [`${folder.path}/blobs/init`] };
  assertEquals((await buildEif(planIn(folder, { kernel, content }))).architecture, "aarch64");
});

Deno.test("a compressed build leaves nothing beside its image", async () => {
  await using folder = await Folder.make({ ...DISTRIBUTIONS.Debian.files, ...BLOBS });
  const plan = planIn(folder);
  if (!("program" in plan.content)) throw new Error("unreachable");
  const { program } = plan.content;
  await buildEif({ ...plan, output: `${folder.path}/o/a.eif`, content: { program } }).catch(() => {});
  await Deno.mkdir(`${folder.path}/o`);
  const content = { program: { ...program, compression: "gzip" as const } };
  const { size } = await buildEif({ ...plan, output: `${folder.path}/o/a.eif`, content });
  assertEquals(size < (await buildEif(plan)).size, true);
  assertEquals([...Deno.readDirSync(`${folder.path}/o`)].map(({ name }) => name), ["a.eif"]);
});

Deno.test("a manifest's paths are relative to it", async () => {
  await using folder = await Folder.make({
    "a/enclave.yaml": "binary: ../bin/denclave\nenv: { A: b }\nfiles: { /etc/x: x }\nsource_date_epoch: 5\n",
  });
  assertEquals(await readManifest(`${folder.path}/a/enclave.yaml`), {
    binary: `${folder.path}/a/../bin/denclave`,
    env: { A: "b" },
    files: { "/etc/x": `${folder.path}/a/x` },
    source_date_epoch: 5,
  });
  await assertRejects(() => readManifest(`${folder.path}/none.yaml`), EifError, "Cannot read");
});

for (
  const [manifest, message] of [
    ["binaries: a", 'there is no "binaries"'],
    ["env: [A]", "env should be names with a text each"],
    ["kernel: 5", "kernel should be a path"],
    ["source_date_epoch: 4294967296", "should be a whole number up to 4294967295"],
    ["a: [", "a.yaml: "],
    ["binary: a\nbinary: b", "unique"],
    ["a: &a [x]\nb: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]", "a.yaml: "],
  ] as const
) {
  Deno.test(`the manifest ${JSON.stringify(manifest.slice(0, 40))} is refused`, () => {
    const error = assertThrows(() => parseManifest(manifest, "a.yaml", "/"), EifError, message);
    assertEquals(error.code, "eif_input");
  });
}
