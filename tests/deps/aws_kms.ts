/**
 * KMS commands that only the tests use, from the package that the parent uses.
 *
 * @module
 */
// deno-lint-ignore-file no-import-prefix
export {
  CreateAliasCommand,
  CreateKeyCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  GetKeyRotationStatusCommand,
  ListAliasesCommand,
} from "npm:@aws-sdk/client-kms@3.1162.0";
