/**
 * Adds an npm package for the workflow: its exact version goes into `deno.json`, and into each lock file of a program that contains the workflow.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions, UsageError } from "../lib/shared/cli/options.ts";
import { COMMON_OPTIONS } from "../lib/shared/cli/options.ts";
import { runEntry } from "../lib/shared/cli/entry.ts";
import { EnclaveError } from "../lib/shared/errors.ts";

const HELP = `usage: deno task add npm:<name>[@<version>]

Writes the package, with its exact version, into the imports of deno.json, and updates enclave.lock (what is compiled in),
deno.lock (what dev runs) and tests/deno.lock. Import it in lib/workflow.ts by its name. A package is measured: look at what it does.

options:
${helpLines(COMMON_OPTIONS)}
`;

/** The lock files of programs that contain the workflow. */
const LOCKS = ["enclave.lock", "deno.lock", "tests/deno.lock"] as const;
/** Does not contain it, but every lock file lists the imports of deno.json, and a frozen one is refused when they differ. */
const CTL = ["ctl.lock", "scripts/ctl.ts"] as const;
const SPECIFIER = /^npm:((?:@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*)(?:@([^/\s]+))?$/;

/** Runs deno. @throws {EnclaveError} with its output when it fails. */
async function deno(args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args] }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new EnclaveError(`deno ${args[0]} failed: ${new TextDecoder().decode(stderr).trim()}`, {
    code: "add_failed",
    hint: "Check the package's name and version, and that the npm registry is reachable.",
  });
}

/** The version that a specifier resolves to. */
async function resolve(specifier: string, name: string): Promise<string> {
  const info: unknown = JSON.parse(await deno(["info", "--json", "--no-config", "--no-lock", specifier]));
  const packages = typeof info === "object" && info !== null && "npmPackages" in info ? info.npmPackages : {};
  for (const found of Object.values(packages ?? {}) as readonly { name?: unknown; version?: unknown }[]) {
    if (found.name === name && typeof found.version === "string") return found.version;
  }
  throw new EnclaveError(`No version of ${specifier} was found`, { code: "add_failed" });
}

/** `deno.json` with the package among its imports; everything else as it was. */
function withImport(text: string, name: string, specifier: string): string {
  const config = JSON.parse(text) as { imports?: Record<string, string> };
  config.imports = { ...config.imports, [name]: specifier };
  return `${JSON.stringify(config, null, 2)}\n`;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(COMMON_OPTIONS, argv, undefined, { positionals: 1 });
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const [wanted = ""] = options.positionals;
  const [, name] = SPECIFIER.exec(wanted) ?? [];
  if (name === undefined) {
    throw new UsageError(
      `Cannot add ${JSON.stringify(wanted)}`,
      "Give one package of npm, such as npm:zod or npm:zod@4.1.12.",
    );
  }
  const specifier = `npm:${name}@${await resolve(wanted, name)}`;
  const config = await Deno.readTextFile("deno.json");
  await Deno.writeTextFile("deno.json", withImport(config, name, specifier));
  // The package alone: with an entry point, packages that are imported only for their types would be added as well.
  for (const lock of LOCKS) await deno(["cache", "--quiet", `--lock=${lock}`, "--frozen=false", specifier]);
  await deno(["cache", "--quiet", `--lock=${CTL[0]}`, "--frozen=false", CTL[1]]);
  console.log(`${specifier}: in deno.json, ${[...LOCKS, CTL[0]].join(", ")}`);
  return EXIT.ok;
}

if (import.meta.main) await runEntry(main);
