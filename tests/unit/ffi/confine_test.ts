/** What a child asks the kernel for, in which order, and what it makes of refusals. `tests/contract/confine_test.ts` has the real kernel. */
import { assertEquals, assertThrows } from "@std/assert";
import { confineProcess, protectProcess } from "../../../ffi/confine.ts";
import type { Dlopen } from "../../../ffi/library.ts";
import { EnclaveError } from "../../../lib/shared/errors.ts";

const PARENT = 7;
const EPERM = 1;
const FOREIGN = { memory: 1024, nice: 5 };

/** A C library that notes what it was asked, and refuses some of it. */
function libcWith(results: Readonly<Record<string, number>> = {}) {
  const asked: string[] = [];
  const answer = (name: string, result: number | bigint) => (...args: unknown[]) => {
    const plain = args.filter((arg) => !(arg instanceof Uint8Array));
    asked.push([name, ...plain].join(" "));
    return results[name] ?? result;
  };
  let isRead = false;
  const symbols = {
    open: answer("open", 3),
    close: () => 0,
    // /proc/self/status
    read: (_fd: number, into: Uint8Array) => {
      if (isRead) return 0n;
      isRead = true;
      return BigInt(new TextEncoder().encodeInto("VmData:\t  4 kB\n", into).written);
    },
    write: (_fd: number, bytes: Uint8Array) => {
      asked.push(`write ${new TextDecoder().decode(bytes)}`);
      return results["write"] ?? BigInt(bytes.length);
    },
    __errno_location: () => 0n,
    read_memory: (into: Uint8Array) => (into[0] = EPERM, 0n),
    prctl: answer("prctl", 0),
    getppid: () => results["getppid"] ?? PARENT,
    setpriority: answer("setpriority", 0),
    setrlimit: (_: number, limit: Uint8Array<ArrayBuffer>) => {
      asked.push(`setrlimit ${new BigUint64Array(limit.slice().buffer).join(" ")}`);
      return results["setrlimit"] ?? 0;
    },
    setgroups: answer("setgroups", 0),
    setresgid: answer("setresgid", 0),
    setresuid: answer("setresuid", 0),
  };
  const dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>() =>
    ({ symbols, close: () => {} }) as unknown as Deno.DynamicLibrary<S>;
  return { dlopen, asked };
}

Deno.test("the wall of a workflow process is put up in this order, and the signal for the end of the parent comes last", () => {
  const { dlopen, asked } = libcWith();
  assertEquals(confineProcess({ parentPid: PARENT, oomScore: 1000, foreign: FOREIGN }, dlopen), []);
  assertEquals(asked.filter((call) => !call.startsWith("open")), [
    "write 1000",
    "setpriority 0 0 5",
    `setrlimit ${4096 + 1024} ${4096 + 1024}`,
    "setgroups 0 0",
    "setresgid 65534 65534 65534",
    "setresuid 65534 65534 65534",
    "prctl 1 9 0 0 0",
  ]);
});

Deno.test("an SDK process keeps its user and its memory", () => {
  const { dlopen, asked } = libcWith();
  assertEquals(confineProcess({ parentPid: PARENT, oomScore: 500 }, dlopen), []);
  assertEquals(asked.filter((call) => !call.startsWith("open")), ["write 500", "prctl 1 9 0 0 0"]);
});

for (const step of ["setpriority", "setrlimit", "setgroups", "setresgid", "setresuid"]) {
  Deno.test(`a refusal of ${step} is named`, () => {
    const { dlopen } = libcWith({ [step]: -1 });
    const refused = confineProcess({ parentPid: PARENT, oomScore: 1000, foreign: FOREIGN }, dlopen);
    assertEquals(refused, [`${step === "setrlimit" ? "RLIMIT_DATA" : step}: EPERM`]);
  });
}

for (const step of ["open", "write"]) {
  Deno.test(`a refusal of ${step} for the score is named`, () => {
    const { dlopen } = libcWith({ [step]: -1 });
    assertEquals(confineProcess({ parentPid: PARENT, oomScore: 1000 }, dlopen), ["oom_score_adj: EPERM"]);
  });
}

Deno.test("a child that the kernel would not end with its parent does not run", () => {
  assertThrows(
    () => confineProcess({ parentPid: PARENT, oomScore: 500 }, libcWith({ prctl: -1 }).dlopen),
    EnclaveError,
    "PR_SET_PDEATHSIG",
  );
});

Deno.test("a child whose parent has ended does not run", () => {
  const error = assertThrows(
    () => confineProcess({ parentPid: PARENT, oomScore: 500 }, libcWith({ getppid: 1 }).dlopen),
    EnclaveError,
  );
  assertEquals(error.code, "parent_ended");
});

Deno.test("the service gains no rights by a program's, its children neither, and its memory is its own; a refusal ends it", () => {
  const { dlopen, asked } = libcWith();
  protectProcess(dlopen);
  assertEquals(asked, ["prctl 38 1 0 0 0", "prctl 4 0 0 0 0"]);
  assertThrows(() => protectProcess(libcWith({ prctl: -1 }).dlopen), EnclaveError, "prctl failed");
});
