/**
 * What each program may do, each permission with its reason. `deno task` and `deno task compile` take the same lists; the names of variables are those of the
 * programs' option tables. As a program it prints the flags of one: `deno run scripts/permissions.ts dev`.
 *
 * @module
 */
import { LIBRARY_FILES } from "../ffi/constants.ts";
import { LIBC_PATHS } from "../ffi/libc.ts";
import { PROGRAMS } from "../lib/ctl/doctor/check.ts";
import type { OptionSpec } from "../lib/shared/cli/options.ts";
import { NITRO_OPTIONS, SERVE_OPTIONS } from "../lib/shared/cli/serve_options.ts";

/** A permission, and why a program has it. */
export interface Permission {
  readonly flag: string;
  readonly why: string;
}

const LIBC = `--allow-ffi=${LIBC_PATHS.join(",")}`;

function environmentNames(specs: readonly OptionSpec[]): string {
  return specs.flatMap((spec) => spec.env ?? []).join(",");
}

/** Where the production binary is, and where it listens. */
interface ProductionPlace {
  readonly directory: string;
  /** The binary's file name. */
  readonly binary: string;
  readonly port: number;
  readonly testNet: readonly string[];
}

/** What the production binary may do. Nothing else: no files, no other hosts, no other programs. */
export function productionPermissions(
  { directory, binary, port, testNet }: ProductionPlace,
): readonly Permission[] {
  const libraries = Object.values(LIBRARY_FILES).map((file) => `${directory}/${file}`);
  return [
    { flag: `--allow-net=${[`vsock:-1:${port}`, ...testNet].join(",")}`, why: "listens on vsock" },
    {
      flag: `--allow-ffi=${[...libraries, ...LIBC_PATHS].join(",")}`,
      why:
        "calls the AWS Nitro Enclaves SDK; opens /dev/nsm; has libc confine its children. FFI allows reading files and running any code, so it is given up before serving",
    },
    {
      flag: `--allow-run=${directory}/${binary}`,
      why: "starts this binary again as an SDK process or a workflow process, and no other",
    },
    { flag: `--allow-env=${environmentNames([...SERVE_OPTIONS, ...NITRO_OPTIONS])}`, why: "its own options" },
  ];
}

/** Where a program is that starts itself again: Deno, where it runs from source. */
const SELF = Deno.execPath();

/** What the programs may do that run on a host, from source or compiled. */
export const PERMISSIONS = {
  dev: [
    { flag: `--allow-run=${SELF}`, why: "starts this program again as a workflow process, and no other" },
    { flag: "--allow-net", why: "listens where --listen says, and calls the KMS of --kms-endpoint-url" },
    { flag: "--allow-read", why: "Unix sockets, the files of the local KMS and of the simulated NSM" },
    { flag: "--allow-write", why: "Unix sockets, the files of the local KMS and of the simulated NSM" },
    {
      flag: LIBC,
      why:
        "looks for /dev/nsm, where it must not run; has libc confine workflow processes. Given up before it serves",
    },
    {
      flag: `--allow-env=${environmentNames(SERVE_OPTIONS)},KMS,KMS_LOCAL_FILE,KMS_ENDPOINT_URL`,
      why: "its own options",
    },
  ],
  ctl: [
    { flag: "--allow-net", why: "the enclave, AWS, the bridge's and the emulator's listeners" },
    { flag: "--allow-read", why: "images, measurements, policies and stores, where the user says" },
    { flag: "--allow-write", why: "images, policies, keys and stores, where the user says" },
    { flag: "--allow-env", why: "its own options, and AWS's provider chain, which reads many variables" },
    { flag: "--allow-sys", why: "the AWS SDK names the system in its requests" },
    { flag: LIBC, why: "SQLite's lock on a store, through libc" },
    {
      // From PATH; they need not be there.
      flag: `--allow-run=${[...PROGRAMS, "vsock-proxy", "systemd-notify", "git", "deno"].join(",")}`,
      why:
        "doctor looks at the instance; up runs nitro-cli and vsock-proxy, and tells systemd; eif reproduce checks a commit out and compiles it",
    },
  ],
  "dry-run": [
    { flag: "--allow-net=127.0.0.1", why: "the service and its clients, over loopback" },
    { flag: LIBC, why: "looks for /dev/nsm, where it must not run" },
  ],
  fuzz: [
    { flag: "--allow-read", why: "images, documents and policies to begin with" },
    { flag: LIBC, why: "the kernel's random number generator" },
    { flag: "--allow-env=LOG_STREAM,LOG_TOKENS", why: "variables that the YAML parser looks at" },
  ],
  bench: [
    { flag: "--allow-run", why: "services, compilers and the load generator as processes" },
    { flag: "--allow-read", why: "sources, and what was built of them" },
    { flag: "--allow-write", why: "builds, and the tables of the documents" },
    { flag: "--allow-net=127.0.0.1", why: "services over loopback" },
    { flag: "--allow-ffi=tests/native/build", why: "the stand-ins for the SDK, and AWS-LC" },
    {
      flag: "--allow-env=HOME,XDG_CACHE_HOME,WS_NO_BUFFER_UTIL,WS_NO_UTF_8_VALIDATE",
      why: "the cache of builds; variables that ethers looks at",
    },
  ],
} as const satisfies Readonly<Record<string, readonly Permission[]>>;

/** The permissions of a program that is compiled to this absolute path. */
export function compiledPermissions(name: keyof typeof PERMISSIONS, path: string): readonly Permission[] {
  return PERMISSIONS[name].map(({ flag, why }) => ({
    flag: flag === `--allow-run=${SELF}` ? `--allow-run=${path}` : flag,
    why,
  }));
}

if (import.meta.main) {
  const found = Object.entries(PERMISSIONS).find(([name]) => name === Deno.args[0]);
  if (found === undefined) throw new TypeError(`No program is named ${Deno.args[0]}`);
  console.log(found[1].map(({ flag }) => flag).join(" "));
}
