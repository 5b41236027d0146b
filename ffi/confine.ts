/**
 * The kernel's wall around a child, by functions of the C library: these change all threads of the process, which raw system calls do not.
 *
 * Permission: FFI on one of `LIBC_PATHS`; it can be given up afterwards.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { cPath, errnoName, Kernel } from "./kernel.ts";
import type { Dlopen } from "./library.ts";

/** fcntl.h. */
const O_WRONLY = 1;
/** linux/prctl.h. */
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
/** signal.h. */
const SIGKILL = 9n;
/** sys/resource.h, the same on x86-64 and aarch64. */
const RLIMIT_DATA = 2;
const PRIO_PROCESS = 0;
/** The user and the group of those who own nothing. */
const NOBODY = 65_534;
const STATUS_LENGTH = 16 * 1024;

/** What a child may still do. */
export interface Confinement {
  /** The process that started it, as that process reported it. */
  readonly parentPid: number;
  /** Which process the kernel ends first when memory is short: -1000 to 1000. */
  readonly oomScore: number;
  /** For a child that runs code of others. */
  readonly foreign?: {
    /** Memory that it may take beyond what it has now. Bytes. */
    readonly memory: number;
    /** By how much others come first, 0 to 19. */
    readonly nice: number;
  };
}

/**
 * Puts the wall up, in the one order that works: another user cannot change the score, and a change of the user clears the signal that ends the
 * child with its parent.
 *
 * @returns the steps that the kernel refused, with its reason
 * @throws {EnclaveError} `libc` when the C library cannot be opened, or the kernel cannot be told to end the child with its parent; `parent_ended`.
 */
export function confineProcess(
  { parentPid, oomScore, foreign }: Confinement,
  dlopen: Dlopen = Deno.dlopen,
): readonly string[] {
  using kernel = new Kernel("confine this process", dlopen);
  const { symbols } = kernel;
  const refused: string[] = [];
  const step = (name: string, result: number) => {
    if (result !== 0) refused.push(`${name}: ${errnoName(kernel.errno())}`);
  };
  const score = new TextEncoder().encode(String(oomScore));
  const fd = symbols.open(cPath("/proc/self/oom_score_adj"), O_WRONLY);
  const written = fd < 0 ? -1 : Number(symbols.write(fd, score, BigInt(score.length)));
  step("oom_score_adj", written === score.length ? 0 : -1);
  if (fd >= 0) symbols.close(fd);
  if (foreign !== undefined) {
    step("setpriority", symbols.setpriority(PRIO_PROCESS, 0, foreign.nice));
    // struct rlimit { rlim_t rlim_cur; rlim_t rlim_max }, 64 bits each.
    const limit = new BigUint64Array(2).fill(dataLength(kernel) + BigInt(foreign.memory));
    step("RLIMIT_DATA", symbols.setrlimit(RLIMIT_DATA, limit));
    step("setgroups", symbols.setgroups(0n, 0n));
    step("setresgid", symbols.setresgid(NOBODY, NOBODY, NOBODY));
    step("setresuid", symbols.setresuid(NOBODY, NOBODY, NOBODY));
  }
  if (symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n) !== 0) {
    throw failed("end together with the parent process: prctl(PR_SET_PDEATHSIG)");
  }
  // A parent that ended before that call sends no signal any more.
  if (symbols.getppid() === parentPid) return refused;
  throw new EnclaveError("The process that started this one has ended", { code: "parent_ended" });
}

/**
 * Keeps this process and all that it starts from gaining rights by a program's, and other processes of its user from reading its memory. Call it
 * on the thread that starts children.
 *
 * @throws {EnclaveError} `libc` when the C library cannot be opened, or refuses.
 */
export function protectProcess(dlopen: Dlopen = Deno.dlopen): void {
  using kernel = new Kernel("protect this process", dlopen);
  const { prctl } = kernel.symbols;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0 || prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) !== 0) {
    throw failed("protect this process: prctl");
  }
}

function failed(purpose: string): EnclaveError {
  return new EnclaveError(`Cannot ${purpose} failed`, {
    code: "libc",
    hint: "A seccomp filter may forbid prctl.",
  });
}

/** The memory that counts towards RLIMIT_DATA, most of it V8's range for code. Bytes. */
function dataLength(kernel: Kernel): bigint {
  const status = new TextDecoder().decode(kernel.readFile("/proc/self/status", STATUS_LENGTH));
  const [, kib = "0"] = /^VmData:\s+([0-9]+) kB$/m.exec(status) ?? [];
  return 1024n * BigInt(kib);
}
