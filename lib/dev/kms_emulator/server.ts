/**
 * The local KMS as a server: KMS's JSON API over HTTPS, or over HTTP on this machine only. Needs net permission for its address.
 *
 * @module
 */
import { kmsHost } from "../../shared/aws/partitions.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { readCapped } from "./read_capped.ts";
import { serverCertificate } from "./certificates.ts";
import { KmsService, type KmsServiceOptions, optionsError } from "./service.ts";

/** Options of {@link startKmsEmulator}. */
export interface KmsEmulatorOptions extends KmsServiceOptions {
  /** 127.0.0.1 by default. */
  readonly hostname?: string | undefined;
  /** Chosen by the system by default. */
  readonly port?: number | undefined;
  /** Enables TLS: `ca.pem` and `ca.key` are kept in this folder. */
  readonly tlsFolder?: string | undefined;
  /** Further names in the certificate, in addition to the address, `localhost` and KMS's own name in this region. */
  readonly tlsNames?: readonly string[] | undefined;
}

const LOOPBACK = /^(localhost|127(\.[0-9]+){3}|::1)$/;
/** Bytes. KMS's own limit is not published; valid requests are far below this one. */
const MAX_BODY = 64 * 1024;

/** A running server. Disposing stops it. */
export interface KmsEmulator extends AsyncDisposable {
  /** Such as `https://localhost:4599`. */
  readonly url: string;
  readonly hostname: string;
  readonly port: number;
  /** PEM of the CA of its certificate; undefined without TLS. */
  readonly ca: string | undefined;
  /** Path of that file. */
  readonly caFile: string | undefined;
  /** What it serves. */
  readonly kms: KmsService;
}

/**
 * Starts a server. The caller must have checked that `DENO_SERVE_ADDRESS` is not set: it would redirect the server.
 *
 * @throws {EnclaveError} as {@link KmsService.open}, and `kms_emulator_tls`, `listen_failed`.
 */
export async function startKmsEmulator(options: KmsEmulatorOptions = {}): Promise<KmsEmulator> {
  const { hostname = "127.0.0.1", port: wanted = 0, tlsFolder: folder, tlsNames = [] } = options;
  await using stack = new AsyncDisposableStack();
  const kms = stack.use(await KmsService.open(options));
  if (folder === undefined && !LOOPBACK.test(hostname)) {
    throw optionsError(
      "without TLS it can listen only on this machine",
      "Name a folder for TLS, or 127.0.0.1.",
    );
  }
  const certificate = folder === undefined ? undefined : await serverCertificate({
    folder,
    names: [kmsHost(kms.region), "localhost", "127.0.0.1", hostname, ...tlsNames],
    now: options.now?.() ?? new Date(),
  });
  const ending = new AbortController();
  const server = serve(kms, {
    hostname,
    port: wanted,
    signal: ending.signal,
    onListen: () => {},
    onError: (thrown) => {
      options.onProblem?.(`a request failed: ${messageOf(thrown)}`);
      return new Response(null, { status: 500 });
    },
    ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
  });
  stack.defer(async () => {
    ending.abort();
    await server.finished;
  });
  const running = stack.move();
  const { port } = server.addr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `${certificate === undefined ? "http" : "https"}://${host}:${port}`,
    hostname,
    port,
    ca: certificate?.ca,
    caFile: certificate?.caFile,
    kms,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function serve(
  service: KmsService,
  options: Deno.ServeTcpOptions & Partial<Deno.TlsCertifiedKeyPem>,
): Deno.HttpServer<Deno.NetAddr> {
  const isSecure = options.cert !== undefined;
  try {
    return Deno.serve(options, async ({ method, url, headers, body: stream }) => {
      const body = await readCapped(stream, MAX_BODY);
      if (body === undefined) return new Response(null, { status: 413 });
      try {
        return await service.answer({ method, url, headers, body }, isSecure);
      } finally {
        // It may have held a plaintext.
        body.fill(0);
      }
    });
  } catch (thrown) {
    throw new EnclaveError(`Cannot listen on ${options.hostname}:${options.port}: ${messageOf(thrown)}`, {
      code: "listen_failed",
      hint: "Another process may have the port: stop it, or choose another one.",
      cause: thrown,
    });
  }
}
