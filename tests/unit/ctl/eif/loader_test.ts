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
  readElfSymbols,
  Sysroot,
} from "../../../../lib/ctl/eif/mod.ts";
import { elfFile } from "../../../fixtures/elf.ts";
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

Deno.test("RPATH counts for what is loaded below, RUNPATH for the file itself alone", async () => {
  const files = { "root/own/liba.so": elfFile({ needed: ["libb.so"] }), "root/own/libb.so": elfFile() };
  assertEquals(
    Object.keys(await load({ ...files, program: program({ needed: ["liba.so"], rpath: "/own" }) })),
    [LOADER, "/app/program", "/own/liba.so", "/own/libb.so"],
  );
  const runPath = { ...files, program: program({ needed: ["liba.so"], runPath: "/own" }) };
  await assertRejects(() => load(runPath), EifError, '"libb.so" in the folders of');
});

Deno.test("a file with a RUNPATH has no RPATH: neither its own nor those of the files above it", async () => {
  await assertRejects(
    () =>
      load({
        program: program({ needed: ["liba.so"], rpath: "/own" }),
        "root/own/liba.so": elfFile({ needed: ["libb.so"], runPath: "/nothing" }),
        "root/own/libb.so": elfFile(),
      }),
    EifError,
    "/own/liba.so needs",
  );
  await assertRejects(
    () =>
      load({
        program: program({ needed: ["liba.so"], rpath: "/own", runPath: "/nothing" }),
        "root/own/liba.so": elfFile(),
      }),
    EifError,
    "/app/program needs",
  );
});

Deno.test("the program's RPATH counts for the libraries that it opens itself", async () => {
  const files = { "lib/libsdk.so": elfFile({ needed: ["libb.so"] }), "root/own/libb.so": elfFile() };
  assertEquals(
    Object.keys(await load({ ...files, program: program({ rpath: "/own" }) }, ["libsdk.so"])).at(-1),
    "/own/libb.so",
  );
  await assertRejects(
    () => load({ ...files, program: program({ runPath: "/own" }) }, ["libsdk.so"]),
    EifError,
    "/app/libsdk.so needs",
  );
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

Deno.test("symbols and versions are read", async () => {
  const source = bytesSource(elfFile({
    exported: ["one", "two"],
    undefined: ["three", "four?"],
    versions: ["liba.so", "A_1"],
    neededVersions: { "libb.so": ["B_1", "B_2?"], "libc.so": ["C_1"] },
  }));
  assertEquals(await readElfSymbols(source), { exported: new Set(["one", "two"]), undefined: ["three"] });
  const { versions, neededVersions } = await readElf(source);
  assertEquals([versions, neededVersions], [["liba.so", "A_1"], [
    { library: "libb.so", version: "B_1" },
    { library: "libc.so", version: "C_1" },
  ]]);
});

Deno.test("a function that is in neither a library's own libraries nor the program's is reported as missing", async () => {
  const source = (name: string) => {
    const files: Record<string, Uint8Array<ArrayBuffer>> = {
      program: elfFile({ exported: ["of_program"] }),
      sdk: elfFile({ undefined: ["of_program", "of_other", "of_libc", "of_nobody", "perhaps?"] }),
      libc: elfFile({ exported: ["of_libc"] }),
      other: elfFile({ exported: ["of_other"] }),
    };
    return Promise.resolve(bytesSource(files[name] ?? new Uint8Array(), name));
  };
  const file = async (name: string, ...needs: readonly string[]): Promise<LoadedFile> => ({
    path: `/${name}`,
    from: name,
    elf: await readElf(await source(name)),
    needs: new Map(needs.map((needed) => [needed, `/${needed}`])),
  });
  const loaded = [
    await file("program"),
    await file("sdk", "libc"),
    await file("libc"),
    await file("other"),
  ];
  assertEquals(await missingSymbols("/sdk", { loaded, program: "/program" }, source), [
    // It is loaded, but not by a file whose functions the SDK's library can use.
    "of_other",
    "of_nobody",
  ]);
});

/** Tables with sizes that are too large. */
const BAD_TABLES: readonly (readonly [string, (bytes: Uint8Array<ArrayBuffer>) => void, RegExp])[] = [
  ["a chain of versions without end", (bytes) => set(bytes, 0x6fff_fffe, 12, 0x0100_0000), /beyond its end/],
  ["a million symbols", (bytes) => set(bytes, 4, 4, 0xff_ffff), /claims 16777215 symbols/],
  ["more symbols than bytes", (bytes) => set(bytes, 4, 4, 0xffff), /beyond its end/],
];

/** Writes a word into the table of a tag. */
function set(bytes: Uint8Array<ArrayBuffer>, tag: number, at: number, word: number): void {
  const view = new DataView(bytes.buffer);
  for (let entry = 64 + 2 * 56;; entry += 16) {
    if (view.getBigUint64(entry, true) !== BigInt(tag)) continue;
    view.setUint32(Number(view.getBigUint64(entry + 8, true)) - 0x40_0000 + at, word, true);
    return;
  }
}
for (const [what, change, message] of BAD_TABLES) {
  Deno.test(`an ELF file with ${what} is refused`, async () => {
    const bytes = elfFile({ exported: ["a"], neededVersions: { a: ["A"] } });
    change(bytes);
    const source = bytesSource(bytes, "a.so");
    const error = await assertRejects(async () => {
      await readElfSymbols(source);
      await readElf(source);
    }, EifError);
    assertEquals(error.code, "elf_malformed");
    assertMatch(error.message, message);
  });
}
