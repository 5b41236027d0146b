/**
 * The whole flow on this host, with embedded defaults: no enclave, no AWS account, no network beyond loopback. Prints each step's result; the exit code is
 * 0 only if every step succeeded.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions } from "../lib/shared/cli/options.ts";
import { Report, stepPrinter } from "../lib/dev/dry_run/report.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { COMMON_OPTIONS } from "../lib/shared/cli/options.ts";
import { VERSION } from "../lib/shared/version.ts";
import { writeAll } from "../lib/shared/write_all.ts";
import { dryRunAttestation } from "../lib/dev/dry_run/attestation.ts";
import { dryRunMasterKey } from "../lib/dev/dry_run/master_key.ts";
import { dryRunSession } from "../lib/dev/dry_run/session.ts";
import { dryRunWallet } from "../lib/dev/dry_run/wallet.ts";

const SPECS = [
  { name: "json", help: "print the report as JSON" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `denclave dry run ${VERSION}: the whole flow on this host, no enclave, no AWS account

usage: deno task dry-run [options]
${helpLines(SPECS)}

exit codes: 0 every step did what it should, 1 one did not, 2 usage
`;

const stdout = (text: string) =>
  writeAll((bytes) => Deno.stdout.writeSync(bytes), new TextEncoder().encode(text));

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return stdout(HELP), EXIT.ok;
  if (options.on("version")) return stdout(`denclave ${VERSION}\n`), EXIT.ok;
  const json = options.on("json");
  const colour = Deno.stdout.isTerminal() && !Deno.noColor;
  const report = new Report(json ? undefined : stepPrinter(stdout, colour));
  const started = performance.now();
  await dryRunSession(report);
  await dryRunWallet(report);
  await dryRunMasterKey(report);
  await dryRunAttestation(report);
  const failed = report.results.filter((result) => !result.ok).length;
  const ms = Math.round(performance.now() - started);
  if (json) {
    stdout(`${JSON.stringify({ ok: report.ok, ms, version: VERSION, steps: report.results }, null, 2)}\n`);
  } else {stdout(
      `\n${report.results.length - failed} of ${report.results.length} steps as expected, ${ms} ms\n`,
    );}
  return report.ok ? EXIT.ok : EXIT.failed;
}

if (import.meta.main) await runEntry(main);
