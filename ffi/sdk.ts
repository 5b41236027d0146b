/**
 * The SDK as disposable objects. This module only wraps the C calls; `lib/enclave/kms/aws_ne` makes KMS calls of them.
 *
 * Thread: all calls of one process must come from one thread, since `aws_last_error()` belongs to a thread, and since
 * init and clean-up are process-wide. Permission: FFI on the two (or three) files.
 *
 * @module
 */
import {
  SdkGenericError,
  SdkInitError,
  SdkKmsClientError,
  SdkKmsConfigError,
  SdkLayoutError,
  type SdkReason,
} from "./errors.ts";
import { AWS_OP_SUCCESS, AWS_SOCKET_VSOCK_DOMAIN } from "./constants.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  AWS_STRING,
  byteCursor,
  KMS_CLIENT,
  readWord,
  REST_CLIENT_LAYOUTS,
  REST_RESPONSE,
  RSA_KEYPAIR,
  socketEndpoint,
  stableBytes,
} from "./layout.ts";
import type { IsMapped } from "./libc.ts";
import { type OpenLibraries, openLibraries, type OpenLibrariesOptions } from "./library.ts";
import type { CommonSymbols, SdkSymbols, SymbolName } from "./symbols.ts";

/** No result of KMS is as large as this; a length beyond it means that memory was misread. */
const MAX_RESULT_LENGTH = 1 << 20;
const MAX_C_STRING_LENGTH = 4096;

/** Kinds of C objects that a {@link Handle} can own. The kind is part of the type: handles cannot be mixed up. */
export type HandleKind =
  | "aws_string"
  | "aws_nitro_enclaves_kms_client_configuration"
  | "aws_nitro_enclaves_kms_client"
  | "aws_nitro_enclaves_rest_response";

/** An address of a C object of one kind. */
export type Pointer<Kind extends string> = bigint & { readonly addressOf?: Kind };

/** The internals of a client that an attested request needs. Found and checked by {@link NitroSdk.internalsOf}. */
export interface ClientInternals {
  /** The `aws_nitro_enclaves_rest_client *` of the client. */
  readonly restClient: Pointer<"aws_nitro_enclaves_rest_client">;
  /** The `aws_rsa_keypair *` of the client. */
  readonly keypair: Pointer<"aws_rsa_keypair">;
  /** The `aws_http_connection *` of the rest client. */
  readonly connection: Pointer<"aws_http_connection">;
}

/** User space ends below this on x86-64 and, with 48-bit addresses, on aarch64. */
const USER_SPACE_END = 1n << 48n;
/** Nothing is mapped below (vm.mmap_min_addr). */
const USER_SPACE_START = 0x1000n;

function isPlausiblePointer(address: bigint): boolean {
  return address >= USER_SPACE_START && address < USER_SPACE_END && address % 8n === 0n;
}

/** Owns one C object. Disposing releases it, once. Made by {@link SdkLibrary.own}. */
export class Handle<Kind extends HandleKind> implements Disposable {
  /** Which C type. */
  readonly kind: Kind;
  #address: bigint;
  #release: (address: bigint) => void;

  /** Takes ownership of the object. */
  constructor(kind: Kind, address: bigint, release: (address: bigint) => void) {
    this.kind = kind;
    this.#address = address;
    this.#release = release;
  }

  /**
   * Where the object is.
   *
   * @throws {TypeError} after it was released.
   */
  get address(): Pointer<Kind> {
    if (this.#address === 0n) throw new TypeError(`Cannot use ${this.kind}: it was released`);
    return this.#address as Pointer<Kind>;
  }

  /** Releases the object. */
  [Symbol.dispose](): void {
    const address = this.#address;
    this.#address = 0n;
    if (address !== 0n) this.#release(address);
  }
}

/** A `struct aws_string *`. */
export type AwsString = Handle<"aws_string">;
/** A `struct aws_nitro_enclaves_kms_client_configuration *`. */
export type KmsClientConfig = Handle<"aws_nitro_enclaves_kms_client_configuration">;
/** A `struct aws_nitro_enclaves_kms_client *`. */
export type KmsClient = Handle<"aws_nitro_enclaves_kms_client">;

/** An `aws_byte_buf` that the SDK fills. Disposing zeroes and frees what it holds. Made by {@link SdkLibrary.outBuffer}. */
export class OutBuffer implements Disposable {
  /** The struct itself, for passing to the SDK. */
  readonly struct: Uint8Array<ArrayBuffer> = stableBytes(AWS_BYTE_BUF.size);
  #sdk: NitroSdk;
  #release: (buffer: OutBuffer) => void;

  /** Empty, until the SDK fills it. */
  constructor(sdk: NitroSdk, release: (buffer: OutBuffer) => void) {
    this.#sdk = sdk;
    this.#release = release;
  }

  /**
   * A copy of what the SDK wrote.
   *
   * @throws {SdkGenericError} when the length cannot be right.
   */
  contents(): Uint8Array<ArrayBuffer> {
    return this.#sdk.readMemory(
      readWord(this.struct, AWS_BYTE_BUF.buffer),
      readWord(this.struct, AWS_BYTE_BUF.len),
    );
  }

  /** Zeroes and frees what it holds. */
  [Symbol.dispose](): void {
    this.#release(this);
  }
}

/** Caller's bytes as an `aws_byte_buf` without an allocator: the SDK borrows them for a call. Wiped when disposed. */
export class InBuffer implements Disposable {
  /** The struct itself, for passing to the SDK. */
  readonly struct: Uint8Array<ArrayBuffer>;
  #bytes: Uint8Array<ArrayBuffer>;

  /** Takes ownership of bytes that do not move, and of the struct that points at them. */
  constructor(bytes: Uint8Array<ArrayBuffer>, struct: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
    this.struct = struct;
  }

  /** The same memory as an `aws_byte_cursor`. */
  get cursor(): Uint8Array<ArrayBuffer> {
    return this.struct.slice(0, AWS_BYTE_CURSOR.size);
  }

  /** Zeroes the bytes. */
  [Symbol.dispose](): void {
    this.#bytes.fill(0);
  }
}

/** The initialised library, process-wide. Disposing releases what is still held, newest first, then cleans up. */
export class SdkLibrary implements Disposable {
  /** The SDK's own allocator; it must not be freed. */
  readonly allocator: Pointer<"aws_allocator">;
  #sdk: NitroSdk;
  #cleanUp: () => void;
  #held = new Set<Disposable>();
  #disposed = false;

  /** Takes ownership of an initialised library. */
  constructor(sdk: NitroSdk, allocator: Pointer<"aws_allocator">, cleanUp: () => void) {
    this.#sdk = sdk;
    this.allocator = allocator;
    this.#cleanUp = cleanUp;
  }

  /**
   * A handle that is released when this library is disposed, if not earlier.
   *
   * @param release called once, with the address; everything it closes over stays alive as long as the handle
   */
  own<Kind extends HandleKind>(
    kind: Kind,
    address: bigint,
    release: (address: bigint) => void,
  ): Handle<Kind> {
    this.#checkUsable();
    const handle: Handle<Kind> = new Handle(kind, address, (owned) => {
      this.#held.delete(handle);
      release(owned);
    });
    this.#held.add(handle);
    return handle;
  }

  /** A buffer for the SDK to fill. */
  outBuffer(): OutBuffer {
    this.#checkUsable();
    const buffer = new OutBuffer(this.#sdk, (owned) => {
      this.#held.delete(owned);
      // A failed call leaves the struct zeroed: nothing was allocated. Clean-up zeroes the struct as well.
      if (readWord(owned.struct, AWS_BYTE_BUF.buffer) !== 0n) this.#sdk.cleanUpBuffer(owned.struct);
    });
    this.#held.add(buffer);
    return buffer;
  }

  #checkUsable(): void {
    if (this.#disposed) throw new TypeError("Cannot use the SDK: its library was cleaned up");
  }

  /** Releases what is held, then cleans up. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    try {
      for (const handle of [...this.#held].reverse()) handle[Symbol.dispose]();
    } finally {
      this.#cleanUp();
    }
  }
}

/** The open SDK. */
export class NitroSdk implements Disposable {
  /** Where the libraries were found. */
  readonly directory: string;
  #libraries: OpenLibraries;
  #isMapped: IsMapped;
  #closed = false;
  #initialised = false;

  /**
   * Takes ownership of open libraries.
   *
   * @param isMapped called before following a pointer that the SDK did not return itself
   */
  constructor(libraries: OpenLibraries, isMapped: IsMapped = () => true) {
    this.#libraries = libraries;
    this.#isMapped = isMapped;
    this.directory = libraries.directory;
  }

  // Deno lets symbols be called after close(), into unmapped memory: hence the guard on every way in.
  get #common(): CommonSymbols {
    this.#checkOpen();
    return this.#libraries.common.symbols;
  }

  get #sdk(): SdkSymbols {
    this.#checkOpen();
    return this.#libraries.sdk.symbols;
  }

  #checkOpen(): void {
    if (this.#closed) throw new TypeError("Cannot use the SDK: it was closed");
  }

  /** Unloads the libraries. Only for a process that makes no more KMS calls. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libraries.sdk.close();
    this.#libraries.common.close();
    this.#libraries.nsm?.close();
  }

  /**
   * `aws_nitro_enclaves_library_init` and `_get_allocator`.
   *
   * @throws {SdkInitError} when there is no allocator, or the library is initialised already.
   */
  initLibrary(): SdkLibrary {
    if (this.#initialised) {
      throw new SdkInitError(
        "Cannot initialise the SDK: it is initialised already, and it is one a process",
        {
          symbol: "aws_nitro_enclaves_library_init",
          hint: "Finish the first one-shot call before the next, or use a warm session.",
        },
      );
    }
    this.#sdk.aws_nitro_enclaves_library_init(0n);
    this.#initialised = true;
    const cleanUp = () => {
      this.#initialised = false;
      this.#sdk.aws_nitro_enclaves_library_clean_up();
    };
    const allocator = this.#sdk.aws_nitro_enclaves_get_allocator();
    if (allocator === 0n) {
      const reason = this.lastError();
      cleanUp();
      throw new SdkInitError("Cannot initialise the SDK: it has no allocator", {
        symbol: "aws_nitro_enclaves_get_allocator",
        sdk: reason,
        hint: "Check that both libraries come from the same build of the SDK.",
      });
    }
    return new SdkLibrary(this, allocator as Pointer<"aws_allocator">, cleanUp);
  }

  /** Whether the kernel's entropy pool was seeded from the NSM. False outside an enclave. */
  seedEntropy(bytes: number): boolean {
    return this.#sdk.aws_nitro_enclaves_library_seed_entropy(BigInt(bytes)) === AWS_OP_SUCCESS;
  }

  /** The SDK's last error on this thread, or undefined when it set none. */
  lastError(): SdkReason | undefined {
    const code = this.#common.aws_last_error();
    if (code === 0) return undefined;
    return {
      code,
      name: this.#readCString(this.#common.aws_error_name(code)),
      text: this.#readCString(this.#common.aws_error_str(code)),
    };
  }

  #readCString(address: bigint): string {
    if (address === 0n) return "";
    const cursor = this.#common.aws_byte_cursor_from_c_str(address);
    const length = Number(readWord(cursor, AWS_BYTE_CURSOR.len));
    return new TextDecoder().decode(this.readMemory(address, BigInt(Math.min(length, MAX_C_STRING_LENGTH))));
  }

  /**
   * Copies C memory.
   *
   * @throws {SdkGenericError} when the length is out of bounds.
   */
  readMemory(address: bigint, length: bigint): Uint8Array<ArrayBuffer> {
    if (length === 0n) return stableBytes(0);
    if (address === 0n || length < 0n || length > BigInt(MAX_RESULT_LENGTH)) {
      throw new SdkGenericError(`Cannot read ${length} bytes from the SDK: that cannot be a result`, {
        symbol: "aws_byte_cursor_read",
        hint: "The libraries may be of a version with other struct layouts: SDK 0.4 is supported.",
      });
    }
    const bytes = stableBytes(Number(length));
    if (!this.#common.aws_byte_cursor_read(byteCursor(address, bytes.length), bytes, length)) {
      throw new SdkGenericError(`Cannot read ${length} bytes from the SDK`, {
        symbol: "aws_byte_cursor_read",
      });
    }
    return bytes;
  }

  /** `aws_byte_buf_clean_up_secure`. */
  cleanUpBuffer(struct: Uint8Array<ArrayBuffer>): void {
    this.#common.aws_byte_buf_clean_up_secure(struct);
  }

  /** A copy of the bytes in memory that the SDK may point at. */
  inBuffer(bytes: Uint8Array): InBuffer {
    const copy = stableBytes(bytes.length);
    copy.set(bytes);
    const struct = this.#common.aws_byte_buf_from_array(copy, BigInt(copy.length));
    return new InBuffer(copy, struct as Uint8Array<ArrayBuffer>);
  }

  /**
   * `aws_string_new_from_array`; released by `aws_string_destroy_secure`.
   *
   * @param bytes borrowed; copied by the SDK
   * @throws {SdkGenericError} when the SDK could not allocate.
   */
  newString(library: SdkLibrary, bytes: Uint8Array<ArrayBuffer>): AwsString {
    const address = this.#common.aws_string_new_from_array(library.allocator, bytes, BigInt(bytes.length));
    if (address === 0n) {
      throw new SdkGenericError(`Cannot make a string of ${bytes.length} bytes in the SDK`, {
        symbol: "aws_string_new_from_array",
        sdk: this.lastError(),
        hint: "The enclave may be out of memory: give it more (run-enclave --memory).",
      });
    }
    return library.own("aws_string", address, (owned) => this.#common.aws_string_destroy_secure(owned));
  }

  /**
   * `aws_nitro_enclaves_kms_client_config_default`. Region and endpoint are kept by the SDK until the client is made.
   *
   * @param endpoint an `aws_socket_endpoint` in memory that does not move
   * @throws {SdkKmsConfigError} when the SDK gave NULL.
   */
  newClientConfig(
    library: SdkLibrary,
    parts: {
      readonly region: AwsString;
      readonly endpoint: Uint8Array<ArrayBuffer>;
      readonly accessKeyId: AwsString;
      readonly secretAccessKey: AwsString;
      readonly sessionToken: AwsString;
    },
  ): KmsClientConfig {
    const address = this.#sdk.aws_nitro_enclaves_kms_client_config_default(
      parts.region.address,
      parts.endpoint,
      AWS_SOCKET_VSOCK_DOMAIN,
      parts.accessKeyId.address,
      parts.secretAccessKey.address,
      parts.sessionToken.address,
    );
    if (address === 0n) {
      throw new SdkKmsConfigError("Cannot make a KMS client configuration", {
        symbol: "aws_nitro_enclaves_kms_client_config_default",
        sdk: this.lastError(),
        hint: "Check the credentials: access key id and secret must not be empty.",
      });
    }
    const { endpoint, region } = parts;
    return library.own("aws_nitro_enclaves_kms_client_configuration", address, (owned) => {
      this.#sdk.aws_nitro_enclaves_kms_client_config_destroy(owned);
      // The SDK points at both until here: using them keeps them from being collected, and throws if the region was released too early.
      endpoint.fill(0);
      void region.address;
    });
  }

  /** An `aws_socket_endpoint`, checked. */
  endpoint(cid: string, port: number): Uint8Array<ArrayBuffer> {
    return socketEndpoint(cid, port);
  }

  /**
   * `aws_nitro_enclaves_kms_client_new`: makes a key pair, connects to the proxy, does the TLS handshake. Blocks.
   *
   * @param owner `library` releases the client with the library; `process` keeps it until the process ends
   * @throws {SdkKmsClientError} when the SDK gave NULL.
   */
  newClient(library: SdkLibrary, config: KmsClientConfig, owner: "library" | "process"): KmsClient {
    const address = this.#sdk.aws_nitro_enclaves_kms_client_new(config.address);
    if (address === 0n) {
      throw new SdkKmsClientError("Cannot connect to KMS through the parent's vsock-proxy", {
        symbol: "aws_nitro_enclaves_kms_client_new",
        sdk: this.lastError(),
        hint: "Start a vsock-proxy on the parent that leads to KMS in this very region; " +
          "the image needs a CA bundle that KMS chains to.",
      });
    }
    const release = (owned: bigint) => this.#sdk.aws_nitro_enclaves_kms_client_destroy(owned);
    return owner === "library"
      ? library.own("aws_nitro_enclaves_kms_client", address, release)
      : new Handle("aws_nitro_enclaves_kms_client", address, release);
  }

  /** `aws_kms_decrypt_blocking` or, with a context, `_with_context`. Returns whether it succeeded; `out` then holds the plaintext. */
  decrypt(client: KmsClient, parts: {
    readonly ciphertext: InBuffer;
    readonly keyId: AwsString | undefined;
    readonly algorithm: AwsString | undefined;
    readonly context: AwsString | undefined;
    readonly out: OutBuffer;
  }): boolean {
    const keyId = parts.keyId?.address ?? 0n;
    const algorithm = parts.algorithm?.address ?? 0n;
    const { ciphertext, out } = parts;
    const status = parts.context === undefined
      ? this.#sdk.aws_kms_decrypt_blocking(client.address, keyId, algorithm, ciphertext.struct, out.struct)
      : this.#sdk.aws_kms_decrypt_blocking_with_context(
        client.address,
        keyId,
        algorithm,
        ciphertext.struct,
        parts.context.address,
        out.struct,
      );
    return status === AWS_OP_SUCCESS;
  }

  /** `aws_kms_generate_data_key_blocking`. Returns whether it succeeded. */
  generateDataKey(client: KmsClient, parts: {
    readonly keyId: AwsString;
    readonly keySpec: number;
    readonly plaintext: OutBuffer;
    readonly ciphertext: OutBuffer;
  }): boolean {
    return this.#sdk.aws_kms_generate_data_key_blocking(
      client.address,
      parts.keyId.address,
      parts.keySpec,
      parts.plaintext.struct,
      parts.ciphertext.struct,
    ) === AWS_OP_SUCCESS;
  }

  /** `aws_kms_generate_random_blocking`. Returns whether it succeeded. */
  generateRandom(client: KmsClient, length: number, out: OutBuffer): boolean {
    return this.#sdk.aws_kms_generate_random_blocking(client.address, length, out.struct) === AWS_OP_SUCCESS;
  }

  /** What these libraries lack for {@link request} and {@link openEnvelope}; undefined when nothing is missing. */
  missingForRequests(): string | undefined {
    const { aws_http_connection_is_open, aws_cms_parse_enveloped_data } = this.#sdk;
    const { aws_attestation_rsa_decrypt, aws_cms_cipher_decrypt } = this.#sdk;
    if (!aws_http_connection_is_open) return "aws_http_connection_is_open is not exported";
    if (!aws_cms_parse_enveloped_data || !aws_attestation_rsa_decrypt || !aws_cms_cipher_decrypt) {
      return "the functions that open an envelope are not exported";
    }
    return undefined;
  }

  /**
   * Finds the internals of a client that {@link request} needs. The offsets are internal to the SDK, so each is checked before it is used: the three
   * structs must point back to the allocator, the mutex and the condition variable must be initialised, and the strings after the
   * connection must be the service and the region.
   *
   * @param region of the client
   * @returns the internals; or, with another layout or missing functions, why they cannot be used
   */
  internalsOf(
    library: SdkLibrary,
    client: KmsClient,
    region: string,
  ): ClientInternals | { readonly unknown: string } {
    const missing = this.missingForRequests();
    if (missing !== undefined) return { unknown: missing };
    const layout = REST_CLIENT_LAYOUTS[Deno.build.arch];
    const read = (address: bigint, length: number) =>
      isPlausiblePointer(address) && this.#isMapped(address, length)
        ? this.readMemory(address, BigInt(length))
        : undefined;
    const struct = read(client.address, KMS_CLIENT.size);
    if (struct === undefined || readWord(struct, KMS_CLIENT.allocator) !== library.allocator) {
      return { unknown: "the KMS client does not begin with its allocator" };
    }
    const restClient = readWord(struct, KMS_CLIENT.restClient);
    const keypair = readWord(struct, KMS_CLIENT.keypair);
    const keypairStruct = read(keypair, RSA_KEYPAIR.size);
    if (
      keypairStruct === undefined || readWord(keypairStruct, RSA_KEYPAIR.allocator) !== library.allocator ||
      !isPlausiblePointer(readWord(keypairStruct, RSA_KEYPAIR.keyImpl))
    ) {
      return { unknown: "the KMS client's key pair is not where it should be" };
    }
    const rest = read(restClient, layout.size);
    if (
      rest === undefined || restClient === keypair ||
      readWord(rest, layout.allocator) !== library.allocator ||
      !isPlausiblePointer(readWord(rest, layout.tlsContext))
    ) {
      return { unknown: "the rest client does not begin with its allocator" };
    }
    if (rest[layout.mutexInitialized] !== 1 || rest[layout.conditionInitialized] !== 1) {
      return { unknown: "the rest client's mutex and condition variable are of another size" };
    }
    const isString = (address: bigint, text: string) => {
      const expected = new TextEncoder().encode(text);
      const bytes = read(address, AWS_STRING.headSize + expected.length);
      return bytes !== undefined && readWord(bytes, AWS_STRING.len) === BigInt(expected.length) &&
        expected.every((byte, index) => bytes[AWS_STRING.bytes + index] === byte);
    };
    if (
      !isString(readWord(rest, layout.service), "kms") || !isString(readWord(rest, layout.region), region)
    ) {
      return { unknown: "the rest client's service and region are not where they should be" };
    }
    const connection = readWord(rest, layout.connection);
    if (read(connection, 8) === undefined) {
      return { unknown: "the rest client's connection is not where it should be" };
    }
    return { restClient, keypair, connection };
  }

  /**
   * `aws_http_connection_is_open` and `_new_requests_allowed`: a request on a connection that is closed, or that takes no more of them, never
   * returns. With HTTP/2 the two differ after the peer's GOAWAY; where the second is not exported, only the first is checked. Both lock, and may be called from any thread.
   */
  isConnectionOpen({ connection }: ClientInternals): boolean {
    const { aws_http_connection_is_open, aws_http_connection_new_requests_allowed } = this.#sdk;
    return (aws_http_connection_is_open?.(connection) ?? false) &&
      (aws_http_connection_new_requests_allowed?.(connection) ?? true);
  }

  /** An attestation document over the client's key pair (`aws_attestation_request`), or undefined when the NSM gave none. */
  attestationDocument(library: SdkLibrary, internals: ClientInternals): Uint8Array<ArrayBuffer> | undefined {
    using out = library.outBuffer();
    const status = this.#sdk.aws_attestation_request(library.allocator, internals.keypair, out.struct);
    return status === AWS_OP_SUCCESS ? out.contents() : undefined;
  }

  /**
   * A request to KMS's JSON API over the client's connection (`aws_nitro_enclaves_rest_client_request_blocking`), signed by the SDK. It has
   * no time-out: {@link isConnectionOpen} is checked first, and a hanging call is ended by killing its process.
   *
   * @param target such as `TrentService.Decrypt`
   * @returns the answer's body, whatever its status; undefined when there was no answer
   * @throws {SdkLayoutError} when the answer has another layout.
   */
  request(
    library: SdkLibrary,
    internals: ClientInternals,
    target: string,
    body: Uint8Array,
  ): Uint8Array<ArrayBuffer> | undefined {
    const text = new TextEncoder();
    using method = this.inBuffer(text.encode("POST"));
    using path = this.inBuffer(text.encode("/"));
    using targetBytes = this.inBuffer(text.encode(target));
    using data = this.inBuffer(body);
    const address = this.#sdk.aws_nitro_enclaves_rest_client_request_blocking(
      internals.restClient,
      method.cursor,
      path.cursor,
      targetBytes.cursor,
      data.cursor,
    );
    if (address === 0n) return undefined;
    using response = library.own(
      "aws_nitro_enclaves_rest_response",
      address,
      (owned) => this.#sdk.aws_nitro_enclaves_rest_response_destroy(owned),
    );
    const struct = this.readMemory(response.address, BigInt(REST_RESPONSE.size));
    const answer = struct.subarray(REST_RESPONSE.data);
    const length = readWord(answer, AWS_BYTE_BUF.len);
    const start = readWord(answer, AWS_BYTE_BUF.buffer);
    if (
      readWord(struct, REST_RESPONSE.allocator) !== library.allocator ||
      readWord(answer, AWS_BYTE_BUF.allocator) !== library.allocator ||
      length > readWord(answer, AWS_BYTE_BUF.capacity) || length > BigInt(MAX_RESULT_LENGTH) ||
      (length > 0n && !(isPlausiblePointer(start) && this.#isMapped(start, Number(length))))
    ) {
      throw new SdkLayoutError("Cannot read KMS's answer: it has another layout than SDK 0.4's", {
        symbol: "aws_nitro_enclaves_rest_client_request_blocking",
        hint: "Build both libraries from SDK 0.4.",
      });
    }
    return this.readMemory(start, length);
  }

  /**
   * Opens a `CiphertextForRecipient` (CMS EnvelopedData) with the client's key pair. All buffers are zeroed, so that the SDK's own clean-up after
   * a failure finds nothing to free.
   *
   * @throws {SdkGenericError} when the envelope does not open.
   */
  openEnvelope(
    library: SdkLibrary,
    internals: ClientInternals,
    envelope: Uint8Array,
  ): Uint8Array<ArrayBuffer> {
    const { aws_cms_parse_enveloped_data, aws_attestation_rsa_decrypt, aws_cms_cipher_decrypt } = this.#sdk;
    const check = (symbol: SymbolName, isDone: boolean) => {
      if (isDone) return;
      throw new SdkGenericError("Cannot open the envelope that KMS answered with", {
        symbol,
        sdk: this.lastError(),
        hint: "The call can be repeated. If this stays, the libraries are not those of SDK 0.4.",
      });
    };
    using input = this.inBuffer(envelope);
    using wrappedKey = library.outBuffer();
    using iv = library.outBuffer();
    using ciphertext = library.outBuffer();
    check(
      "aws_cms_parse_enveloped_data",
      aws_cms_parse_enveloped_data?.(input.struct, wrappedKey.struct, iv.struct, ciphertext.struct) ===
          AWS_OP_SUCCESS &&
        // The SDK reads this many bytes of the IV without checking its length.
        readWord(iv.struct, AWS_BYTE_BUF.len) === IV_LENGTH &&
        readWord(wrappedKey.struct, AWS_BYTE_BUF.len) !== 0n &&
        readWord(ciphertext.struct, AWS_BYTE_BUF.len) !== 0n,
    );
    using key = library.outBuffer();
    check(
      "aws_attestation_rsa_decrypt",
      aws_attestation_rsa_decrypt?.(library.allocator, internals.keypair, wrappedKey.struct, key.struct) ===
        AWS_OP_SUCCESS,
    );
    using plaintext = library.outBuffer();
    check(
      "aws_cms_cipher_decrypt",
      aws_cms_cipher_decrypt?.(ciphertext.struct, key.struct, iv.struct, plaintext.struct) === AWS_OP_SUCCESS,
    );
    return plaintext.contents();
  }
}

/** Of AES in CBC mode, bytes. */
const IV_LENGTH = 16n;

/** Options of {@link openSdk}. */
export interface OpenSdkOptions extends OpenLibrariesOptions {
  /** Called before following a pointer that the SDK did not return itself; without it, every plausible one is followed. */
  readonly isMapped?: IsMapped | undefined;
}

/**
 * Opens the SDK.
 *
 * @throws {SdkLibraryError} with every path that was tried, or the symbol that is missing.
 */
export function openSdk(options: OpenSdkOptions = {}): NitroSdk {
  return new NitroSdk(openLibraries(options), options.isMapped);
}
