/** `denclavectl sdk check`: the report on a folder of libraries, including those of the tests. Needs the stand-ins, binutils and a C compiler. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { FileSource, readElf } from "../../lib/ctl/eif/mod.ts";
import { elfFile, SDK_EXPORTS } from "../fixtures/elf.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { type FileContent, Folder } from "../helpers/folder.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const SDK = `${NATIVE_DIR}/libaws-nitro-enclaves-sdk-c.so`;

async function output(command: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
  assertEquals(success, true, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** The C library of this machine. */
async function libc(): Promise<string> {
  const [, path = ""] = /libc\.so\.6 => (\S+)/.exec(await output("ldd", SDK)) ?? [];
  return path;
}

Deno.test("symbols and versions of real libraries are those that readelf shows", async () => {
  for (const path of [SDK, `${NATIVE_DIR}/libaws-c-common.so`, await libc()]) {
    using file = await FileSource.open(path);
    const elf = await readElf(file);
    const rows = [
      ...(await output("readelf", "--dyn-syms", "--wide", path)).matchAll(
        /^ +\d+: [0-9a-f]+ +\S+ +\S+ +(LOCAL|GLOBAL|WEAK|UNIQUE) +\S+ +(\S+) ([^@\s]+)/gm,
      ),
    ].filter(([, binding]) => binding !== "LOCAL");
    const names = (keep: (binding: string, section: string) => boolean) =>
      new Set(
        rows.filter(([, binding = "", section = ""]) => keep(binding, section)).map(([, , , name]) => name),
      );
    assertEquals(
      elf.exported as ReadonlySet<string | undefined>,
      names((_, section) => section !== "UND"),
    );
    assertEquals(
      new Set<string | undefined>(elf.undefined),
      names((binding, section) => section === "UND" && binding !== "WEAK"),
    );
    const versions = await output("readelf", "--version-info", "--wide", path);
    const [defined = "", needed = ""] = versions.split("Version needs section");
    assertEquals(
      elf.versions,
      [...(/Version definition section/.test(defined) ? defined : "").matchAll(
        /Index: \d+ +Cnt: \d+ +Name: (\S+)/g,
      )]
        .map(([, name = ""]) => name),
    );
    assertEquals(
      elf.neededVersions.map(({ version }) => version),
      [...needed.matchAll(/Name: (\S+) +Flags: none/g)].map(([, name = ""]) => name),
    );
  }
});

Deno.test("the libraries of the tests can be used, and what they are is said", async () => {
  const { code, stdout, stderr } = await runCtl(["sdk", "check", NATIVE_DIR]);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(
    stdout,
    /^libaws-c-common\.so +\? +libaws-c-common\.so\.1 +(x86_64|aarch64) +GLIBC_2\.[0-9.]+ +\S/m,
  );
  assertMatch(stdout, /^libaws-nitro-enclaves-sdk-c\.so +libaws-c-common\.so\.1 +\S+\/libaws-c-common\.so$/m);
  assertStringIncludes(stdout, "AES-256-GCM exported: no\n");
  assertStringIncludes(stdout, "\nok    these libraries can be used\n");
});

/** AWS's libraries, with the texts that theirs have. */
const LIBRARIES: Readonly<Record<string, FileContent>> = {
  "sdk/libaws-c-common.so": { link: "libaws-c-common.so.1.0.0" },
  "sdk/libaws-c-common.so.1.0.0": elfFile({ soname: "libaws-c-common.so.1", exported: SDK_EXPORTS.common }),
  "sdk/libaws-nitro-enclaves-sdk-c.so": elfFile({
    needed: ["libaws-c-common.so.1", "libc.so.6"],
    neededVersions: { "libc.so.6": ["GLIBC_2.9", "GLIBC_2.26", "GLIBC_2.4"] },
    exported: [...SDK_EXPORTS.sdk, ...SDK_EXPORTS.aead],
    tail:
      "\0aws-nitro_enclaves-sdk-c/v0.4.4\0\0OpenSSL 1.1.1 (compatible; AWS-LC 1.12.0)\0GCC: (GNU) 7.3.1 20180712\0",
  }),
  "root/lib64/ld-linux-x86-64.so.2": elfFile(),
  "root/lib64/libc.so.6": elfFile({
    soname: "libc.so.6",
    versions: ["GLIBC_2.4", "GLIBC_2.9", "GLIBC_2.26"],
  }),
  "root/lib64/libcrypto.so.3": elfFile({ soname: "libcrypto.so.3", tail: "\0OpenSSL 3.0.14 4 Jun 2024\0" }),
};

async function check(files: Readonly<Record<string, FileContent>>) {
  await using folder = await Folder.make({ ...LIBRARIES, ...files });
  const { code, stdout, stderr } = await runCtl(["sdk", "check", "sdk/", "--sysroot", "root", "--json"], {
    cwd: folder.path,
  });
  return { code, report: JSON.parse(stdout === "" ? stderr : stdout) };
}

Deno.test("versions, compiler, glibc and AES are read from the libraries", async () => {
  const { code, report } = await check({});
  assertEquals(code, 0);
  const [common, sdk] = report.libraries;
  assertEquals([common.version, common.glibc, common.soname], ["1.0.0", undefined, "libaws-c-common.so.1"]);
  assertEquals(
    [sdk.version, sdk.glibc, sdk.compiler, sdk.needs],
    ["v0.4.4", "GLIBC_2.26", "GCC: (GNU) 7.3.1", {
      "libaws-c-common.so.1": "sdk/libaws-c-common.so",
      "libc.so.6": "root/lib64/libc.so.6",
    }],
  );
  assertEquals([report.awsLc, report.aead, report.warnings, report.problems], [
    "AWS-LC 1.12.0",
    true,
    [],
    [],
  ]);
});

Deno.test("the system's OpenSSL in AWS-LC's place is a warning, and so is AES that is not exported", async () => {
  const { code, report } = await check({
    "sdk/libaws-nitro-enclaves-sdk-c.so": elfFile({
      needed: ["libaws-c-common.so.1", "libcrypto.so.3"],
      exported: SDK_EXPORTS.sdk,
    }),
  });
  assertEquals([code, report.ok, report.aead, report.openSsl], [0, true, false, "libcrypto.so.3"]);
  assertMatch(
    report.warnings.join("\n"),
    /use libcrypto\.so\.3, which is OpenSSL.*\n.*does not export AES-256-GCM/,
  );
});

Deno.test("libraries that the binary cannot use are refused as an image's build refuses them", async () => {
  const lacking = await check({
    "sdk/libaws-nitro-enclaves-sdk-c.so": elfFile({
      needed: ["libaws-c-common.so.1"],
      exported: SDK_EXPORTS.sdk.slice(1),
      undefined: ["s2n_init"],
    }),
  });
  assertEquals([lacking.code, lacking.report.ok], [1, false]);
  assertMatch(
    lacking.report.problems.map(({ message }: { readonly message: string }) => message).join("\n"),
    /lacks aws_nitro_enclaves_library_init\n.*needs s2n_init, which none of its libraries exports/,
  );
  const newer = await check({
    "root/lib64/libc.so.6": elfFile({ soname: "libc.so.6", versions: ["GLIBC_2.17"] }),
  });
  assertEquals([newer.code, newer.report.error.code], [1, "library_version"]);
  const foreign = await check({ "sdk/libaws-nitro-enclaves-sdk-c.so": elfFile({ machine: 183 }) });
  assertEquals(foreign.code, 1);
  assertMatch(foreign.report.error.message, /sdk-c\.so is for aarch64, and \S+common\.so for x86_64/);
});
