/**
 * `denclavectl kms create-key`.
 *
 * @module
 */
import { EXIT, helpLines, parseOptions, UsageError } from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { formatFields } from "../terminal/columns.ts";
import { AWS_OPTIONS, credentialSource, type CtlIo, requireRegion } from "../terminal/io.ts";

/** Commands of the group. */
export const KMS_COMMANDS = ["create-key"] as const;

const SPECS = [
  ...AWS_OPTIONS,
  { name: "alias", value: "NAME", help: "give it this alias" },
  { name: "description", value: "TEXT", help: "the key's description" },
  {
    name: "tag",
    value: "K=V",
    multiple: true,
    help: "add a tag; repeat it or separate with commas for more",
  },
  { name: "rotation", help: "enable yearly rotation of the key material" },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `usage: denclavectl kms create-key -r <region> [options]

Makes a symmetric key for encrypting and decrypting. Its policy is KMS's default one, which lets the account's
administrators do anything: give it one with PCR conditions before it guards a secret.

${helpLines(SPECS)}
`;

function tagsOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 1) throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --tag`, "Write name=value.");
    return [pair.slice(0, equals), pair.slice(equals + 1)];
  }));
}

/** Makes a key. */
export async function runKms(_command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const alias = options.text("alias")?.replace(/^alias\//, "");
  if (alias !== undefined && !/^(?!aws\/)[A-Za-z0-9/_-]{1,250}$/.test(alias)) {
    throw new UsageError(
      `Cannot use ${JSON.stringify(alias)} for --alias`,
      "Letters, digits, /, _ and - are allowed; aws/ is AWS's own.",
    );
  }
  const region = requireRegion(options, io);
  const { createKey } = await import("../client/kms_keys.ts");
  const created = await createKey({
    region,
    credentials: credentialSource(options, io),
    alias,
    description: options.text("description"),
    tags: tagsOf(options.list("tag")),
    rotation: options.on("rotation"),
    endpoint: options.text("endpoint-url"),
  });
  io.stdout(
    options.on("json") ? `${JSON.stringify(created)}\n` : `${
      formatFields({
        key: created.arn,
        alias: created.alias,
        rotation: created.rotation ? "every year" : "off",
      })
    }\n`,
  );
  return EXIT.ok;
}
