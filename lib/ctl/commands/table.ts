/**
 * `denclavectl account create-table`.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { AWS_OPTIONS, credentialSource, type CtlIo, openStore, STORE_OPTIONS } from "../terminal/io.ts";

const SPECS = [
  ...STORE_OPTIONS.map((spec) => spec.name === "store" ? { ...spec, default: "dynamodb" } : spec),
  ...AWS_OPTIONS,
  {
    name: "json",
    help: "print the result as JSON",
  },
  ...COMMON_OPTIONS,
];

/** Creates the table if it does not exist. */
export async function createTable(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) {
    return io.stdout(`usage: denclavectl account create-table [options]\n\n${helpLines(SPECS)}\n`), EXIT.ok;
  }
  await using store = await openStore(options, io, credentialSource(options, io));
  const outcome = await store.createTable();
  io.stdout(
    options.on("json")
      ? `${JSON.stringify({ store: store.description, outcome })}\n`
      : `${store.description}: ${outcome === "created" ? "created" : "exists already"}\n`,
  );
  return EXIT.ok;
}
