/**
 * Python and Go, in the versions that the clients need. A test whose language is missing is skipped, and the
 * run reports it.
 *
 * @module
 */
import { skipTests } from "./skip.ts";
import { findTool } from "./tools.ts";

const VENV = new URL("../peers/build/venv/bin/python", import.meta.url).pathname;
const GO = { major: 1, minor: 24 };

/** Nothing is downloaded: no module, and no other version of Go. */
export const GO_ENV: Readonly<Record<string, string>> = {
  GOTOOLCHAIN: "local",
  GOFLAGS: "-mod=readonly -buildvcs=false",
  GOPROXY: "off",
  CGO_ENABLED: "0",
};

/** A Python that has what the client needs, and these modules. @param what is skipped without it */
export function findPython(what: string, modules: readonly string[] = []): string | undefined {
  const check = ["-c", `import ${["cryptography.hazmat.primitives.asymmetric.x25519", ...modules].join()}`];
  const missing = `${what}, since there is no Python with ${["cryptography", ...modules].join(", ")}`;
  return findTool([[VENV, ...check], ["python3", ...check]], `${missing} (deno task build peers)`);
}

/** A Go that is new enough. @param what is skipped without it */
export function findGo(what: string): string | undefined {
  for (const command of ["go", "/usr/local/go/bin/go"]) {
    try {
      const { stdout } = new Deno.Command(command, { args: ["env", "GOVERSION"], env: GO_ENV }).outputSync();
      const [, major = 0, minor = 0] = /^go(\d+)\.(\d+)/.exec(new TextDecoder().decode(stdout)) ?? [];
      if (Number(major) > GO.major || (Number(major) === GO.major && Number(minor) >= GO.minor)) {
        return command;
      }
    } catch {
      // It is not there.
    }
  }
  skipTests(`${what}, since there is no Go ${GO.major}.${GO.minor} (Debian: golang-go)`);
  return undefined;
}
