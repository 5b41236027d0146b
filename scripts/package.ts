/**
 * `deno task build package`: the client's side of the library as an npm tarball, ES modules and types. Code
 * that only works in Deno is left out: sockets are Node's there. Needs npm and its registry.
 *
 * @module
 */
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions } from "../lib/shared/cli/options.ts";
import { EnclaveError } from "../lib/shared/errors.ts";
import config from "../deno.json" with { type: "json" };

const ROOT = new URL("..", import.meta.url).pathname;
const TYPESCRIPT = "5.9.3";
/** Entries of the package, by their names in `deno.json`. */
const ENTRIES = [
  ...["./wire", "./attestation", "./sealed", "./client", "./process", "./sealed_client", "./wallet"],
  ...["./receipts", "./receipt_client"],
] as const;
/** What is another file in the package. */
const REPLACED: Readonly<Record<string, string>> = {
  "lib/shared/wire/connect.ts": "scripts/package/connect.ts",
};
const SOCKETS = 'export * from "./connect.ts";\nexport * from "./listen.ts";\n';
const SPECIFIER = /((?:(?<!")\bfrom|^import)\s*)"([\w@.:/-]+)"/gm;

const SPECS = [
  { name: "output", short: "o", value: "FOLDER", default: "dist/npm", help: "where the tarball is written" },
  ...COMMON_OPTIONS,
] as const;
const HELP = `usage: deno task build package [options]

Makes an npm package of the client's side of the library.
options:
${helpLines(SPECS)}
`;

/** What is staged: the sources by path, and the packages that they import, by name. */
interface Staged {
  readonly sources: Map<string, string>;
  readonly dependencies: Map<string, string>;
}

/** A package's name and version, out of `npm:name@version`. */
function parseNpm(specifier: string): readonly [string, string] {
  const [, name = "", version = ""] = /^npm:(@?[^@]+)@([^/]+)$/.exec(specifier) ?? [];
  if (name === "" || version === "") throw new TypeError(`Cannot package ${specifier}: it names no version`);
  return [name, version];
}

/** How one file of `lib/` imports another once both are compiled. */
function relative(from: string, to: string): string {
  const inner = (path: string) => path.replace(/^lib\//, "");
  const up = "../".repeat(inner(from).split("/").length - 1) || "./";
  return `${up}${inner(to).replace(/\.ts$/, ".js")}`;
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Takes a source and all that it imports; packages become npm's. */
async function stage(path: string, staged: Staged): Promise<void> {
  if (staged.sources.has(path)) return;
  const file = REPLACED[path] ?? path;
  staged.sources.set(path, "");
  const imports: Readonly<Record<string, string>> = config.imports;
  const found: string[] = [];
  const text = (await Deno.readTextFile(`${ROOT}${file}`))
    // The package listens nowhere.
    .replace(path === "lib/shared/wire/mod.ts" ? SOCKETS : "\0", "")
    .replace(SPECIFIER, (_whole, keyword: string, specifier: string) => {
      const mapped = imports[specifier] ?? specifier;
      if (mapped.startsWith("npm:")) {
        const [name, version] = parseNpm(mapped);
        staged.dependencies.set(name, version);
        return `${keyword}"${name}"`;
      }
      if (!mapped.startsWith(".")) throw new TypeError(`Cannot package ${file}: it imports ${specifier}`);
      const target = resolve(specifier === mapped ? file : "", mapped);
      found.push(target);
      return `${keyword}"${relative(path, target)}"`;
    });
  staged.sources.set(path, text);
  for (const target of found) await stage(target, staged);
}

async function run(folder: string, command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd: folder,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
  if (success) return out ?? "";
  throw new EnclaveError(`${command} ${args.join(" ")} failed:\n${out}\n${err}`, {
    code: "package_failed",
    hint: "It needs npm, and the npm registry.",
  });
}

const distOf = (path: string) => path.replace(/^\.\/lib\//, "./dist/").replace(/\.ts$/, "");

function manifest({ dependencies }: Staged) {
  const sources: Readonly<Record<string, string>> = config.exports;
  return {
    name: config.name,
    version: config.version,
    license: config.license,
    description: "Clients of denclave: session keys, accounts, attestation documents, sealed requests",
    type: "module",
    sideEffects: false,
    engines: { node: ">=20.16" },
    files: ["dist"],
    exports: Object.fromEntries(ENTRIES.map((entry) => {
      const path = distOf(sources[entry] ?? "");
      return [entry, { types: `${path}.d.ts`, default: `${path}.js` }];
    })),
    dependencies: Object.fromEntries([...dependencies].sort()),
  };
}

function compilerConfig() {
  return {
    compilerOptions: {
      ...config.compilerOptions,
      strict: true,
      target: "es2022",
      lib: ["es2023", "es2024.arraybuffer", "esnext.disposable", "dom"],
      module: "nodenext",
      types: [],
      verbatimModuleSyntax: true,
      declaration: true,
      rootDir: "lib",
      outDir: "dist",
    },
    include: ["lib"],
  };
}

/**
 * Makes the tarball.
 *
 * @param output an existing folder
 * @returns the tarball's path
 * @throws {EnclaveError} `package_failed`
 */
export async function makePackage(output: string): Promise<string> {
  const staged: Staged = { sources: new Map(), dependencies: new Map() };
  const sources: Readonly<Record<string, string>> = config.exports;
  for (const entry of ENTRIES) await stage((sources[entry] ?? "").replace("./", ""), staged);
  const folder = await Deno.makeTempDir({ prefix: "denclave-package-" });
  try {
    for (const [path, text] of staged.sources) {
      await Deno.mkdir(`${folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeTextFile(`${folder}/${path}`, text);
    }
    const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
    await Deno.writeTextFile(`${folder}/package.json`, json(manifest(staged)));
    await Deno.writeTextFile(`${folder}/tsconfig.json`, json(compilerConfig()));
    for (const file of ["LICENSE", "scripts/package/README.md"]) {
      await Deno.copyFile(`${ROOT}${file}`, `${folder}/${file.split("/").at(-1)}`);
    }
    const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"];
    await run(folder, "npm", "install", ...quiet, "--no-save", `typescript@${TYPESCRIPT}`);
    await run(folder, "npm", "exec", "--no", "--", "tsc", "--project", "tsconfig.json");
    const packed = await run(
      folder,
      "npm",
      "pack",
      "--json",
      "--ignore-scripts",
      "--pack-destination",
      output,
    );
    const [{ filename }] = JSON.parse(packed) as [{ readonly filename: string }];
    return `${output}/${filename}`;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** `deno task build package`. */
export async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(SPECS, argv);
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const output = options.text("output") ?? "";
  await Deno.mkdir(output, { recursive: true });
  console.log(await makePackage(await Deno.realPath(output)));
  return EXIT.ok;
}
