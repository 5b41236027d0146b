/** The production entry, run from source. */
import { LIBC_PATHS } from "../../ffi/libc.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { testProduction } from "./production_suite.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const LIBRARIES = ["libnsm.so", "libaws-c-common.so", "libaws-nitro-enclaves-sdk-c.so"].map((file) =>
  `${NATIVE_DIR}/${file}`
);

testProduction({
  name: "from source",
  command: Deno.execPath(),
  prefix: [
    "run",
    "--quiet",
    "--no-prompt",
    `--config=${ROOT}deno.json`,
    "--allow-net=127.0.0.1",
    `--allow-ffi=${[...LIBRARIES, ...LIBC_PATHS].join(",")},/nonexistent/libaws-c-common.so`,
    "--allow-env",
    "--allow-run",
    `--allow-read=${ROOT}`,
    `${ROOT}main.ts`,
  ],
  libraryDir: NATIVE_DIR,
});
