/** What `eif reproduce` reads of a provenance, and what it says differs. */
import { assertEquals, assertThrows } from "@std/assert";
import { compareInputs, comparePcrs, parseProvenance } from "../../../../lib/ctl/image/reproduction.ts";
import { EifError } from "../../../../lib/ctl/eif/errors.ts";

const COMMIT = "ab".repeat(20);
const HASH = "cd".repeat(32);
const PROVENANCE = {
  image: { file: "enclave.eif", bytes: 1, sha256: HASH, architecture: "x86_64" },
  measurements: { PCR0: "00", PCR1: "11", PCR2: "22" },
  program: {
    file: "denclave",
    sha256: HASH,
    deno: "2.9.6",
    bundle_sha256: HASH,
    git_commit: COMMIT,
    dirty: false,
    options: { flavour: "production", "install-dir": "/app", "test-net": [] },
  },
  source_date_epoch: 0,
  compression: "none",
  cmdline: "reboot=k",
  cmd: ["/app/denclave"],
  env: { HOME: "/" },
  metadata: {
    ImageName: "denclave",
    ImageVersion: "1.0",
    BuildMetadata: { OperatingSystem: "Linux", KernelVersion: "4.14" },
  },
  inputs: [{ role: "kernel", file: "bzImage", bytes: 5, sha256: HASH }],
};

Deno.test("a provenance as eif build writes it is read", () => {
  const read = parseProvenance(JSON.stringify(PROVENANCE));
  assertEquals([read.program.git_commit, read.command, read.kernel.kernelVersion, read.program.options], [
    COMMIT,
    ["/app/denclave"],
    "4.14",
    PROVENANCE.program.options,
  ]);
});

const REFUSED: readonly (readonly [string, unknown, RegExp])[] = [
  [
    "changes that were not committed",
    { program: { ...PROVENANCE.program, dirty: true } },
    /uncommitted changes to ab/,
  ],
  ["no commit", { program: { ...PROVENANCE.program, git_commit: null } }, /outside a git repository/],
  [
    "a commit that is an option of git",
    { program: { ...PROVENANCE.program, git_commit: "--upload-pack=x" } },
    /outside a git repository/,
  ],
  ["no record of the program", { program: null }, /does not say what the program was made from/],
  ["ramdisks", { cmd: null }, /made from ramdisks/],
  ["no inputs", { inputs: null }, /inputs/],
];
for (const [what, change, expected] of REFUSED) {
  Deno.test(`a provenance with ${what} is refused, and says why`, () => {
    const text = JSON.stringify({ ...PROVENANCE, ...change as object });
    const { message } = assertThrows(() => parseProvenance(text), EifError);
    assertEquals(expected.test(message), true, message);
  });
}

Deno.test("inputs are compared by role: one that differs, one that lacks, one too many", () => {
  const input = (role: string, sha256: string, bytes = 1) => ({ role, sha256, bytes, file: `${role}.file` });
  const recorded = [input("kernel", "a"), input("init", "b"), input("/app/lib.so", "c", 10)];
  const here = [input("kernel", "a"), input("/app/lib.so", "d", 11), input("/app/more", "e")];
  assertEquals(compareInputs(recorded, here), [
    { name: "kernel", difference: undefined },
    { name: "init", difference: "recorded, but not among the inputs here" },
    {
      name: "/app/lib.so",
      difference: "recorded 10 bytes, SHA-256 c; here 11 bytes, SHA-256 d (/app/lib.so.file)",
    },
    { name: "/app/more", difference: "among the inputs here, but not recorded" },
  ]);
});

Deno.test("PCR 0 to 2 are compared, in either case; PCR 8 is the signer's", () => {
  const compared = comparePcrs("x", { PCR0: "AB", PCR1: "00", PCR8: "ff" }, { PCR0: "ab", PCR1: "11" });
  assertEquals(compared, [
    { name: "PCR0 of x", difference: undefined },
    { name: "PCR1 of x", difference: "00; here 11" },
  ]);
});
