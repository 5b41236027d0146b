/**
 * The linter of key policies: finds what defeats attestation, and what keeps the enclave out. It reads the policy alone, and the facts of the
 * key that it is given; it does not see IAM policies and service control policies.
 *
 * @module
 */
import type { GrantFact } from "../aws/key_admin.ts";
import {
  ATTESTED_USE,
  ATTESTING,
  DANGEROUS,
  type DangerousAction,
  expandAction,
  hasWildcard,
  isDangerous,
  KMS_ACTIONS,
  type KmsAction,
} from "./actions.ts";
import { holdsWhenAbsent, isAboutAttestation, needsDocument } from "./conditions.ts";
import {
  type Denial,
  denialsOf,
  type Guard,
  guardsAmong,
  holdsFor,
  refusalsOf,
  takenFrom,
  unconditional,
} from "./denials.ts";
import { type AttestedAllow, attestedAllows } from "./evaluate.ts";
import type { KeyPolicy } from "../aws/key_policy.ts";
import {
  allowConditionFindings,
  denyConditionFindings,
  keyFindings,
  pinFindings,
} from "./lint_conditions.ts";
import { accountOf, covers, EVERYONE, isNotAws, isSamePrincipal, isSession } from "./principals.ts";
import { wrapsSessionKeysAlone } from "./session_key_statement.ts";
import { type Finding, finding, type RuleId, type Severity } from "./rules.ts";
import { type Statement, statementsOf } from "./statements.ts";

/** What is known of the key, beside its policy. */
export interface KeyFacts {
  /** As KMS names it: AWS_KMS, EXTERNAL, AWS_CLOUDHSM, EXTERNAL_KEY_STORE. */
  readonly origin?: string | undefined;
  readonly multiRegion?: boolean | undefined;
  readonly grants?: readonly GrantFact[] | undefined;
}

/** Options of {@link lintKeyPolicy}. */
export interface LintOptions {
  /** ARNs of the parent's roles, which review does not excuse; users of attested Allows count too. */
  readonly parents?: readonly string[];
  /** ARNs of reviewed administrators. */
  readonly reviewed?: readonly string[];
  /** Rules whose findings are taken as warnings. */
  readonly accepted?: readonly RuleId[];
  readonly facts?: KeyFacts;
}

/** The result. */
export interface LintReport {
  /** No finding fails. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

type Standing = "reviewed" | "root" | "unreviewed";

interface Context {
  readonly denials: readonly Denial[];
  readonly guards: readonly Guard[];
  /** What the policy's Denies take from a principal. */
  readonly denied: (principal: string) => ReadonlySet<KmsAction>;
  readonly guarded: (principal: string) => ReadonlySet<KmsAction>;
  readonly parents: readonly string[];
  readonly reviewed: readonly string[];
}

/** How far a principal is trusted. Reviewed root is still everyone in the account whom an IAM policy lets. */
function standingOf(principal: string, { parents, reviewed }: Context): Standing {
  const isParent = parents.some((one) => isSamePrincipal(one, principal));
  // A session of a reviewed role is reviewed; the role of a reviewed session is not.
  const isReviewed = reviewed.some((one) =>
    one === principal || (!isSession(one) && isSamePrincipal(one, principal))
  );
  if (principal === EVERYONE || isParent || !isReviewed) return "unreviewed";
  return accountOf(principal) === undefined ? "reviewed" : "root";
}

const USE: ReadonlySet<KmsAction> = new Set([...ATTESTED_USE, "ReEncryptFrom"]);

/** How bad it is that a statement allows an action without a document: undefined when a Deny takes it away. */
function severityOf(
  action: DangerousAction,
  principals: readonly string[],
  context: Context,
): { readonly severity: Severity; readonly rule: RuleId } | undefined {
  const rule = DANGEROUS[action];
  const open = principals.filter((principal) => !context.denied(principal).has(action));
  if (open.length === 0) return undefined;
  if (rule === "data-key-without-plaintext") return { severity: "warn", rule };
  const unguarded = open.filter((principal) => !context.guarded(principal).has(action));
  if (unguarded.length === 0) return { severity: "warn", rule: "relies-on-deny" };
  const isExcused = unguarded.every((principal) => {
    const standing = standingOf(principal, context);
    return standing === "reviewed" || (standing === "root" && !USE.has(action));
  });
  return isExcused ? { severity: "warn", rule: "administrator" } : { severity: "fail", rule };
}

/** Findings about what an Allow permits without an attestation document. */
function dangerFindings(
  { name, source: { Action = [] }, actions, principals }: Statement,
  context: Context,
  skipped: ReadonlySet<KmsAction>,
): readonly Finding[] {
  const named = new Set(Action.filter((pattern) => !hasWildcard(pattern)).flatMap(expandAction));
  const found = new Map<string, { finding: Finding; actions: string[] }>();
  const add = (rule: RuleId, severity: Severity, through: string, action: string) => {
    const key = `${rule} ${severity} ${through}`;
    const entry = found.get(key);
    const actions = [...entry?.actions ?? [], action];
    const via = through === "" ? "" : ` through ${through}`;
    found.set(key, { actions, finding: finding(rule, name, `${actions.join(", ")}${via}`, severity) });
  };
  for (const action of actions) {
    if (!isDangerous(action) || skipped.has(action)) continue;
    const judged = severityOf(action, principals, context);
    if (judged === undefined) continue;
    if (named.has(action)) {
      add(judged.rule, judged.severity, "", action);
      continue;
    }
    const pattern = Action.find((one) => hasWildcard(one) && expandAction(one).includes(action));
    const rule = judged.severity === "warn" ? judged.rule : "wildcard-action";
    // Under NotAction the statement has its finding already, with what it allows.
    if (pattern !== undefined) add(rule, judged.severity, pattern, action);
    else if (judged.severity === "fail") add("not-action", "fail", "NotAction", action);
    else add(judged.rule, "warn", "NotAction", action);
  }
  return [...found.values()].map((entry) => entry.finding);
}

function allowFindings(statement: Statement, context: Context): readonly Finding[] {
  const { name, source, actions, principals, attestation } = statement;
  const found: Finding[] = [];
  if (source.NotPrincipal !== undefined) found.push(finding("not-principal", name, ""));
  else if (principals.includes(EVERYONE)) found.push(finding("principal-everyone", name, ""));
  const wild = principals.find((principal) => principal !== EVERYONE && hasWildcard(principal));
  if (wild !== undefined) found.push(finding("principal-wildcard", name, wild));
  if (source.NotResource !== undefined) found.push(finding("not-resource", name, ""));
  const onConditions = allowConditionFindings(attestation, name);
  found.push(...onConditions);
  if (wrapsSessionKeysAlone(statement) && actions.has("Encrypt")) {
    found.push(...issuerFindings(principals, name, context));
  }
  if (!attestation.some(needsDocument)) {
    // Conditions that do not hold what they promise are the finding, for the actions that they are meant for.
    const explained = onConditions.some(({ severity }) => severity === "fail")
      ? new Set<KmsAction>(ATTESTED_USE)
      : new Set<KmsAction>();
    // Encrypt restricted to session keys cannot forge rows of the wallet or the master key.
    if (wrapsSessionKeysAlone(statement)) explained.add("Encrypt");
    found.push(...dangerFindings(statement, context, explained));
  } else {
    found.push(
      ...pinFindings(attestation, name),
      ...neverMetFindings(statement),
      ...unusableFindings(statement),
    );
  }
  // The effect of actions that KMS does not have yet is unknown.
  if (
    source.NotAction !== undefined && !found.some(({ rule }) => rule === "not-action") && actions.size > 0
  ) {
    found.push(finding("not-action", name, ""));
  }
  return found;
}

/** A parent among those who may wrap session keys. */
function issuerFindings(
  principals: readonly string[],
  name: string,
  { parents, denied }: Context,
): readonly Finding[] {
  const isIssuer = (parent: string) =>
    principals.some((principal) => covers(principal, parent) || isSamePrincipal(principal, parent));
  return [...new Set(parents)].filter((parent) => isIssuer(parent) && !denied(parent).has("Encrypt"))
    .map((parent) => finding("parent-issues", name, parent));
}

/** What keeps every enclave from using an Allow that asks for a document, beside the measurements. */
function unusableFindings({ name, principals, conditions }: Statement): readonly Finding[] {
  const unmet = conditions.filter((condition) =>
    condition.subject.kind === "fixed" && holdsFor(condition, new Map()) === false
  );
  return [
    ...(principals.every(isNotAws)
      ? [finding("allows-nobody", name, principals.join(", ").slice(0, 128))]
      : []),
    ...unmet.map(({ operator, key }) => finding("allows-nobody", name, `${operator} ${key}`.slice(0, 128))),
  ];
}

/** A Resource that is not the key, or may not be. */
function resourceFindings({ name, source: { Resource }, isAboutTheKey }: Statement): readonly Finding[] {
  if (Resource === undefined || isAboutTheKey === true) return [];
  const rule = isAboutTheKey === false ? "other-resource" : "resource-by-arn";
  return [finding(rule, name, Resource.join(", ").slice(0, 256))];
}

/** Actions that take no document, in an Allow that asks for one. */
function neverMetFindings({ name, actions }: Statement): readonly Finding[] {
  const never = [...actions].filter((action) => !ATTESTING.has(action));
  if (never.length === 0) return [];
  // Many policies write kms:GenerateDataKey* for the single action.
  const isHarmless = never.every((action) => action.endsWith("WithoutPlaintext"));
  const listed = never.length > 6 ? `${never.slice(0, 6).join(", ")} and ${never.length - 6} more` : never;
  return [finding("condition-never-met", name, String(listed), isHarmless ? "warn" : "fail")];
}

function denyFindings(statement: Statement): readonly Finding[] {
  const { name, source, actions, principals, conditions, attestation } = statement;
  const found: Finding[] = [...denyConditionFindings(attestation, name)];
  if (source.NotPrincipal !== undefined) found.push(finding("deny-exempts", name, ""));
  // PutKeyPolicy takes no document.
  const isCertain = conditions.every((condition) =>
    (isAboutAttestation(condition) || condition.subject.kind === "unknown") && holdsWhenAbsent(condition)
  );
  if (
    isCertain && source.NotPrincipal === undefined && principals.includes(EVERYONE) &&
    actions.has("PutKeyPolicy")
  ) found.push(finding("deny-locks-out", name, ""));
  return found;
}

/** Actions that KMS does not have. Beside attestation conditions, one keeps the enclave out. */
function unknownActions({ name, source, attestation }: Statement): readonly Finding[] {
  const isUse = source.Effect === "Allow" && attestation.length > 0;
  return [...source.Action ?? [], ...source.NotAction ?? []]
    .filter((pattern) => expandAction(pattern).length === 0)
    .map((pattern) => finding("unknown-action", name, pattern.slice(0, 64), isUse ? "fail" : "warn"));
}

/** The builds that registers pin. Lists for several registers, which admit mixtures, are found elsewhere. */
function buildsOf(pins: ReadonlyMap<number, ReadonlySet<string>>): readonly ReadonlyMap<number, string>[] {
  const pinned = [...pins].filter(([, values]) => values.size > 0);
  if (pinned.length === 0 || pinned.filter(([, values]) => values.size > 1).length > 1) return [];
  return pinned.reduce<readonly ReadonlyMap<number, string>[]>(
    (builds, [pcr, values]) =>
      builds.flatMap((build) => [...values].map((value) => new Map([...build, [pcr, value]]))),
    [new Map()],
  );
}

/** Findings on how Allows and Denies fit together. */
function guardFindings(allows: readonly AttestedAllow[], context: Context): readonly Finding[] {
  const { parents, denials, guards, denied, guarded } = context;
  const found: Finding[] = [];
  const unguarded = ATTESTED_USE.filter((action) =>
    !denied(EVERYONE).has(action) && !guarded(EVERYONE).has(action)
  );
  if (allows.length > 0 && unguarded.length > 0) {
    found.push(finding("no-guard", undefined, `${unguarded.join(", ")} unguarded`));
  }
  for (const { name, principals, actions, pins } of allows) {
    const users = [
      ...principals,
      ...parents.filter((parent) => principals.some((one) => covers(one, parent))),
    ];
    const use = { users, actions };
    const missed: string[] = [];
    const refusing = new Set<string>();
    const depending = new Set<string>();
    for (const measured of buildsOf(pins)) {
      for (const refusal of refusalsOf(denials, measured, use)) {
        if (refusal.isGuard) missed.push(measured.get(0) ?? "");
        else if (refusal.dependsOn.length === 0) refusing.add(refusal.statement);
        else depending.add(`${refusal.statement} on ${refusal.dependsOn.join(", ")}`);
      }
    }
    const at = (rule: RuleId, seen: Iterable<string>) => {
      const text = [...new Set(seen)].join("; ");
      if (text !== "") found.push(finding(rule, name, text.slice(0, 256)));
    };
    at("guard-misses-build", missed.map((pcr) => `${pcr.slice(0, 16)}…`));
    at("deny-refuses-build", refusing);
    at("deny-depends", depending);
  }
  const admitted = new Set(allows.flatMap(({ pins }) => [...pins.get(0) ?? []]));
  for (const guard of allows.length === 0 ? [] : guards) {
    const stale = [...guard.builds].filter((build) => !admitted.has(build));
    // An Allow by other registers than PCR0 may be what admits them.
    if (stale.length > 0 && allows.every(({ pins }) => pins.has(0))) {
      found.push(
        finding("guard-stale", guard.name, stale.map((pcr) => `${pcr.slice(0, 16)}…`).join(", ")),
      );
    }
  }
  return found;
}

function factFindings(
  { denied, guarded }: Context,
  { origin, multiRegion, grants = [] }: KeyFacts,
): readonly Finding[] {
  const found: Finding[] = [];
  if (origin === "EXTERNAL" || origin === "EXTERNAL_KEY_STORE") {
    found.push(finding("external-origin", undefined, origin));
  }
  if (multiRegion === true) found.push(finding("multi-region", undefined, ""));
  for (const { id, grantee, operations } of grants) {
    const known = KMS_ACTIONS.filter((action) => operations.includes(action));
    const dangerous = known.filter((action) => isDangerous(action) && !denied(EVERYONE).has(action));
    if (dangerous.length === 0) continue;
    const severity = dangerous.every((action) => guarded(EVERYONE).has(action)) ? "warn" : "fail";
    found.push(
      finding(
        "live-grant",
        undefined,
        `${id.slice(0, 64)} to ${grantee.slice(0, 128)} for ${dangerous.join(", ")}`,
        severity,
      ),
    );
  }
  return found;
}

function remembered<T>(compute: (key: string) => T): (key: string) => T {
  const known = new Map<string, T>();
  return (key) => {
    const before = known.get(key);
    if (before !== undefined) return before;
    const value = compute(key);
    known.set(key, value);
    return value;
  };
}

/** Lints a key policy. */
export function lintKeyPolicy(policy: KeyPolicy, options: LintOptions = {}): LintReport {
  const { parents = [], reviewed = [], accepted = [], facts = {} } = options;
  const statements = statementsOf(policy);
  const denials = denialsOf(statements);
  const guards = guardsAmong(denials);
  const always = unconditional(denials);
  const allows = attestedAllows(statements);
  const context: Context = {
    denials,
    guards,
    parents: [...parents, ...allows.flatMap(({ principals }) => principals)],
    reviewed,
    denied: remembered((principal) => takenFrom(always, principal)),
    guarded: remembered((principal) => takenFrom(guards, principal)),
  };
  const found: Finding[] = [];
  const sids = new Set<string>();
  for (const statement of statements) {
    const { name, source, conditions } = statement;
    if (source.Sid !== undefined && sids.has(source.Sid)) found.push(finding("duplicate-sid", name, ""));
    if (source.Sid !== undefined) sids.add(source.Sid);
    found.push(
      ...(source.Effect === "Allow" ? allowFindings(statement, context) : denyFindings(statement)),
      ...conditions.filter((condition) => !isAboutAttestation(condition))
        .flatMap((condition) => keyFindings(condition, name)),
      ...resourceFindings(statement),
      ...unknownActions(statement),
    );
  }
  const administers = statements.some(({ source, actions }) =>
    source.Effect === "Allow" && actions.has("PutKeyPolicy")
  );
  if (!administers) found.push(finding("nobody-administers", undefined, ""));
  found.push(...guardFindings(allows, context), ...factFindings(context, facts));
  const findings = found.map((one) =>
    accepted.includes(one.rule) ? { ...one, severity: "warn" as const } : one
  );
  return { ok: findings.every(({ severity }) => severity === "warn"), findings };
}
