/** Credentials: clones and fingerprints. */
import { assertEquals } from "@std/assert";
import { Credentials } from "../../../../lib/shared/aws/credentials.ts";
import { isWiped } from "../../../helpers/new_secret_key.ts";

Deno.test("credentials have one fingerprint for each set and region", () => {
  const fingerprint = (
    accessKeyId: string,
    secretAccessKey: string,
    sessionToken: string,
    region: string,
  ) => {
    using credentials = Credentials.fromStrings({ accessKeyId, secretAccessKey, sessionToken });
    return credentials.fingerprint(region);
  };
  const prints = [
    fingerprint("AB", "C", "T", "r"),
    fingerprint("A", "BC", "T", "r"),
    fingerprint("AB", "CT", "", "r"),
    fingerprint("AB", "C", "U", "r"),
    fingerprint("AB", "C", "T", "s"),
    fingerprint("AB", "C", "", "Tr"),
  ];
  assertEquals([new Set(prints).size, fingerprint("AB", "C", "T", "r")], [prints.length, prints[0]]);
});

Deno.test("a clone of credentials outlives its original", () => {
  const original = Credentials.fromStrings({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "T" });
  using clone = original.clone();
  const before = clone.fingerprint("r");
  original[Symbol.dispose]();
  assertEquals([isWiped(original), clone.fingerprint("r")], [true, before]);
});
