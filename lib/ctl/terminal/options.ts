/**
 * Options that several commands have, each defined once: it means the same in all of them.
 *
 * @module
 */
import type { OptionSpec } from "../../shared/cli/options.ts";

/** The result as JSON. An error is then JSON as well. */
export const JSON_OPTION = { name: "json", help: "print the result as JSON" } as const satisfies OptionSpec;

/** The AWS region. */
export const REGION_OPTION = {
  name: "region",
  short: "r",
  env: "DENCLAVE_REGION",
  value: "REGION",
  help: "AWS region, if no key's ARN gives it; AWS_REGION is also read",
} as const satisfies OptionSpec;

/** Options of all commands that call AWS. */
export const AWS_OPTIONS = [
  REGION_OPTION,
  {
    name: "endpoint-url",
    env: "AWS_ENDPOINT_URL",
    value: "URL",
    help: "an endpoint to use instead of AWS's, for development",
  },
] as const satisfies readonly OptionSpec[];

/** The KMS key. */
export const KEY_OPTION = {
  name: "key",
  short: "k",
  env: "DENCLAVE_KMS_KEY",
  value: "ARN",
  help: "the KMS key",
} as const satisfies OptionSpec;

/** The DynamoDB table of the accounts. */
export const TABLE_OPTION = {
  name: "table",
  short: "t",
  env: "DENCLAVE_TABLE",
  value: "TABLE",
  help: "DynamoDB table (default AccountTable)",
} as const satisfies OptionSpec;

/** Options of the accounts' store. */
export const STORE_OPTIONS = [
  {
    name: "store",
    env: "DENCLAVE_STORE",
    value: "STORE",
    help: "dynamodb or sqlite:<file>; the default is sqlite:accounts.sqlite, or dynamodb with -t",
  },
  TABLE_OPTION,
] as const satisfies readonly OptionSpec[];

/** Where the enclave is. */
export const ADDRESS_OPTIONS = [
  {
    name: "cid",
    short: "c",
    env: "DENCLAVE_CID",
    value: "CID",
    default: "16",
    help: "the enclave's CID; overrides DENCLAVE_CONNECT",
  },
  {
    name: "port",
    short: "p",
    env: "DENCLAVE_PORT",
    value: "PORT",
    default: "5000",
    help: "the enclave's vsock port; overrides DENCLAVE_CONNECT",
  },
  {
    name: "connect",
    env: "DENCLAVE_CONNECT",
    value: "ADDRESS",
    help:
      "the service's address: tcp:<host>:<port> or unix:<path> if it is not in an enclave, or vsock:<cid>:<port>",
  },
] as const satisfies readonly OptionSpec[];

/** Options of commands that send requests to the enclave. */
export const ENCLAVE_OPTIONS = [
  ...ADDRESS_OPTIONS,
  { name: "timeout-ms", value: "MS", default: "65000", help: "how long to wait for a reply" },
] as const satisfies readonly OptionSpec[];

/** Measured images. */
export const MEASUREMENTS_OPTION = {
  name: "measurements",
  short: "m",
  value: "FILE",
  multiple: true,
  help: "a build: JSON from denclavectl eif build or eif describe, or from nitro-cli; repeat for more",
} as const satisfies OptionSpec;

/** PCRs. */
export const PCR_OPTION = {
  name: "pcr",
  value: "N=HEX",
  multiple: true,
  help: "a PCR of the build; repeat it or separate with commas for more",
} as const satisfies OptionSpec;

/** The root certificate for verifying documents. */
export const ROOT_OPTION = {
  name: "root",
  value: "FILE",
  help: "for development: verify documents under this root certificate instead of AWS's",
} as const satisfies OptionSpec;

/** Options that say which enclave is trusted. */
export const EXPECT_OPTIONS = [
  MEASUREMENTS_OPTION,
  PCR_OPTION,
  ROOT_OPTION,
  { name: "insecure-skip-pcrs", help: "for development: accept any enclave, including an attacker's" },
  {
    name: "insecure-skip-debug-check",
    help: "for development: accept an enclave in debug mode, whose console the parent can read",
  },
] as const satisfies readonly OptionSpec[];

/** An attestation document that is not verified. */
export const UNVERIFIED_OPTION = {
  name: "insecure-skip-verification",
  help: "for development: accept the attestation document unverified",
} as const satisfies OptionSpec;

/** A nonce. */
export const NONCE_OPTION = {
  name: "nonce",
  value: "BASE64",
  help: "the nonce of the request that the document answers",
} as const satisfies OptionSpec;

/** The session key. */
export const TSK_FILE_OPTION = {
  name: "tsk-file",
  value: "FILE",
  help: "the session key, 64 hex digits, mode 0600",
} as const satisfies OptionSpec;

/** The session key's epoch. */
export const EPOCH_OPTION = {
  name: "epoch",
  value: "N",
  help: "the key's epoch, for a service with --require-epoch: each wrapped key needs a higher one",
} as const satisfies OptionSpec;

/** The parent's role. */
export const PARENT_OPTION = {
  name: "parent",
  value: "ARN",
  multiple: true,
  help: "the role of the parent instance, which may use the key and not administer it; repeat for more",
} as const satisfies OptionSpec;

/** Administrators of a key. */
export const ADMIN_OPTION = {
  name: "admin",
  value: "ARN",
  multiple: true,
  help: "a reviewed administrator, who may manage the key but not use it; repeat for more",
} as const satisfies OptionSpec;

/** Issuers of session keys. */
export const ISSUER_OPTION = {
  name: "issuer",
  value: "ARN",
  multiple: true,
  help: "a principal that may wrap session keys and nothing else (denclavectl tsk); repeat for more",
} as const satisfies OptionSpec;

/** The policy file's name in the current folder. */
export const POLICY_FILE = "denclave-policy.yaml";

/** The file that says who may do what with the key. */
export const POLICY_FILE_OPTION = {
  name: "policy-file",
  short: "f",
  value: "FILE",
  help: `the policy file (default ${POLICY_FILE} in the current folder, where there is one)`,
} as const satisfies OptionSpec;

/** How the linter judges a policy. */
export const LINT_OPTIONS = [
  PARENT_OPTION,
  {
    name: "reviewed",
    value: "ARN",
    multiple: true,
    help: "a reviewed administrator: its rights are reported as warnings",
  },
  { name: "accept", value: "RULE", multiple: true, help: "report this rule's findings as warnings" },
] as const satisfies readonly OptionSpec[];

/** Root of the files of an image. */
export const SYSROOT_OPTION = {
  name: "sysroot",
  value: "DIR",
  help: "root of the file tree with the loader and the C library (default /)",
} as const satisfies OptionSpec;
