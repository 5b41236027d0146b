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

/** A parsed request, and the credentials that came with it, which whoever gets it disposes of. */
export type Credentialed<T> = T & { readonly credentials: Credentials };

/**
 * Takes the credentials off a request before anything else, so that the request never keeps them, and parses
 * the rest.
 *
 * @throws {WireError} that names the field.
 */
export function parseCredentialed<T>(request: WireObject, parse: Parse<T>): Credentialed<T> {
  const credentials = Credentials.fromStrings(takeCredentials(request));
  try {
    return { ...parse(request), credentials };
  } catch (thrown) {
    credentials[Symbol.dispose]();
    throw thrown;
  }
}

/** A route whose requests carry credentials, which are wiped when the request is answered. */
export function credentialedRoute<T>(
  parse: Parse<T>,
  answer: (parsed: T, credentials: Credentials, signal: AbortSignal) => Promise<Reply>,
): Route {
  const answerAndWipe = async (parsed: Credentialed<T>, signal: AbortSignal) => {
    using credentials = parsed.credentials;
    return await answer(parsed, credentials, signal);
  };
  return { answer: (request, { signal }) => answerAndWipe(parseCredentialed(request, parse), signal) };
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
