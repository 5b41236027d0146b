/** Properties of requests' documents. */
import { assert } from "@std/assert";
import fc from "fast-check";
import { parseObject, takeCredentials, WireError } from "../../../../lib/shared/wire/messages.ts";
import { runs } from "../../../helpers/effort.ts";

const RUNS = runs(500);

Deno.test("any bytes as a document give an object or a WireError, and any object gives credentials or a WireError", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map((text) => new TextEncoder().encode(text))),
      (bytes) => {
        try {
          takeCredentials(parseObject(bytes));
        } catch (thrown) {
          assert(thrown instanceof WireError, String(thrown));
        }
      },
    ),
    RUNS,
  );
});
