/**
 * `host table create`.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions } from "../../lib/cli/options.ts";
import { COMMON_OPTIONS } from "../../lib/cli/serve.ts";
import { AWS_OPTIONS, credentialSource, type HostIo, openStore, STORE_OPTIONS } from "./io.ts";

/** Commands of the group. */
export const TABLE_COMMANDS = ["create"] as const;

const SPECS = [
  ...STORE_OPTIONS.map((spec) => spec.name === "store" ? { ...spec, default: "dynamodb" } : spec),
  ...AWS_OPTIONS,
  {
    name: "json",
    help: "print the result as JSON",
  },
  ...COMMON_OPTIONS,
];

/** Makes the table, or finds it there. */
export async function runTable(_command: string, argv: readonly string[], io: HostIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) {
    return io.stdout(`usage: deno task host table create [options]\n\n${helpLines(SPECS)}\n`), EXIT.ok;
  }
  await using store = await openStore(options, io, credentialSource(options, io));
  const outcome = await store.createTable();
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ store: store.description, outcome })}\n`
      : `${store.description}: ${outcome === "created" ? "created" : "was there already"}\n`,
  );
  return EXIT.ok;
}
