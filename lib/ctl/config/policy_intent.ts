/**
 * `denclave-policy.yaml`: who may do what with one KMS key. All commands that write, check or change its policy read this file.
 *
 * @module
 */
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { isPrincipalArn, PRINCIPAL_FORM } from "../../shared/aws/principal_arn.ts";
import { parseYaml } from "./document.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { attempt, Mismatch, type Parser, Section, text, truth } from "./section.ts";

/** The parsed and checked file. */
export interface PolicyIntent {
  /** The KMS key's ARN. */
  readonly key: string;
  /** ARNs of the roles of the parent instances. At least one. */
  readonly parents: readonly string[];
  /** ARNs of the key's administrators, as reviewed. At least one. */
  readonly administrators: readonly string[];
  /** ARNs of the roles that may wrap session keys. */
  readonly issuers: readonly string[];
  /** Whether the parents may read the key's state and policy, for `denclavectl doctor`. */
  readonly inspect: boolean;
  /** Measurement files of the builds that may use the key, the newest last; as written, relative to the file's folder. */
  readonly builds: readonly string[];
}

const FIELDS = ["key", "parents", "administrators", "issuers", "inspect", "builds"];
const MAX_PATH_LENGTH = 4096;

const principalArn: Parser<string> = (value) =>
  typeof value === "string" && isPrincipalArn(value) ? value : new Mismatch(`must be ${PRINCIPAL_FORM}`);

const keyArn: Parser<string> = (value) => attempt(() => parseKeyArn(String(value)).arn);

/**
 * Reads the file's text.
 *
 * @param file its name, for errors
 * @throws {ConfigError} with every problem, its line and column.
 */
export function parsePolicyIntent(source: string, file: string): PolicyIntent {
  const problems: ConfigProblem[] = [];
  const section = Section.open(parseYaml(source, file), { path: "", known: FIELDS, problems });
  const arns = (name: string) => section.texts(name, principalArn).map(({ value }) => value);
  const intent: PolicyIntent = {
    key: section.required("key", keyArn, "").value,
    parents: arns("parents"),
    administrators: arns("administrators"),
    issuers: arns("issuers"),
    inspect: section.optional("inspect", truth, false).value,
    builds: section.texts("builds", text(MAX_PATH_LENGTH)).map(({ value }) => value),
  };
  for (const name of ["parents", "administrators"] as const) {
    if (intent[name].length === 0) {
      section.refuse({ at: section.at, path: name }, "must have one entry at least");
    }
  }
  if (problems.length > 0) {
    throw new ConfigError(file, problems, "denclavectl policy init writes a file with every field.");
  }
  return intent;
}

function list(name: string, entries: readonly string[], comment: string): string {
  const lines = entries.map((entry) => `  - ${JSON.stringify(entry)}\n`).join("");
  return `# ${comment}\n${name}:${entries.length === 0 ? " []\n" : `\n${lines}`}`;
}

/** The file's text. {@link parsePolicyIntent} reads it back. */
export function formatPolicyIntent(intent: PolicyIntent): string {
  return `# Who may do what with one KMS key. Read by denclavectl policy and denclavectl doctor.
key: ${JSON.stringify(intent.key)}
${
    list(
      "parents",
      intent.parents,
      "Roles of the instances that run the enclave. They use the key only from an attested build below.",
    )
  }${
    list(
      "administrators",
      intent.administrators,
      "Who may change this policy, and so remove its conditions. Review this list.",
    )
  }${
    list("issuers", intent.issuers, "Who may wrap session keys (denclavectl tsk), and nothing else.")
  }# Whether the parents may read the key's state and policy (denclavectl doctor needs it).
inspect: ${intent.inspect}
${
    list(
      "builds",
      intent.builds,
      "Measurements of the builds that may use the key (denclavectl eif describe --json), the newest last.",
    )
  }`;
}
