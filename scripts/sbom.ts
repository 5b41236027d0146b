/**
 * Prints the software bill of materials of a lock file, as CycloneDX 1.6 in JSON: the npm packages that a binary contains, with their hashes and what each
 * needs. The same lock file gives the same bytes.
 *
 * @module
 */
import { runEntry } from "../lib/shared/cli/entry.ts";
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions, UsageError } from "../lib/shared/cli/options.ts";
import { VERSION } from "../lib/shared/version.ts";
import { Enums, Models, Serialize, Spec } from "./deps/cyclonedx.ts";

const SPECS = [
  { name: "name", value: "NAME", default: "denclave", help: "what the packages are a part of" },
  ...COMMON_OPTIONS,
] as const;
const HELP = `usage: deno run --allow-read scripts/sbom.ts [options] <lock file>

Prints the software bill of materials of a lock file as CycloneDX 1.6 (JSON).
options:
${helpLines(SPECS)}
`;

/** The part of a lock file (version 5) that is read. */
interface Lock {
  readonly npm?: Readonly<
    Record<string, { readonly integrity?: string; readonly dependencies?: readonly string[] }>
  >;
}

/** A key of a lock file: `@scope/name@version`, and after `_` the peers that it was resolved with. */
const KEY = /^(?:(@[^/]+)\/)?([^@]+)@([^_]+)/;

function componentOf(key: string, integrity: string | undefined): Models.Component {
  const [, group, name = "", version = ""] = KEY.exec(key) ?? [];
  const component = new Models.Component(Enums.ComponentType.Library, name, {
    ...(group === undefined ? {} : { group }),
    version,
    bomRef: key,
    purl: `pkg:npm/${group === undefined ? "" : `${encodeURIComponent(group)}/`}${name}@${version}`,
  });
  const sha512 = /^sha512-(.+)$/.exec(integrity ?? "")?.[1];
  if (sha512 !== undefined) {
    component.hashes.set(Enums.HashAlgorithm["SHA-512"], Uint8Array.fromBase64(sha512).toHex());
  }
  return component;
}

/** The bill of materials of a lock file's packages. @throws {TypeError} when a package needs one that the file lacks. */
export function billOfMaterials(lock: Lock, name: string): string {
  const packages = Object.entries(lock.npm ?? {});
  const components = new Map(packages.map(([key, { integrity }]) => [key, componentOf(key, integrity)]));
  for (const [key, { dependencies = [] }] of packages) {
    for (const needed of dependencies) {
      // Without a version where the file has one of them only.
      const found = components.get(needed) ??
        packages.map(([other]) => other).filter((other) => other.startsWith(`${needed}@`)).map((other) =>
          components.get(other)
        )[0];
      if (found === undefined) {
        throw new TypeError(`Cannot find ${needed}, which ${key} needs, in the lock file`);
      }
      components.get(key)?.dependencies.add(found.bomRef);
    }
  }
  const subject = new Models.Component(Enums.ComponentType.Application, name, {
    version: VERSION,
    bomRef: name,
  });
  for (const component of components.values()) subject.dependencies.add(component.bomRef);
  const bom = new Models.Bom({ metadata: new Models.Metadata({ component: subject }) });
  for (const component of components.values()) bom.components.add(component);
  const factory = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  return new Serialize.JsonSerializer(factory).serialize(bom, { sortLists: true, space: 2 });
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, args, undefined, { positionals: 1 });
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const [file] = options.positionals;
  if (file === undefined) {
    throw new UsageError("No lock file was given", "For example: scripts/sbom.ts enclave.lock");
  }
  console.log(billOfMaterials(JSON.parse(await Deno.readTextFile(file)) as Lock, options.text("name") ?? ""));
  return EXIT.ok;
}

if (import.meta.main) await runEntry(main);
