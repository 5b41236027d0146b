/** What the loader would load, from where, and what it would refuse. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  bytesSource,
  compareVersions,
  EifError,
  type LoadedFile,
  loadFiles,
  missingSymbols,
  OpenFiles,
  readElf,
  Sysroot,
} from "../../../../lib/ctl/eif/mod.ts";
import { elfFile, type ElfShape } from "../../../fixtures/elf.ts";
import { type FileContent, Folder } from "../../../helpers/folder.ts";

const LOADER = "/lib64/ld-linux-x86-64.so.2";

/** A folder whose `root` is a distribution, `program` a program, and `lib` holds libraries that it opens. */
async function load(
  files: Readonly<Record<string, FileContent>>,
  libraries: readonly string[] = [],
): Promise<Readonly<Record<string, string>>> {
  await using folder = await Folder.make({ [`root${LOADER}`]: elfFile(), ...files });
  using open = new OpenFiles();
  const loaded = await loadFiles({
    program: Object.hasOwn(files, "program")
      ? { path: "/app/program", from: `${folder.path}/program` }
      : undefined,
    libraries: libraries.map((name) => ({ path: `/app/${name}`, from: `${folder.path}/lib/${name}` })),
    sysroot: new Sysroot(`${folder.path}/root`),
  }, (path) => open.open(path));
  return Object.fromEntries(loaded.map(({ path, from }) => [path, from.slice(folder.path.length + 1)]));
}

const program = (shape: Parameters<typeof elfFile>[0]) => elfFile({ interpreter: LOADER, ...shape });

Deno.test("a file's RUNPATH, or its RPATH without one, counts for what it needs itself, and no other's", async () => {
  const files = { "root/own/liba.so": elfFile({ needed: ["libb.so"] }), "root/own/libb.so": elfFile() };
  const found = ["libb.so", "liba.so"];
  for (const path of [{ rpath: "/own" }, { runPath: "/own" }, { rpath: "/nothing", runPath: "/own" }]) {
    assertEquals(
      Object.keys(await load({ ...files, program: program({ needed: found, ...path }) })),
      [LOADER, "/app/program", "/own/libb.so", "/own/liba.so"],
    );
    const below = load({ ...files, program: program({ needed: ["liba.so"], ...path }) });
    await assertRejects(() => below, EifError, '"libb.so" in the folders of');
  }
  const replaced = program({ needed: found, rpath: "/own", runPath: "/nothing" });
  await assertRejects(() => load({ ...files, program: replaced }), EifError, "/app/program needs");
});

Deno.test("a library that was opened by its path is known by its SONAME, and not by its file's name", async () => {
  const files = (soname?: string) => ({
    program: program({}),
    "lib/liba.so": elfFile(soname === undefined ? {} : { soname }),
    "lib/libsdk.so": elfFile({ needed: ["liba.so"] }),
  });
  assertEquals(Object.keys(await load(files("liba.so"), ["liba.so", "libsdk.so"])).length, 4);
  // Without a SONAME, which Rust does not give: a second copy goes where the loader looks.
  assertEquals((await load(files(), ["liba.so", "libsdk.so"]))["/lib64/liba.so"], "lib/liba.so");
  const error = await assertRejects(() => load(files("libb.so"), ["liba.so", "libsdk.so"]), EifError);
  assertEquals(error.code, "library_missing");
  assertMatch(error.hint ?? "", /give it that SONAME \(-Wl,-soname,liba\.so\), or .* the RUNPATH \$ORIGIN/);
  // It is not open yet.
  await assertRejects(() => load(files("liba.so"), ["libsdk.so", "liba.so"]), EifError, "liba.so");
});

Deno.test("with $ORIGIN, files beside the libraries are put beside them in the image", async () => {
  assertEquals(
    await load({
      program: program({}),
      "lib/libsdk.so": elfFile({ needed: ["libcrypto.so"], runPath: "$ORIGIN" }),
      "lib/libcrypto.so": elfFile(),
      "lib/libunused.so": elfFile(),
    }, ["libsdk.so"]),
    {
      [LOADER]: `root${LOADER}`,
      "/app/program": "program",
      "/app/libsdk.so": "lib/libsdk.so",
      "/app/libcrypto.so": "lib/libcrypto.so",
    },
  );
});

Deno.test("a library of another machine is refused, and one that is found is named", async () => {
  const files = { program: program({ needed: ["libc.so.6"] }), "lib/libsdk.so": elfFile({ machine: 183 }) };
  await assertRejects(
    () => load({ ...files, "root/lib64/libc.so.6": elfFile() }, ["libsdk.so"]),
    EifError,
    "libsdk.so is for aarch64, and",
  );
  const error = await assertRejects(
    () => load({ ...files, "root/lib64/libc.so.6": elfFile({ machine: 183 }) }),
    EifError,
  );
  assertEquals(error.code, "library_missing");
  assertMatch(error.message, /libc\.so\.6 is for aarch64$/);
  await assertRejects(
    () => load({ ...files, [`root${LOADER}`]: elfFile({ machine: 183 }) }),
    EifError,
    "not for x86_64",
  );
});

Deno.test("a library that needs a newer glibc than the distribution's is refused; where it may be missing, it is not", async () => {
  const libc = (versions: readonly string[]) => ({
    "root/lib64/libc.so.6": elfFile({ soname: "libc.so.6", versions }),
  });
  const needs = (...versions: readonly string[]) => ({
    program: program({ needed: ["libc.so.6"], neededVersions: { "libc.so.6": ["GLIBC_2.2.5"] } }),
    "lib/libsdk.so": elfFile({ needed: ["libc.so.6"], neededVersions: { "libc.so.6": versions } }),
  });
  const old = libc(["libc.so.6", "GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.34"]);
  const error = await assertRejects(() => load({ ...needs("GLIBC_2.38"), ...old }, ["libsdk.so"]), EifError);
  assertEquals(error.code, "library_version");
  assertMatch(
    error.message,
    /libsdk\.so needs GLIBC_2\.38 of libc\.so\.6, and .*libc\.so\.6 has versions up to GLIBC_2\.34$/,
  );
  assertMatch(error.hint ?? "", /--sysroot/);
  await load({ ...needs("GLIBC_2.34"), ...old }, ["libsdk.so"]);
  await load({ ...needs("GLIBC_2.38?"), ...old }, ["libsdk.so"]);
  // The loader takes a library without versions for any.
  await load({ ...needs("GLIBC_2.38"), ...libc([]) }, ["libsdk.so"]);
  assertEquals(["GLIBC_2.10", "GLIBC_2.9", "GLIBC_2.9.1"].toSorted(compareVersions), [
    "GLIBC_2.9",
    "GLIBC_2.9.1",
    "GLIBC_2.10",
  ]);
});

Deno.test("an ELF file's libraries, folders, versions and symbols are read", async () => {
  const shape = {
    interpreter: LOADER,
    needed: ["a", "b"],
    soname: "c",
    runPath: "/x::/y",
    exported: ["one", "two"],
    undefined: ["three", "four?"],
    versions: ["liba.so", "A_1"],
    neededVersions: { "libb.so": ["B_1", "B_2?"], "libc.so": ["C_1"] },
  };
  assertEquals(await readElf(bytesSource(elfFile(shape))), {
    architecture: "x86_64",
    relocatable: false,
    interpreter: LOADER,
    soname: "c",
    needed: ["a", "b"],
    runPath: ["/x", "/y"],
    exported: new Set(["one", "two"]),
    undefined: ["three"],
    versions: ["liba.so", "A_1"],
    neededVersions: [{ library: "libb.so", version: "B_1" }, { library: "libc.so", version: "C_1" }],
    moduleInfo: undefined,
  });
  assertEquals((await readElf(bytesSource(elfFile({ machine: 183 })))).architecture, "aarch64");
});

Deno.test("a function that is in neither a library's own libraries nor the program's is reported as missing", async () => {
  const file = async (name: string, shape: ElfShape, ...needs: readonly string[]): Promise<LoadedFile> => ({
    path: `/${name}`,
    from: name,
    elf: await readElf(bytesSource(elfFile(shape))),
    needs: new Map(needs.map((needed) => [needed, `/${needed}`])),
  });
  const loaded = [
    await file("program", { exported: ["of_program"] }),
    await file("sdk", { undefined: ["of_program", "of_other", "of_libc", "of_nobody", "perhaps?"] }, "libc"),
    await file("libc", { exported: ["of_libc"] }),
    await file("other", { exported: ["of_other"] }),
  ];
  assertEquals(missingSymbols("/sdk", { loaded, program: "/program" }), [
    // It is loaded, but not by a file whose functions the SDK's library can use.
    "of_other",
    "of_nobody",
  ]);
});

const SHAPED = elfFile({
  interpreter: LOADER,
  needed: ["a"],
  exported: ["a"],
  versions: ["V"],
  neededVersions: { a: ["A"] },
});
/** Where the file's sections are described, in the order of tests/fixtures/elf.ts. */
const TABLE = Number(new DataView(SHAPED.buffer).getBigUint64(40, true));
const [DYNAMIC, NEEDED] = [TABLE + 64, TABLE + 4 * 64] as const;
/** Where a section's bytes are. */
const contentOf = (section: number) => Number(new DataView(SHAPED.buffer).getBigUint64(section + 24, true));
const FF8 = [255, 255, 255, 255, 255, 255, 255, 255];
const set = (at: number, ...values: readonly number[]) => {
  const bytes = SHAPED.slice();
  bytes.set(values, at);
  return bytes;
};
/** Files that no loader would load, and what is said of them. */
const BAD_ELF: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["empty", new Uint8Array(0), /not an ELF file/],
  ["32-bit", set(4, 1), /64-bit/],
  ["cut off", SHAPED.slice(0, 100), /cut short/],
  ["with 65535 sections", set(60, 255, 255), /cut short/],
  ["with a dynamic section near 2^64", set(DYNAMIC + 24, ...FF8), /cut short/],
  ["with a name beyond the strings", set(contentOf(DYNAMIC) + 8, 200), /a name does not end/],
  ["with an interpreter that is not a path", elfFile({ interpreter: "ld.so" }), /interpreter is "ld.so"/],
  ["with a chain in a circle", circle(), /needs more than 4096 versions/],
];

/** A version that is followed by itself. */
function circle(): Uint8Array {
  const bytes = set(contentOf(NEEDED) + 2, 255, 255);
  bytes.set([0, 0, 0, 0], contentOf(NEEDED) + 16 + 12);
  return bytes;
}
for (const [what, bytes, message] of BAD_ELF) {
  Deno.test(`an ELF file ${what} is refused`, async () => {
    const error = await assertRejects(() => readElf(bytesSource(bytes, "a.so")), EifError);
    assertEquals(error.code, "elf_malformed");
    assertMatch(error.message, message);
  });
}
