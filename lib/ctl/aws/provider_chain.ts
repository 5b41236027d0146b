/**
 * Credentials from AWS's own provider chain: environment, SSO, container, instance metadata v2.
 *
 * @module
 */
import type { ParentCredentials } from "./credential_source.ts";
import { fromNodeProviderChain } from "./deps/aws_sdk.ts";

const ATTEMPT_MS = 2_000;

/** AWS's provider chain, without caching. */
export function providerChain(region: string | undefined): () => Promise<ParentCredentials> {
  const chain = fromNodeProviderChain({
    timeout: ATTEMPT_MS,
    maxRetries: 2,
    ...(region === undefined ? {} : { clientConfig: { region } }),
  });
  // The chain keeps what it found until that expires by its own word; who asks here wants fresh ones.
  return () => chain({ forceRefresh: true });
}
