/**
 * The entry point of `deno task dry-run`.
 *
 * @module
 */
import { runDryRun } from "../lib/dev/dry_run/mod.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { writeAll } from "../lib/shared/write_all.ts";

const stdout = (text: string) =>
  writeAll((bytes) => Deno.stdout.writeSync(bytes), new TextEncoder().encode(text));
const colour = Deno.stdout.isTerminal() && !Deno.noColor;

if (import.meta.main) await runEntry((argv) => runDryRun(argv, { stdout, colour }));
