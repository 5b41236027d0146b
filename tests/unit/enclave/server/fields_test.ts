/** What the requests with credentials have in common. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { WireError, type WireObject } from "../../../../lib/shared/wire/messages.ts";
import { credentialedRoute } from "../../../../lib/enclave/server/fields.ts";
import { NEVER } from "../../../../lib/enclave/server/waiting.ts";
import { isWiped } from "../../../helpers/new_secret_key.ts";

const CALL = { signal: NEVER };

function request(): WireObject {
  return { aws_access_key_id: "ASIATEST", aws_secret_access_key: "SECRET", name: "alice" };
}

Deno.test("the credentials of a request are wiped when it is answered, also when that fails", async () => {
  for (const fails of [false, true]) {
    let given: Credentials | undefined;
    const route = credentialedRoute(({ ...rest }) => rest, async (parsed, credentials) => {
      given = credentials;
      assertEquals([parsed["name"], isWiped(credentials)], ["alice", false]);
      await Promise.resolve();
      if (fails) throw new WireError("busy", "in a test");
      return { status: "ok" };
    });
    await Promise.resolve(route.answer(request(), CALL)).catch((thrown) =>
      assert(thrown instanceof WireError)
    );
    assert(given !== undefined && isWiped(given));
  }
});

Deno.test("the credentials of a request that is refused before it waits are wiped too", () => {
  const made: Credentials[] = [];
  const { fromStrings } = Credentials;
  Credentials.fromStrings = (strings) => {
    const credentials = fromStrings(strings);
    made.push(credentials);
    return credentials;
  };
  try {
    const refuse = (): never => {
      throw new WireError("missing_fields", "in a test");
    };
    const route = credentialedRoute(refuse, () => Promise.resolve({ status: "ok" }));
    assertThrows(() => route.answer(request(), CALL), WireError);
    assertEquals(made.map(isWiped), [true]);
  } finally {
    Credentials.fromStrings = fromStrings;
  }
});
