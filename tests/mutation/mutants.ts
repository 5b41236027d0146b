/**
 * One-line changes that break the rules of docs/security.md, which names them. `deno task mutants` applies
 * them one at a time.
 *
 * @module
 */

/** A change of one line of the product that a test must notice. `mutants.txt` explains its parts. */
export interface Mutant {
  readonly name: string;
  readonly breaks: string;
  readonly from: string;
  readonly to: string;
  readonly test: string;
  readonly filter?: string | undefined;
  readonly of?: string | undefined;
}

/** Reads a list of mutants. @throws {SyntaxError} that names the line */
export function parseMutants(text: string): readonly Mutant[] {
  const mutants: Mutant[] = [];
  let [test, filter]: (string | undefined)[] = [];
  for (const line of text.split("\n")) {
    const last = mutants.at(-1);
    const [, file, part] = /^test (\S+)(?: (.+))?$/.exec(line) ?? [];
    const [, name, of, breaks] = /^([\w-]+)(?: \((FFI|key path)\))?: (.+)$/.exec(line) ?? [];
    if (file !== undefined) [test, filter] = [file, part];
    else if (name !== undefined && breaks !== undefined && test !== undefined) {
      mutants.push({ name, breaks, from: "", to: "", test, filter, of });
    } else if (line.startsWith("- ") && last?.from === "") {
      mutants[mutants.length - 1] = { ...last, from: line.slice(2) };
    } else if (line.startsWith("+ ") && last?.to === "") {
      mutants[mutants.length - 1] = { ...last, to: line.slice(2) };
    } else if (line !== "" && !line.startsWith("#")) throw new SyntaxError(`Not a line of a mutant: ${line}`);
  }
  return mutants;
}

export const MUTANTS: readonly Mutant[] = parseMutants(
  Deno.readTextFileSync(new URL("mutants.txt", import.meta.url)),
);
