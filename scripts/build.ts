/**
 * Builds what the tests and the benchmark need beside Deno, and the npm package of the client's side. Where a tool is missing, it says so, and the tests that
 * need it say that they were skipped.
 *
 * @module
 */
import { runEntry } from "../lib/shared/cli/entry.ts";
import { COMMON_OPTIONS, EXIT, helpLines, parseOptions, UsageError } from "../lib/shared/cli/options.ts";
import { EnclaveError } from "../lib/shared/errors.ts";
import { buildOnce, cargoBuild, linkTo, runBuild } from "./build_cache.ts";

/** FFI permission of the tests names this one folder. */
const NATIVE = "tests/native/build";
const AWS_CRT = "aws-crt/1.33.2/dist/bin/linux-x64-glibc/aws-crt-nodejs.node";
const REQUIREMENTS = "tests/peers/requirements.txt";
const VENV = "tests/peers/build/venv";

function run(command: string, args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(command, { args: [...args] }).outputSync();
  if (success) return new TextDecoder().decode(stdout);
  throw new EnclaveError(`${command} ${args.join(" ")} failed:\n${new TextDecoder().decode(stderr)}`, {
    code: "build_failed",
    hint: "A C compiler named cc and bash must be installed.",
  });
}

/** The library of npm's aws-crt, in Deno's cache of npm packages, whichever registry it came from. */
async function findAwsCrt(): Promise<string> {
  run(Deno.execPath(), ["cache", "--quiet", "--lock=tests/deno.lock", "--frozen", "tests/deps/aws_crt.ts"]);
  const { npmCache } = JSON.parse(run(Deno.execPath(), ["info", "--json"])) as { npmCache: string };
  for (const registry of Deno.readDirSync(npmCache)) {
    const path = `${npmCache}/${registry.name}/${AWS_CRT}`;
    const found = await Deno.stat(path).catch(() => undefined);
    if (found?.isFile) return path;
  }
  throw new EnclaveError(`Cannot find ${AWS_CRT} below ${npmCache}`, {
    code: "build_failed",
    hint: "The native tests run on Linux x86-64.",
  });
}

async function buildNative(): Promise<undefined> {
  run("bash", ["tests/native/build.sh"]);
  const copy = `${NATIVE}/aws-crt-nodejs.node`;
  if (!await Deno.stat(copy).catch(() => undefined)) await Deno.copyFile(await findAwsCrt(), copy);
}

async function buildPeers(): Promise<string | undefined> {
  const built = await buildOnce({
    name: "peers",
    inputs: [REQUIREMENTS],
    tool: "python3",
    says: "Installing moto's server and what else the end-to-end tests want of Python (once, about 15 s)",
    build: async (folder) => {
      const pip = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
        REQUIREMENTS,
      ];
      return await runBuild("python3", ["-m", "venv", `${folder}/venv`]) ??
        await runBuild(`${folder}/venv/bin/pip`, pip);
    },
  });
  if ("folder" in built) return void await linkTo(`${built.folder}/venv`, VENV);
  await Deno.remove(VENV, { recursive: true }).catch(() => {});
  return built.problem;
}

/** What can be built. Each returns why it could not be. */
const BUILDS: Readonly<
  Record<string, { readonly says: string; readonly build: () => Promise<string | undefined> }>
> = {
  native: {
    says: "the C stand-ins of tests/native, and npm's aws-crt, which has the real aws-c-common",
    build: buildNative,
  },
  peers: {
    says: "other projects' AWS servers: moto's for KMS and DynamoDB (needs Python)",
    build: buildPeers,
  },
  "eif-peer": {
    says: "a program with AWS's crate of the image format (needs cargo)",
    build: () =>
      cargoBuild({
        name: "eif-peer",
        folder: "tests/native/eif_peer",
        artifact: "eif_peer",
        output: `${NATIVE}/eif_peer`,
        says: "Building the peer of the image format (once, about 40 s)",
      }),
  },
  "aws-lc": {
    says: "real AWS-LC, with the plain names of its AEAD functions (needs cargo and a C compiler)",
    build: () =>
      cargoBuild({
        name: "aws-lc",
        folder: "tests/native/aws_lc",
        artifact: "libaws_lc_plain.so",
        output: `${NATIVE}/libaws_lc_plain.so`,
        says: "Building AWS-LC (once, about a minute)",
      }),
  },
};

const HELP = `usage: deno task build <what>...
       deno task build package [options]

${Object.entries(BUILDS).map(([name, { says }]) => `  ${name.padEnd(10)}${says}`).join("\n")}
  package   the npm package of the client's side: types, ES modules (needs npm)
options:
${helpLines(COMMON_OPTIONS)}
`;

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === "package") return await (await import("./package.ts")).main(argv.slice(1));
  const options = parseOptions(COMMON_OPTIONS, argv, undefined, { positionals: Infinity });
  if (options.on("help")) return console.log(HELP), EXIT.ok;
  const builds = options.positionals.map((name) => {
    const found = Object.hasOwn(BUILDS, name) ? BUILDS[name] : undefined;
    if (found !== undefined) return { name, ...found };
    throw new UsageError(
      `Cannot build ${JSON.stringify(name)}`,
      `Give one of: ${Object.keys(BUILDS).join(", ")}.`,
    );
  });
  if (builds.length === 0) throw new UsageError("What should be built?", "deno task build --help lists it.");
  for (const { name, build } of builds) {
    const problem = await build();
    if (problem === undefined) continue;
    console.error(`Could not build ${name}; the tests that need it are skipped. ${problem}`);
  }
  return EXIT.ok;
}

if (import.meta.main) await runEntry(main);
