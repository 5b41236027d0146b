/**
 * Reads what requests about KMS keys have in common.
 *
 * @module
 */
import { Credentials } from "../../shared/aws/credentials.ts";
import type { KeySelection } from "../../shared/aws/key_arn.ts";
import { optionalString, type Reply, takeCredentials, type WireObject } from "../../shared/wire/messages.ts";
import type { Route } from "./feature.ts";

/** Reads a request. @throws {WireError} with the field's name */
type Parse<T> = (request: WireObject) => T;

/**
 * A route whose requests carry credentials. These are taken off a request before anything else, so that it
 * never keeps them, and wiped when it is answered. The rest is parsed at once.
 */
export function credentialedRoute<T>(
  parse: Parse<T>,
  answer: (parsed: T, credentials: Credentials, signal: AbortSignal) => Promise<Reply>,
): Route {
  const answerAndWipe = async (parsed: T, taken: Credentials, signal: AbortSignal) => {
    using credentials = taken;
    return await answer(parsed, credentials, signal);
  };
  return {
    answer: (request, { signal }) => {
      using unused = new DisposableStack();
      const taken = Credentials.fromStrings(takeCredentials(request));
      unused.use(taken);
      const parsed = parse(request);
      unused.move();
      return answerAndWipe(parsed, taken, signal);
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
