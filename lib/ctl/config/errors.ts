/**
 * The problems of a configuration file, each with its line, column and field, so that all can be corrected at once.
 *
 * @module
 */
import { EnclaveError } from "../../shared/errors.ts";

/** A position in a file; both numbers count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One problem. */
export interface ConfigProblem extends Position {
  /** Such as `kms.key_id` or `enclaves[0].port`; empty for the file as a whole. */
  readonly field: string;
  /** The problem and its reason; quotes no value that may be a secret. */
  readonly what: string;
}

const MAX_TOLD = 20;

/** A configuration file cannot be used. */
export class ConfigError extends EnclaveError {
  override name = "ConfigError";
  readonly file: string;
  /** In the file's order. */
  readonly problems: readonly ConfigProblem[];

  constructor(
    file: string,
    problems: readonly ConfigProblem[],
    hint = "config/development.yaml and config/production.yaml show every field.",
  ) {
    const ordered = problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const lines = ordered.slice(0, MAX_TOLD).map(({ line, column, field, what }) =>
      `${file}:${line}:${column}: ${field === "" ? "" : `${field}: `}${what}`
    );
    if (ordered.length > MAX_TOLD) lines.push(`and ${ordered.length - MAX_TOLD} more`);
    super(lines.join("\n"), {
      code: "invalid_config",
      hint,
    });
    this.file = file;
    this.problems = ordered;
  }
}
