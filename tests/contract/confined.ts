/**
 * A child that puts up the kernel's wall, keeps its FFI permission, and tries what Deno would refuse first. Prints what worked, as JSON. For
 * `confine_test.ts`: `confined.ts <parent's process id> <sibling's process id>`.
 *
 * @module
 */
import { confineProcess } from "../../ffi/confine.ts";
import { cPath } from "../../ffi/kernel.ts";
import { openLibc } from "../../ffi/libc.ts";

const MIB = 1024 * 1024;
const [parent, sibling] = Deno.args.map(Number);
if (parent === undefined || sibling === undefined) throw new TypeError("Two process ids are needed");
const refused = confineProcess({
  parentPid: parent,
  oomScore: 1000,
  foreign: { memory: 64 * MIB, nice: 5 },
});
const libc = openLibc(
  {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    kill: { parameters: ["i32", "i32"], result: "i32" },
    ptrace: { parameters: ["i64", "i32", "usize", "usize"], result: "i64" },
    setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
    getuid: { parameters: [], result: "u32" },
    getgid: { parameters: [], result: "u32" },
    getgroups: { parameters: ["i32", "usize"], result: "i32" },
    getpriority: { parameters: ["i32", "u32"], result: "i32" },
    prctl: { parameters: ["i32", "buffer", "usize", "usize", "usize"], result: "i32" },
  },
  "try",
  Deno.dlopen,
);
const { open, kill, ptrace, setresuid, getuid, getgid, getgroups, getpriority, prctl } = libc.symbols;
const PTRACE_ATTACH = 16n;
const PR_GET_PDEATHSIG = 2;
const signal = new Int32Array(1);
prctl(PR_GET_PDEATHSIG, new Uint8Array(signal.buffer), 0n, 0n, 0n);

function allocates(length: number): boolean {
  try {
    return new Uint8Array(length).fill(1).length === length;
  } catch (thrown) {
    if (thrown instanceof RangeError) return false;
    throw thrown;
  }
}

const worked: string[] = [];
for (const pid of [parent, sibling]) {
  const who = pid === parent ? "parent" : "sibling";
  for (const file of ["mem", "environ", "maps", "fd/0"]) {
    if (open(cPath(`/proc/${pid}/${file}`), 0) >= 0) worked.push(`${who} ${file}`);
  }
  if (kill(pid, 0) === 0) worked.push(`${who} kill`);
  if (ptrace(PTRACE_ATTACH, pid, 0n, 0n) === 0n) worked.push(`${who} ptrace`);
}
if (setresuid(0, 0, 0) === 0) worked.push("root again");
console.log(JSON.stringify({
  refused,
  worked,
  ids: [getuid(), getgid(), getgroups(0, 0n)],
  nice: getpriority(0, 0),
  diesWithParent: signal[0],
  small: allocates(16 * MIB),
  large: allocates(512 * MIB),
}));
