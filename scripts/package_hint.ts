/**
 * Says how to add a package that a workflow imports. As a program it reads what `deno info` printed from
 * stdin; `deno task dev` runs it before the service. Needs no permission.
 *
 * @module
 */

/** An import that no import map has, in the words of Deno 2.9 and 2.6, as text or within JSON. */
const NOT_IMPORTED = /(?:Import|Relative import path) \\?"([^"\\]+)\\?" not /;
/** A line of the difference that Deno prints for a lock file: removed or added, and the package. */
const LOCK_LINE = /^ *[0-9]+ \| ([-+]) +"npm:((?:@[^/"]+\/)?[^@"]+)@[^"]*": "/gm;

/** The package of what an import names: `zod` of `zod/v4`. Undefined for a path or a URL. */
function packageOf(specifier: string): string | undefined {
  return /^(?:@[a-z0-9._-]+\/)?[a-z0-9._-]+(?=\/|$)/i.exec(specifier)?.[0];
}

function lacking(output: string): string | undefined {
  const [, specifier] = NOT_IMPORTED.exec(output) ?? [];
  if (specifier !== undefined) return packageOf(specifier);
  if (!output.includes("The lockfile is out of date")) return undefined;
  const lines = [...output.matchAll(LOCK_LINE)].map(([, sign, name]) => ({ sign, name }));
  // A line whose comma moved is there twice.
  return lines.find(({ sign, name }) =>
    sign === "+" && !lines.some((other) => other.sign === "-" && other.name === name)
  )?.name;
}

/** How to add the package that Deno's output misses; undefined where it misses none. */
export function packageHint(output: string): string | undefined {
  const name = lacking(output);
  return name === undefined
    ? undefined
    : `The package ${name} was not added to this project: run deno task add npm:${name}, and import it by its name: from "${name}".`;
}

if (import.meta.main) {
  const hint = packageHint(await new Response(Deno.stdin.readable).text());
  if (hint !== undefined) console.error(`denclave: ${hint}`);
}
