/**
 * `denclavectl policy iam`.
 *
 * @module
 */
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { EXIT, UsageError } from "../../shared/cli/options.ts";
import { iamPolicy } from "../policy/iam.ts";
import type { Command } from "../terminal/command.ts";
import { tableName } from "../terminal/io.ts";
import { KEY_OPTION, TABLE_OPTION } from "../terminal/options.ts";

/** `policy iam` */
export const POLICY_IAM: Command = {
  path: "policy iam",
  summary: "print the IAM policy of the parent's role",
  usage: "-k <key arn> [-t <table>]",
  about:
    "Prints the IAM policy of the parent's role. It lets the parent call KMS; the key's own policy decides what KMS returns.",
  options: [
    { ...KEY_OPTION, multiple: true, help: "the KMS key; repeat for more" },
    TABLE_OPTION,
    { name: "no-table", help: "do not allow DynamoDB: the accounts are stored elsewhere" },
  ],
  run: (options, io) => {
    const keys = options.list("key").map(parseKeyArn);
    if (keys.length === 0) {
      throw new UsageError("Which KMS key?", "Give -k <key arn>: denclavectl kms create-key prints it.");
    }
    const table = options.on("no-table") ? undefined : tableName(options);
    return io.stdout(`${JSON.stringify(iamPolicy({ keys, table }), null, 2)}\n`), EXIT.ok;
  },
};
