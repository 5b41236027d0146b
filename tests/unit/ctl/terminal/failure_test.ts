/** How a program reports an error, and its exit code. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { failureLines } from "../../../../lib/ctl/terminal/failure.ts";
import { UsageError } from "../../../../lib/shared/cli/options.ts";
import { FileSource } from "../../../../lib/ctl/eif/source.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { connect } from "../../../../lib/shared/wire/connect.ts";

/** What SQLite throws when there is no room. */
function sqliteFull(): unknown {
  const database = new DatabaseSync(":memory:");
  database.exec("CREATE TABLE t (x)");
  database.exec("PRAGMA max_page_count = 2");
  try {
    database.exec("INSERT INTO t VALUES (zeroblob(100000))");
    return undefined;
  } catch (thrown) {
    return thrown;
  } finally {
    database.close();
  }
}

/** What Deno throws when there is no room; tests/e2e/ctl_input_test.ts has the device. */
const SYSTEM_FULL = new Error("No space left on device (os error 28)");

for (const [what, cause] of [["SQLite's", sqliteFull()], ["the system's", SYSTEM_FULL]] as const) {
  Deno.test(`a full disk is named as such in ${what} own words, and as the cause of another error`, () => {
    const wrapped = new EnclaveError("Cannot write keys.json: it did not work", {
      code: "usage",
      hint: "Name another file.",
      cause,
    });
    for (const thrown of [cause, wrapped]) {
      const { lines, exitCode } = failureLines(thrown);
      const text = lines.join("\n");
      assertStringIncludes(text, "The disk is full: free space on it");
      assertStringIncludes(text, "Cannot write");
      assertEquals(exitCode, 69);
    }
  });
}

Deno.test("a file that is not there is a mistake in the command line; an address without a listener is not", async () => {
  const codeOf = async (run: () => Promise<unknown>) => {
    try {
      await run();
    } catch (thrown) {
      return failureLines(thrown).exitCode;
    }
    return undefined;
  };
  assertEquals(await codeOf(() => FileSource.open("/nonexistent/image.eif")), 2);
  assertEquals(await codeOf(() => FileSource.open("/dev/null")), 69);
  assertEquals(await codeOf(() => connect({ transport: "tcp", hostname: "127.0.0.1", port: 1 }, 1_000)), 69);
  assertEquals(failureLines(new UsageError("no")).exitCode, 2);
});
