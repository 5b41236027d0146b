/**
 * The entry point of `denclavectl`, the command line for use outside the enclave.
 *
 * @module
 */
import { runEntry } from "../lib/cli/entry.ts";
import type { CtlIo } from "../lib/ctl/io.ts";
import { describeCtlFailure, runCtl } from "../lib/ctl/main.ts";

const encoder = new TextEncoder();
const io: CtlIo = {
  stdout: (text) => void Deno.stdout.writeSync(encoder.encode(text)),
  stderr: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
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
