/** Properties of addresses. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { type Address, formatAddress, parseAddress } from "../../../../lib/shared/wire/address.ts";
import { runs } from "../../../helpers/effort.ts";

const RUNS = runs(500);

Deno.test("any address is read and written the same again, or refused as one", () => {
  const words = fc.tuple(
    fc.constantFrom("vsock", "tcp", "unix", "", "http"),
    fc.oneof(fc.string(), fc.ipV6(), fc.ipV4(), fc.integer().map(String)),
    fc.oneof(fc.nat().map(String), fc.string()),
  ).map((parts) => parts.join(":"));
  fc.assert(
    fc.property(fc.oneof(words, fc.string()), (text) => {
      let address: Address;
      try {
        address = parseAddress(text);
      } catch (thrown) {
        assert(thrown instanceof EnclaveError && thrown.code === "invalid_address", String(thrown));
        return;
      }
      assertEquals(parseAddress(formatAddress(address)), address);
    }),
    RUNS,
  );
});
