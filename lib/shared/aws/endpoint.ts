/**
 * The endpoint of KMS's API: AWS's own endpoint of a region, or a configured one for development.
 *
 * @module
 */
import { kmsHost } from "./partitions.ts";
import { EnclaveError } from "../errors.ts";

/**
 * Reads an endpoint. Credentials, a path, a query or a fragment are refused, since a KMS endpoint has none of them.
 *
 * @returns such as `http://localhost:4566/`
 * @throws {EnclaveError} `invalid_endpoint`, without the text where it may hold a password.
 */
export function parseEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const problem = url === undefined
    ? "it is not a URL"
    : url.username !== "" || url.password !== ""
    ? "it has a user name or password"
    : !["http:", "https:"].includes(url.protocol)
    ? "it is neither http: nor https:"
    : url.hostname === ""
    ? "it has no host"
    : url.pathname !== "/" || url.search !== "" || url.hash !== ""
    ? "it has more than scheme, host and port"
    : undefined;
  if (url !== undefined && problem === undefined) return url.href;
  throw new EnclaveError(`Cannot use this endpoint of KMS: ${problem}`, {
    code: "invalid_endpoint",
    hint: "Write scheme, host and port: http://localhost:4566.",
  });
}

/** AWS's own endpoint of a region. */
export function regionEndpoint(region: string): string {
  return `https://${kmsHost(region)}/`;
}

/** Whether traffic to an endpoint can be read on the network: `http:`, and not to this machine. */
export function isReadableOnTheWay(endpoint: string): boolean {
  const { protocol, hostname } = new URL(endpoint);
  return protocol === "http:" && !/^(localhost|127(\.[0-9]+){3}|\[::1\])$/.test(hostname);
}
