/**
 * Builds what the native tests open: the C stand-ins of `tests/native/`, and a copy of npm's aws-crt, which has the real aws-c-common. Into
 * `tests/native/build/`, so that FFI permission can name one folder of the tests.
 *
 * @module
 */
import { EnclaveError } from "../lib/shared/errors.ts";
import { describeFailure } from "../lib/shared/cli/failure.ts";

const BUILD = "tests/native/build";
const AWS_CRT = "aws-crt/1.33.2/dist/bin/linux-x64-glibc/aws-crt-nodejs.node";

function run(command: string, args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(command, { args: [...args] }).outputSync();
  if (success) return new TextDecoder().decode(stdout);
  throw new EnclaveError(`${command} ${args.join(" ")} failed:\n${new TextDecoder().decode(stderr)}`, {
    code: "build_failed",
    hint: "A C compiler named cc and bash must be installed.",
  });
}

/** The package's library, in Deno's cache of npm packages, whichever registry it came from. */
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

try {
  run("bash", ["tests/native/build.sh"]);
  const copy = `${BUILD}/aws-crt-nodejs.node`;
  if (!await Deno.stat(copy).catch(() => undefined)) await Deno.copyFile(await findAwsCrt(), copy);
} catch (thrown) {
  const { text, exitCode } = describeFailure(thrown);
  Deno.stderr.writeSync(new TextEncoder().encode(text));
  Deno.exit(exitCode);
}
