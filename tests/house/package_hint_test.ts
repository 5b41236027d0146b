/** The hint for a package that a workflow imports and that was not added, from what Deno prints. */
import { assertEquals } from "@std/assert";
import { packageHint } from "../../scripts/package_hint.ts";

const LOCK =
  `error: The lockfile is out of date. Run \`deno install --frozen=false\`, or rerun with \`--frozen=false\` to update it.
changes:
 10 | -    "npm:reflect-metadata@0.2.2": "0.2.2"
 10 | +    "npm:reflect-metadata@0.2.2": "0.2.2",
`;
const OUTPUTS: readonly (readonly [string, string, string | undefined])[] = [
  ["by its name", 'error: Import "zod" not a dependency and not in import map from "file:///w.ts"', "zod"],
  [
    "by its name, as JSON",
    String.raw`"error": "Import \"zod/v4\" not a dependency and not in import map"`,
    "zod",
  ],
  [
    "with a scope",
    'error: Import "@a/b/c" not a dependency and not in import map from "file:///w.ts"',
    "@a/b",
  ],
  [
    "by its name, in Deno 2.6",
    'error: Relative import path "zod" not prefixed with / or ./ or ../ and not in import map',
    "zod",
  ],
  ["as npm:", `${LOCK} 11 | +    "npm:zod@*": "4.6.7"\n`, "zod"],
  ["as npm: with a scope", `${LOCK} 11 | +    "npm:@a/b@1": "1.0.0"\n`, "@a/b"],
  ["not at all: the lock file lacks nothing new", LOCK, undefined],
  ["not at all: a path is missing", 'error: Module not found "file:///a.ts".', undefined],
];
for (const [how, output, name] of OUTPUTS) {
  Deno.test(`a package that is imported ${how} is named with the command that adds it`, () => {
    const expected = name === undefined
      ? undefined
      : `The package ${name} was not added to this project: run deno task add npm:${name}, and import it by its name: from "${name}".`;
    assertEquals(packageHint(output), expected);
  });
}
