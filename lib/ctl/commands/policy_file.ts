/**
 * Fills a command's options from `denclave-policy.yaml`. Flags and environment variables override the file.
 *
 * @module
 */
import { parsePolicyIntent, POLICY_FILE, type PolicyIntent } from "../config/policy_intent.ts";
import { type Options, type OptionSpec, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { type CtlIo, readInput } from "../terminal/io.ts";

/** The option that names the policy file. */
export const POLICY_FILE_OPTION = {
  name: "file",
  short: "f",
  value: "FILE",
  help: `the policy file (default ${POLICY_FILE} in the current folder, where there is one)`,
} as const satisfies OptionSpec;

async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isFile }) => isFile, () => false);
}

/** A path in the file is relative to the file's folder. */
function beside(file: string, path: string): string {
  const slash = file.lastIndexOf("/");
  return path.startsWith("/") || slash === -1 ? path : `${file.slice(0, slash + 1)}${path}`;
}

function valuesOf(intent: PolicyIntent, file: string): ReadonlyMap<string, readonly string[]> {
  return new Map([
    ["key", [intent.key]],
    ["parent", intent.parents],
    ["admin", intent.administrators],
    ["reviewed", intent.administrators],
    ["issuer", intent.issuers],
    ["inspect", intent.inspect ? ["true"] : []],
    ["measurements", intent.builds.map((path) => beside(file, path))],
  ]);
}

/**
 * Parses a command line, and takes missing options from the policy file.
 *
 * @param positionals how many arguments that are no options the command takes at most
 * @param take the names of the options that the file may fill for this command line
 * @throws {UsageError | ConfigError}
 */
export async function parseWithPolicyFile(
  specs: readonly OptionSpec[],
  argv: readonly string[],
  io: CtlIo,
  { positionals = 0, take = () => specs.map(({ name }) => name) }: {
    readonly positionals?: number;
    readonly take?: (options: Options) => readonly string[];
  } = {},
): Promise<Options> {
  const options = parseOptions(specs, argv, io.env, { positionals });
  const given = options.text("file");
  if (options.on("help") || (given === undefined && !await isFile(POLICY_FILE))) return options;
  const file = given ?? POLICY_FILE;
  const intent = parsePolicyIntent(await readInput(file), file);
  const key = options.text("key");
  if (key !== undefined && key !== intent.key) {
    throw new UsageError(
      `${file} is about ${intent.key}, and --key names ${key}`,
      "Leave one of them out, or give the other key's file with -f.",
    );
  }
  const known = take(options);
  const values = [...valuesOf(intent, file)]
    .filter(([name, list]) =>
      known.includes(name) && specs.some((spec) => spec.name === name) && list.length > 0
    );
  return options.filled(new Map(values));
}
