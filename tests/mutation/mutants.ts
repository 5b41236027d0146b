/**
 * One-line changes that break the rules of docs/security.md, which names them. `deno task mutants` applies them one at a time.
 *
 * @module
 */
import { KEY_MUTANTS } from "./list/keys.ts";
import { SERVICE_MUTANTS } from "./list/service.ts";
import type { Mutant } from "./mutant.ts";

export const MUTANTS: readonly Mutant[] = [...KEY_MUTANTS, ...SERVICE_MUTANTS];
