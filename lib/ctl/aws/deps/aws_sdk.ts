/**
 * The parts of the AWS SDK that the parent uses. In a lock file of their own (`ctl.lock`): none of it is in the enclave, and the dry run
 * does not need to fetch it.
 *
 * @module
 */
// deno-lint-ignore-file no-import-prefix
export {
  CreateTableCommand,
  DescribeTableCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
} from "npm:@aws-sdk/client-dynamodb@3.1162.0";
export {
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  ScanCommand,
} from "npm:@aws-sdk/lib-dynamodb@3.1162.0";
export {
  CreateAliasCommand,
  CreateKeyCommand,
  DescribeKeyCommand,
  EnableKeyRotationCommand,
  EncryptCommand,
  GetKeyPolicyCommand,
  KMSClient,
  ListGrantsCommand,
  PutKeyPolicyCommand,
} from "npm:@aws-sdk/client-kms@3.1162.0";
export { fromNodeProviderChain } from "npm:@aws-sdk/credential-providers@3.1162.0";
export { GetCallerIdentityCommand, STSClient } from "npm:@aws-sdk/client-sts@3.1162.0";
