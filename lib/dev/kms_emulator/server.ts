/**
 * A local KMS emulator: KMS's JSON API over HTTPS, or over HTTP on this machine only. It is not in the graph of the production entry, and
 * refuses to start where there is an NSM. Needs net permission for its address, read and write for its files, and `--allow-ffi` for libc.
 *
 * @module
 */
import { AWS_NITRO_ROOT } from "../../shared/attestation/root.ts";
import { kmsHost } from "../../shared/aws/partitions.ts";
import { isRegion } from "../../shared/aws/region.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { LOCAL_ACCOUNT } from "../kms/local.ts";
import type { AuditEvent } from "./audit.ts";
import { serverCertificate } from "./certificates.ts";
import { HTTP_LIMITS, type HttpLimits, HttpServer } from "./http.ts";
import { KeyRing } from "./keys.ts";
import { type Caller, type KeyPolicy, parseCaller, parseKeyPolicy } from "./policy.ts";
import { KmsService } from "./service.ts";
import { type AccessKey, AccessKeys } from "./signature.ts";

/** A key policy, and its key by ARN or id; without a key, it applies to all keys. */
export interface PolicyFor {
  readonly key?: string | undefined;
  /** JSON. */
  readonly policy: string;
}

/** Options of {@link KmsEmulator.start}. */
export interface KmsEmulatorOptions {
  /** 127.0.0.1 by default. */
  readonly hostname?: string | undefined;
  /** Chosen by the system by default. */
  readonly port?: number | undefined;
  /** us-east-1 by default. */
  readonly region?: string | undefined;
  /** The account of new keys, 12 digits. */
  readonly account?: string | undefined;
  /** Enables TLS: `ca.pem` and `ca.key` are kept in this folder. */
  readonly tlsFolder?: string | undefined;
  /** Further names in the certificate, in addition to the address, `localhost` and KMS's own name in this region. */
  readonly tlsNames?: readonly string[] | undefined;
  /** Keys are kept here, mode 0600. Without it they exist only in memory. */
  readonly keysFile?: string | undefined;
  /** A later policy replaces an earlier one of the same key. KMS's default policy if none is given. */
  readonly policies?: readonly PolicyFor[] | undefined;
  /** Access keys to check signatures with; the server takes ownership. Without them, every caller is `caller`. */
  readonly accessKeys?: readonly AccessKey[] | undefined;
  /** ARN of the caller where signatures are not checked; the account's root by default. */
  readonly caller?: string | undefined;
  /** DER of the root of the attestation documents; AWS's by default. */
  readonly root?: Uint8Array | undefined;
  readonly limits?: Partial<HttpLimits> | undefined;
  /** Receives each event. Must not throw. */
  readonly onEvent?: ((event: AuditEvent) => void) | undefined;
  /** Called for connections that ended with an error, and for internal errors. Must not throw. */
  readonly onProblem?: ((what: string) => void) | undefined;
  /** For tests. */
  readonly now?: (() => Date) | undefined;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string | undefined;
}

const DEFAULT_REGION = "us-east-1";
const LOOPBACK = /^(localhost|127(\.[0-9]+){3}|::1)$/;

function usage(what: string, hint: string, cause?: unknown): EnclaveError {
  return new EnclaveError(`Cannot start the local KMS: ${what}`, {
    code: "kms_emulator_options",
    hint,
    cause,
  });
}

/** The server. Disposing stops it. */
export class KmsEmulator implements AsyncDisposable {
  /** Such as `https://localhost:4599`. */
  readonly url: string;
  readonly hostname: string;
  readonly port: number;
  /** PEM of the CA of its certificate; undefined without TLS. */
  readonly ca: string | undefined;
  /** Path of that file. */
  readonly caFile: string | undefined;
  #keys: KeyRing;
  #running: AsyncDisposableStack;

  private constructor(
    made: Pick<KmsEmulator, "url" | "hostname" | "port" | "ca" | "caFile">,
    keys: KeyRing,
    running: AsyncDisposableStack,
  ) {
    this.url = made.url;
    this.hostname = made.hostname;
    this.port = made.port;
    this.ca = made.ca;
    this.caFile = made.caFile;
    this.#keys = keys;
    this.#running = running;
  }

  /**
   * Starts it.
   *
   * @throws {EnclaveError} `local_kms_refused` in an enclave, `local_kms_file`, `kms_emulator_tls`, `kms_emulator_options`, `listen_failed`.
   * @throws {KmsRefusal} on an invalid policy.
   */
  static async start(options: KmsEmulatorOptions = {}): Promise<KmsEmulator> {
    const { hostname = "127.0.0.1", region = DEFAULT_REGION, account = LOCAL_ACCOUNT } = options;
    const { now = () => new Date(), tlsFolder, onProblem = () => {} } = options;
    await using stack = new AsyncDisposableStack();
    // Comes first, so that the keys are wiped if anything fails.
    const accessKeys = options.accessKeys === undefined
      ? undefined
      : stack.use(new AccessKeys(options.accessKeys, { region, now }));
    if (!isRegion(region)) throw usage("the region is not valid", "Give a region's name such as us-west-2.");
    if (!/^[0-9]{12}$/.test(account)) throw usage("the account is not valid", "An account has 12 digits.");
    if (tlsFolder === undefined && !LOOPBACK.test(hostname)) {
      throw usage("without TLS it can listen only on this machine", "Name a folder for TLS, or 127.0.0.1.");
    }
    const caller = parseCaller(options.caller ?? `arn:aws:iam::${account}:root`);
    const keys = stack.use(
      await KeyRing.open({
        region,
        account,
        now,
        file: options.keysFile,
        ...(options.nsmDevice === undefined ? {} : { nsmDevice: options.nsmDevice }),
      }),
    );
    putPolicies(keys, options.policies ?? []);
    const certificate = tlsFolder === undefined ? undefined : await serverCertificate({
      folder: tlsFolder,
      names: [kmsHost(region), "localhost", "127.0.0.1", hostname, ...options.tlsNames ?? []],
      now,
    });
    const listener = listen({ hostname, port: options.port ?? 0 }, certificate);
    const service = new KmsService({
      keys,
      region,
      now,
      root: options.root ?? AWS_NITRO_ROOT,
      identify: accessKeys === undefined
        ? () => anybody(caller)
        : (request, service) => accessKeys.identify(request, service),
      onEvent: options.onEvent ?? (() => {}),
      onProblem,
    });
    stack.use(
      new HttpServer({
        listener,
        limits: { ...HTTP_LIMITS, ...options.limits },
        onProblem,
        answer: (request) => service.answer({ ...request, isSecure: certificate !== undefined }),
      }),
    );
    const { port } = listener.addr;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    return new KmsEmulator(
      {
        url: `${certificate === undefined ? "http" : "https"}://${host}:${port}`,
        hostname,
        port,
        ca: certificate?.ca,
        caFile: certificate?.caFile,
      },
      keys,
      stack.move(),
    );
  }

  /** The keys' ARNs, oldest first. */
  get keyArns(): readonly string[] {
    return this.#keys.keys.map(({ arn }) => arn);
  }

  /** As PutKeyPolicy, but without an authorisation check. @throws {KmsRefusal} */
  putPolicy(key: string, policy: string): void {
    this.#keys.find(key).policy = parseKeyPolicy(policy);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running.disposeAsync();
  }
}

function anybody(caller: Caller): { readonly caller: Caller; readonly accessKeyId: string } {
  return { caller, accessKeyId: "" };
}

function putPolicies(keys: KeyRing, policies: readonly PolicyFor[]): void {
  const read: readonly (readonly [string | undefined, KeyPolicy])[] = policies.map((
    { key, policy },
  ) => [key, parseKeyPolicy(policy)]);
  for (const [key, policy] of read) {
    for (const found of key === undefined ? keys.keys : [keys.find(key)]) found.policy = policy;
  }
}

function listen(
  address: { readonly hostname: string; readonly port: number },
  certificate: { readonly cert: string; readonly key: string } | undefined,
): Deno.TcpListener | Deno.TlsListener {
  try {
    if (certificate === undefined) return Deno.listen({ ...address, transport: "tcp" });
    const { cert, key } = certificate;
    return Deno.listenTls({ ...address, cert, key, alpnProtocols: ["http/1.1"] });
  } catch (thrown) {
    throw new EnclaveError(
      `Cannot listen on ${address.hostname}:${address.port}: ${messageOf(thrown)}`,
      {
        code: "listen_failed",
        hint: "Another process may have the port: stop it, or choose another one.",
        cause: thrown,
      },
    );
  }
}
