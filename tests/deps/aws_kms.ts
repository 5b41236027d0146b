/**
 * What the tests alone ask KMS: of the package that the parent uses.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export {
  DescribeKeyCommand,
  GetKeyRotationStatusCommand,
  ListAliasesCommand,
} from "npm:@aws-sdk/client-kms@3.1162.0";
