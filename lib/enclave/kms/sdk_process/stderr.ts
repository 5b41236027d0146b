/**
 * Shortens, redacts and interprets what the SDK printed: the SDK reports the reason of a failed connection only on stderr.
 *
 * @module
 */
import { kmsHost } from "../../../shared/aws/partitions.ts";

/** Why KMS was not reached. */
export interface ConnectionCause {
  /** Fixed text that may be sent in a reply. */
  readonly words: string;
  /** What a person can do about it. */
  readonly hint: string;
}

/** What was printed, and its meaning where that is known. */
export interface Printed {
  readonly lines: string;
  readonly cause: ConnectionCause | undefined;
}

/** The target of the connection. */
interface Proxy {
  readonly port: number;
  readonly region: string;
}

/** The words and the hint of a cause. */
type Explain = (proxy: Proxy) => readonly [words: string, hint: string];

const start = ({ port, region }: Proxy) =>
  `Start \`vsock-proxy ${port} ${kmsHost(region)} 443\` on the parent.`;

const reaches = ({ region }: Proxy) =>
  `Look at the vsock-proxy's log on the parent: its allow-list must have ${kmsHost(region)}, and the ` +
  "parent must reach it.";

/** A connection that the peer reset: aws-c-io passes the failed system call on. */
const RESET = /AWS_ERROR_SYS_CALL_FAILURE|ECONNRESET/;

/** Causes by aws-c-io's error names and s2n's messages; the first match counts. */
const CAUSES: readonly (readonly [RegExp, Explain])[] = [
  [/TRUST_STORE_NOT_FOUND|certificate is untrusted|CERT_UNTRUSTED|unable to get.*issuer/i, () => [
    "TLS failed: the CA that signed KMS's certificate is not trusted",
    "Build the image with the CA certificates that KMS chains to (eif build --ca-bundle).",
  ]],
  [/CERT(?:IFICATE)?[ _](?:has )?(?:EXPIRED|(?:is )?NOT[ _]YET[ _]VALID)/i, () => [
    "TLS failed: the certificate has expired by the enclave's clock, or is not valid yet",
    "Check the enclave's clock (health, self_test), and that the vsock-proxy leads to KMS itself.",
  ]],
  [/host ?name|CERT_.*HOST|not valid for/i, ({ region }) => [
    `TLS failed: the proxy's certificate is for another region than ${region}, or for another host`,
    `The parent's vsock-proxy must lead to ${kmsHost(region)}.`,
  ]],
  [/TLS_NEGOTIATION_TIMEOUT/, ({ port }) => [
    `TLS failed: what is behind the vsock-proxy on port ${port} did not answer the handshake`,
    "Check that the vsock-proxy leads to KMS's port 443, and that the parent reaches it.",
  ]],
  [/AWS_IO_TLS|S2N|\bTLS\b/, ({ port, region }) => [
    `TLS failed on port ${port}: the proxy's certificate is for another region than ${region}, or its CA is not ` +
    "trusted, or it has expired",
    `The parent's vsock-proxy must lead to ${kmsHost(region)}, ` +
    "the image needs the CA certificates that KMS chains to, and the enclave's clock must be right.",
  ]],
  [/AWS_IO_DNS|getaddrinfo|name resolution/i, ({ region }) => [
    `the name of KMS in ${region} does not resolve`,
    "The vsock-proxy resolves it on the parent: check the region's name and the parent's DNS.",
  ]],
  [
    /SOCKET_TIMEOUT|SOCKET_NO_ROUTE|ETIMEDOUT/,
    (proxy) => [`no answer from the parent's port ${proxy.port} in 3 s`, start(proxy)],
  ],
  [
    /CONNECTION_REFUSED|SOCKET_NOT_CONNECTED|SOCKET_CONNECT_ABORTED|ECONNREFUSED/,
    (proxy) => [`no vsock-proxy on port ${proxy.port}`, start(proxy)],
  ],
  [RESET, (proxy) => [`the vsock-proxy on port ${proxy.port} reset the connection`, reaches(proxy)]],
  [/SOCKET_CLOSED|CONNECTION_CLOSED/, (proxy) => [
    `no vsock-proxy on port ${proxy.port}, or it closed the connection`,
    `${start(proxy)} Its allow-list must have KMS's name, and the parent must resolve and reach it.`,
  ]],
];

/** The reason of a connection that could not be made, according to the SDK's lines. */
export function explain(lines: string, proxy: Proxy): Printed {
  const [, known] = CAUSES.find(([pattern]) => pattern.test(lines)) ?? [];
  const [words = "", hint = ""] = known?.(proxy) ?? [];
  return { lines, cause: words === "" ? undefined : { words, hint } };
}

/** The reason of a call whose connection was lost before KMS answered. */
export function explainLoss(lines: string, proxy: Proxy): Printed {
  const how = RESET.test(lines) ? "was reset" : "closed";
  const words = `the connection through the vsock-proxy on port ${proxy.port} ${how} before KMS answered`;
  return { lines, cause: { words, hint: `The call can be repeated. ${reaches(proxy)}` } };
}

/**
 * Whether the SDK's lines since the request say that its connection is lost: the SDK may then wait for ever.
 * For a connection that closes it prints "Disconnected.", and then "Connection failed…" if it broke. Before
 * "Connected.", these two are about clients that were replaced.
 */
export function saysLost(lines: string, isConnecting: boolean): boolean {
  if (!isConnecting) return /(?:Disconnected\.|failed to create request)(?!.*Connected\.)/.test(lines);
  const count = (pattern: RegExp) => lines.match(pattern)?.length ?? 0;
  return lines.includes("CONNECTION_REFUSED") ||
    count(/Connection failed with error/g) > count(/Disconnected\./g);
}
