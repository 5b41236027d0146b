/**
 * `deno task dry-run`: the whole flow on this host, with embedded defaults: no enclave, no AWS account, no network beyond loopback. Prints each
 * step's result; the exit code is 0 only if every step succeeded.
 *
 * @module
 */
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions } from "../../shared/cli/options.ts";
import { VERSION } from "../../shared/version.ts";
import { dryRunAttestation } from "./attestation.ts";
import { dryRunMasterKey } from "./master_key.ts";
import { Report, stepPrinter } from "./report.ts";
import { dryRunSession } from "./session.ts";
import { dryRunWallet } from "./wallet.ts";

const SPECS = [
  { name: "json", help: "print the report as JSON" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `denclave dry run ${VERSION}: the whole flow on this host, no enclave, no AWS account

usage: deno task dry-run [options]
${helpLines(SPECS)}

exit codes: 0 every step did what it should, 1 one did not, 2 usage
`;

/** Runs a command line. @param colour whether to print colours; returns the exit code */
export async function runDryRun(
  argv: readonly string[],
  { stdout, colour }: { readonly stdout: (text: string) => void; readonly colour: boolean },
): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return stdout(HELP), EXIT.ok;
  if (options.on("version")) return stdout(`denclave ${VERSION}\n`), EXIT.ok;
  const json = options.on("json");
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
  } else {
    stdout(`\n${report.results.length - failed} of ${report.results.length} steps as expected, ${ms} ms\n`);
  }
  return report.ok ? EXIT.ok : EXIT.failed;
}
