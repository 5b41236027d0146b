/**
 * Reads what requests about KMS keys have in common.
 *
 * @module
 */
import { Credentials } from "../../shared/aws/credentials.ts";
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { optionalString, type Reply, takeCredentials, type WireObject } from "../../shared/wire/messages.ts";
import type { Call, Route } from "./feature.ts";

/** Reads a request. @throws {WireError} with the field's name */
type Parse<T> = (request: WireObject) => T;

/**
 * A route whose requests carry credentials. These are taken off a request before anything else, so that the
 * request never keeps them, and wiped when it is answered.
 *
 * @param parse reads the rest
 */
export function credentialedRoute<T>(
  parse: Parse<T>,
  answer: (parsed: T, credentials: Credentials, call: Call) => Promise<Reply>,
): Route {
  const answerAndWipe = async (parsed: T, taken: Credentials, call: Call) => {
    using credentials = taken;
    return await answer(parsed, credentials, call);
  };
  return {
    answer: (request, call) => {
      using unused = new DisposableStack();
      const credentials = unused.use(Credentials.fromStrings(takeCredentials(request)));
      const parsed = parse(request);
      unused.move();
      return answerAndWipe(parsed, credentials, call);
    },
  };
}

/**
 * The KMS key and the region that a request selects. An empty field counts as absent.
 *
 * @param names fields that may have the key; the first that is given counts
 * @throws {WireError} `missing_fields`
 */
export function keySelection(request: WireObject, names: readonly string[]): KeySelection {
  const region = optionalString(request, "region") || undefined;
  for (const name of names) {
    const key = optionalString(request, name) || undefined;
    if (key !== undefined) return { key, region, field: name };
  }
  return { key: undefined, region, field: undefined };
}
