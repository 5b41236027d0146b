/**
 * The entry point of `denclavectl`, the command line for use outside the enclave.
 *
 * @module
 */
import { runEntry } from "../lib/cli/entry.ts";
import type { CtlIo } from "../lib/ctl/io.ts";
import { describeCtlFailure, runCtl } from "../lib/ctl/main.ts";
import { writeAll } from "../lib/write_all.ts";

const encoder = new TextEncoder();
const io: CtlIo = {
  stdout: (text) => writeAll((bytes) => Deno.stdout.writeSync(bytes), encoder.encode(text)),
  stderr: (text) => writeAll((bytes) => Deno.stderr.writeSync(bytes), encoder.encode(text)),
  stdoutIsTerminal: Deno.stdout.isTerminal(),
  stderrIsTerminal: Deno.stderr.isTerminal(),
  env: (name) => Deno.env.get(name),
  untilSignal: () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => resolve(signal));
    }
    return promise;
  },
};

if (import.meta.main) await runEntry((argv) => runCtl(argv, io), describeCtlFailure);
