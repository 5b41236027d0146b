/**
 * Installs what the end-to-end tests talk to and npm does not have: moto's server (KMS and DynamoDB), into a venv of its own. Where there is no
 * Python, it says so, and those tests say that they were skipped.
 *
 * @module
 */
const PEERS = "tests/peers";
const VENV = `${PEERS}/build/venv`;
const STAMP = `${PEERS}/build/requirements.installed`;
const INSTALL_MS = 300_000;

async function run(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command(command, {
      args: [...args],
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(INSTALL_MS),
    }).output();
    return success ? undefined : new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join("\n");
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}

const requirements = await Deno.readTextFile(`${PEERS}/requirements.txt`);
const installed = await Deno.readTextFile(STAMP).catch(() => "");
if (installed !== requirements) {
  await Deno.mkdir(`${PEERS}/build`, { recursive: true });
  await Deno.remove(VENV, { recursive: true }).catch(() => {});
  console.error(
    "Installing moto's server and what else the end-to-end tests want of Python (once, about 15 s)",
  );
  const problem = await run("python3", ["-m", "venv", VENV]) ??
    await run(`${VENV}/bin/pip`, [
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--no-deps",
      "--requirement",
      `${PEERS}/requirements.txt`,
    ]);
  if (problem === undefined) await Deno.writeTextFile(STAMP, requirements);
  else console.error(`Could not install it; the tests that need it are skipped. ${problem}`);
}
