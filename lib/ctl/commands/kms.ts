/**
 * `denclavectl kms create-key`.
 *
 * @module
 */
import { type Options, UsageError } from "../../shared/cli/options.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { credentialSource, pairs, requireRegion } from "../terminal/io.ts";
import { AWS_OPTIONS, JSON_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";

/** `kms create-key` */
export const KMS_CREATE_KEY: Command = {
  path: "kms create-key",
  summary: "create a symmetric KMS key",
  usage: "-r <region> [options]",
  about:
    `Makes a symmetric key for encrypting and decrypting. Its policy is KMS's default one, which lets the account's
administrators do anything: give it one with PCR conditions before it guards a secret.`,
  options: [
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
    JSON_OPTION,
  ],
  run: create,
};

async function create(options: Options, io: CtlIo): Promise<number> {
  const alias = options.text("alias")?.replace(/^alias\//, "");
  if (alias !== undefined && !/^(?!aws\/)[A-Za-z0-9/_-]{1,250}$/.test(alias)) {
    throw new UsageError(
      `Cannot use ${JSON.stringify(alias)} for --alias`,
      "Letters, digits, /, _ and - are allowed; aws/ is AWS's own.",
    );
  }
  const region = requireRegion(options, io);
  const { createKey } = await import("../aws/kms_keys.ts");
  const created = await createKey({
    region,
    credentials: credentialSource(options, io),
    alias,
    description: options.text("description"),
    tags: pairs(options.list("tag"), "tag", "name=value"),
    rotation: options.on("rotation"),
    endpoint: options.text("endpoint-url"),
  });
  const { arn: key, rotation } = created;
  return printResult(options, io, {
    json: created,
    text: formatFields({ key, alias: created.alias, rotation: rotation ? "every year" : "off" }),
  });
}
