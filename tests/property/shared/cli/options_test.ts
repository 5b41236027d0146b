/** Properties of command lines and configurations. */
import { assert } from "@std/assert";
import fc from "fast-check";
import { parseOptions, UsageError } from "../../../../lib/shared/cli/options.ts";
import { NITRO_OPTIONS, readServeConfig, SERVE_OPTIONS } from "../../../../lib/shared/cli/serve_options.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { runs } from "../../../helpers/effort.ts";

const RUNS = runs(500);

Deno.test("any command line is read or refused with a UsageError", () => {
  const words = fc.oneof(
    fc.string(),
    fc.constantFrom("--port", "-p", "--listen=x", "--", "--kms-key", "--no-port", "---", "-pq", "--port="),
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 8 }), (argv) => {
      try {
        parseOptions([...SERVE_OPTIONS, ...NITRO_OPTIONS], argv);
      } catch (thrown) {
        assert(thrown instanceof UsageError, String(thrown));
      }
    }),
    RUNS,
  );
});

Deno.test("any configuration is read, or refused with a message", () => {
  const values = fc.dictionary(
    fc.constantFrom(...SERVE_OPTIONS.map((spec) => spec.env)),
    fc.oneof(fc.string(), fc.constantFrom("0", "1", "true", "-1", "99999999999", "a=b", "unix:/a")),
  );
  fc.assert(
    fc.property(values, (env) => {
      try {
        readServeConfig(parseOptions(SERVE_OPTIONS, [], (name) => env[name]));
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.message !== "", String(thrown));
      }
    }),
    RUNS,
  );
});
