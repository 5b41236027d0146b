/**
 * The SDK as disposable objects. This module only wraps the C calls; `lib/enclave/kms/aws_ne` makes KMS calls of them.
 *
 * Thread: all calls of one process must come from one thread, since `aws_last_error()` belongs to a thread, and since
 * init and clean-up are process-wide. Permission: FFI on the two (or three) files.
 *
 * @module
 */
import { sdkError, type SdkErrorCode, type SdkErrorOptions } from "./errors.ts";
import { AWS_KEY_SPEC, AWS_OP_SUCCESS, AWS_SOCKET_VSOCK_DOMAIN } from "./constants.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  AWS_STRING,
  byteCursor,
  KMS_CLIENT,
  readWord,
  REST_CLIENT,
  REST_RESPONSE,
  RSA_KEYPAIR,
  socketEndpoint,
  stableBytes,
} from "./layout.ts";
import { type OpenLibraries, openLibraries, type OpenLibrariesOptions } from "./library.ts";
import type { Symbols } from "./symbols.ts";

/** Checks whether memory can be read without a crash. */
export type IsMapped = (address: bigint, length: number) => boolean;

/** Bytes in memory of their own. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** No result of KMS is as large as this; a length beyond it means that memory was misread. */
const MAX_RESULT_LENGTH = 1n << 20n;
const MAX_C_STRING_LENGTH = 4096n;
/** Of AES in CBC mode, bytes. */
const IV_LENGTH = 16n;
/** Nothing is mapped below (vm.mmap_min_addr). */
const USER_SPACE_START = 0x1000n;
/** User space ends below this on x86-64 and, with 48-bit addresses, on aarch64. */
const USER_SPACE_END = 1n << 48n;

function isPlausiblePointer(address: bigint): boolean {
  return address >= USER_SPACE_START && address < USER_SPACE_END && address % 8n === 0n;
}

function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** An address of a C object of one kind: pointers cannot be mixed up. */
export type Pointer<Kind extends string> = bigint & { readonly addressOf?: Kind };

/** A `struct aws_nitro_enclaves_kms_client *`. Disposing destroys it, once. */
export class KmsClient implements Disposable {
  #address: bigint;
  #life = new DisposableStack();

  /** Takes ownership of the client. */
  constructor(address: bigint, destroy: (address: bigint) => void) {
    this.#address = this.#life.adopt(address, destroy);
  }

  /**
   * Where it is.
   *
   * @throws {TypeError} after it was destroyed.
   */
  get address(): Pointer<"aws_nitro_enclaves_kms_client"> {
    if (this.#life.disposed) throw new TypeError("Cannot use the KMS client: it was destroyed");
    return this.#address;
  }

  /** Destroys it. */
  [Symbol.dispose](): void {
    this.#life.dispose();
  }
}

/** An `aws_byte_buf`. Disposing zeroes what it holds, and frees what the SDK allocated for it. */
export interface AwsByteBuf extends Disposable {
  /** The struct itself, for passing to the SDK. */
  readonly struct: Bytes;
}

/** The internals of a client that an attested request needs. Found and checked by {@link SdkLibrary.internalsOf}. */
export interface ClientInternals {
  /** The `aws_nitro_enclaves_rest_client *` of the client. */
  readonly restClient: Pointer<"aws_nitro_enclaves_rest_client">;
  /** The `aws_rsa_keypair *` of the client. */
  readonly keypair: Pointer<"aws_rsa_keypair">;
  /** The `aws_http_connection *` of the rest client. */
  readonly connection: Pointer<"aws_http_connection">;
}

/** What a client is made of. */
export interface ClientParts {
  /** Such as `us-west-2`. */
  readonly region: string;
  /** Borrowed, and copied by the SDK. Only the session token may be empty. */
  readonly credentials: Readonly<Record<"accessKeyId" | "secretAccessKey" | "sessionToken", Bytes>>;
  /** Port of the parent's vsock-proxy. */
  readonly proxyPort: number;
}

/** The open SDK. It is never closed. */
export class NitroSdk {
  /** Where the libraries were found. */
  readonly directory: string;
  /** The functions. */
  readonly symbols: Symbols;
  /** Whether memory may be followed to. */
  readonly isMapped: IsMapped;
  /** Why no more attested requests can be made, once an answer had another layout. */
  unknownLayout: string | undefined;
  #initialised = false;

  /**
   * Wraps open libraries.
   *
   * @param isMapped called before following a pointer that the SDK did not return itself
   */
  constructor(libraries: OpenLibraries, isMapped: IsMapped) {
    ({ directory: this.directory, symbols: this.symbols } = libraries);
    this.isMapped = isMapped;
  }

  /**
   * `aws_nitro_enclaves_library_init` and `_get_allocator`.
   *
   * @throws {SdkInitError} when there is no allocator, or the library is initialised already.
   */
  initLibrary(): SdkLibrary {
    const { symbols } = this;
    if (this.#initialised) {
      const twice = "Cannot initialise the SDK: it is initialised already, and it is one a process";
      throw sdkError("sdk_init", twice, {
        symbol: "aws_nitro_enclaves_library_init",
        hint: "Finish the first one-shot call before the next, or use a warm session.",
      });
    }
    symbols.aws_nitro_enclaves_library_init(0n);
    this.#initialised = true;
    const cleanUp = () => {
      this.#initialised = false;
      this.symbols.aws_nitro_enclaves_library_clean_up();
    };
    const allocator = symbols.aws_nitro_enclaves_get_allocator();
    const library = new SdkLibrary(this, allocator, cleanUp);
    if (allocator !== 0n) return library;
    using _cleanedUp = library;
    throw library.failure("sdk_init", "Cannot initialise the SDK: it has no allocator", {
      symbol: "aws_nitro_enclaves_get_allocator",
      hint: "Check that both libraries come from the same build of the SDK.",
    });
  }

  /** Why these libraries cannot make attested requests ({@link SdkLibrary.request}); undefined when they can, as far as is known. */
  missingForRequests(): string | undefined {
    const { symbols, unknownLayout } = this;
    if (unknownLayout !== undefined) return unknownLayout;
    if (!symbols.aws_http_connection_is_open) return "aws_http_connection_is_open is not exported";
    return symbols.aws_cms_parse_enveloped_data && symbols.aws_attestation_rsa_decrypt &&
        symbols.aws_cms_cipher_decrypt
      ? undefined
      : "the functions that open an envelope are not exported";
  }
}

/** The initialised library, process-wide. Disposing cleans up: what it made must be released before. */
export class SdkLibrary implements Disposable {
  #sdk: NitroSdk;
  /** The SDK's own; it must not be freed. */
  #allocator: bigint;
  #life = new DisposableStack();

  /** Takes ownership of an initialised library. */
  constructor(sdk: NitroSdk, allocator: bigint, cleanUp: () => void) {
    this.#sdk = sdk;
    this.#allocator = allocator;
    this.#life.defer(cleanUp);
  }

  get #c(): Symbols {
    if (this.#life.disposed) throw new TypeError("Cannot use the SDK: its library was cleaned up");
    return this.#sdk.symbols;
  }

  /** Cleans up. */
  [Symbol.dispose](): void {
    this.#life.dispose();
  }

  /** Whether the kernel's entropy pool was seeded from the NSM. False outside an enclave. */
  seedEntropy(bytes: number): boolean {
    return this.#c.aws_nitro_enclaves_library_seed_entropy(BigInt(bytes)) === AWS_OP_SUCCESS;
  }

  /** The SDK's last error on this thread, or undefined when it set none. */
  lastError(): SdkErrorOptions["sdk"] {
    const code = this.#c.aws_last_error();
    if (code === 0) return undefined;
    const read = (address: bigint) => {
      if (address === 0n) return "";
      const length = readWord(this.#c.aws_byte_cursor_from_c_str(address), AWS_BYTE_CURSOR.len);
      const most = length < MAX_C_STRING_LENGTH ? length : MAX_C_STRING_LENGTH;
      return new TextDecoder().decode(this.readMemory(address, most));
    };
    return { code, name: read(this.#c.aws_error_name(code)), text: read(this.#c.aws_error_str(code)) };
  }

  /** The error of a function that failed, with the SDK's last error. */
  failure(code: SdkErrorCode, message: string, options: SdkErrorOptions): Error {
    return sdkError(code, message, { ...options, sdk: this.lastError() });
  }

  /**
   * Copies C memory.
   *
   * @throws {SdkGenericError} when the length is out of bounds.
   */
  readMemory(address: bigint, length: bigint): Bytes {
    if (length === 0n) return stableBytes(0);
    if (address !== 0n && length > 0n && length <= MAX_RESULT_LENGTH) {
      const bytes = stableBytes(Number(length));
      if (this.#c.aws_byte_cursor_read(byteCursor(address, bytes.length), bytes, length)) return bytes;
    }
    throw sdkError("sdk_generic", `Cannot read ${length} bytes from the SDK: that cannot be a result`, {
      symbol: "aws_byte_cursor_read",
      hint: "The libraries may be of a version with other struct layouts: SDK 0.4 is supported.",
    });
  }

  /** A copy of the bytes that the SDK may point at, without an allocator: the SDK borrows them until it is disposed. */
  inBuffer(bytes: Uint8Array): AwsByteBuf & { readonly cursor: Bytes } {
    const copy = stableBytes(bytes.length);
    copy.set(bytes);
    const struct = this.#c.aws_byte_buf_from_array(copy, BigInt(copy.length)) as Bytes;
    const cursor = struct.slice(0, AWS_BYTE_CURSOR.size);
    return { struct, cursor, [Symbol.dispose]: () => void copy.fill(0) };
  }

  /** A buffer for the SDK to fill. `contents` copies what it wrote. */
  #outBuffer(): AwsByteBuf & { contents(): Bytes } {
    const struct = stableBytes(AWS_BYTE_BUF.size);
    const word = (offset: number) => readWord(struct, offset);
    return {
      struct,
      contents: () => this.readMemory(word(AWS_BYTE_BUF.buffer), word(AWS_BYTE_BUF.len)),
      [Symbol.dispose]: () => {
        // A failed call leaves the struct zeroed: nothing was allocated. Clean-up zeroes the struct as well.
        if (word(AWS_BYTE_BUF.buffer) !== 0n) this.#c.aws_byte_buf_clean_up_secure(struct);
      },
    };
  }

  /** The bytes that a function of the SDK writes; undefined when it failed. */
  #filled(fill: (struct: Bytes) => number): Bytes | undefined {
    using out = this.#outBuffer();
    return fill(out.struct) === AWS_OP_SUCCESS ? out.contents() : undefined;
  }

  /**
   * `aws_string_new_from_array`, released with `stack` by `aws_string_destroy_secure`. The SDK copies the
   * bytes.
   */
  #newString(stack: DisposableStack, bytes: Bytes): Pointer<"aws_string"> {
    const address = this.#c.aws_string_new_from_array(this.#allocator, bytes, BigInt(bytes.length));
    if (address !== 0n) return stack.adopt(address, (owned) => this.#c.aws_string_destroy_secure(owned));
    throw this.failure("sdk_generic", `Cannot make a string of ${bytes.length} bytes in the SDK`, {
      symbol: "aws_string_new_from_array",
      hint: "The enclave may be out of memory: give it more (run-enclave --memory).",
    });
  }

  /**
   * Makes a client: strings, endpoint, configuration, client, in that order. It makes a key pair, connects
   * to the proxy, and does the TLS handshake. Blocks. All but the client are released when `stack` is.
   *
   * @throws {RangeError} on an endpoint out of range.
   * @throws {SdkGenericError | SdkKmsConfigError | SdkKmsClientError} by the step that failed.
   */
  connect(stack: DisposableStack, { region, credentials, proxyPort }: ClientParts): KmsClient {
    const string = (bytes: Bytes) => this.#newString(stack, bytes);
    const endpoint = socketEndpoint(proxyPort);
    const config = this.#c.aws_nitro_enclaves_kms_client_config_default(
      string(utf8(region)),
      endpoint,
      AWS_SOCKET_VSOCK_DOMAIN,
      string(credentials.accessKeyId),
      string(credentials.secretAccessKey),
      string(credentials.sessionToken),
    );
    if (config === 0n) {
      throw this.failure("sdk_kms_config", "Cannot make a KMS client configuration", {
        symbol: "aws_nitro_enclaves_kms_client_config_default",
        hint: "Check the credentials: access key id and secret must not be empty.",
      });
    }
    stack.defer(() => {
      this.#c.aws_nitro_enclaves_kms_client_config_destroy(config);
      // The SDK points at it until here: using it keeps it from being collected.
      endpoint.fill(0);
    });
    const client = this.#c.aws_nitro_enclaves_kms_client_new(config);
    if (client !== 0n) {
      return new KmsClient(client, (owned) => this.#c.aws_nitro_enclaves_kms_client_destroy(owned));
    }
    throw this.failure("sdk_kms_client", "Cannot connect to KMS through the parent's vsock-proxy", {
      symbol: "aws_nitro_enclaves_kms_client_new",
      hint: "Start a vsock-proxy on the parent that leads to KMS in this very region; " +
        "the image needs a CA bundle that KMS chains to.",
    });
  }

  /** `aws_kms_decrypt_blocking` or, with a context, `_with_context`. Returns the plaintext; undefined when it failed. */
  decrypt(client: KmsClient, parts: {
    readonly ciphertext: Bytes;
    readonly keyId: string | undefined;
    readonly algorithm: string | undefined;
    /** A JSON object of strings. */
    readonly context: string | undefined;
  }): Bytes | undefined {
    using stack = new DisposableStack();
    const string = (text: string | undefined) => text === undefined ? 0n : this.#newString(stack, utf8(text));
    const keyId = string(parts.keyId);
    const algorithm = string(parts.algorithm);
    const context = string(parts.context);
    const { struct } = stack.use(this.inBuffer(parts.ciphertext));
    const { aws_kms_decrypt_blocking, aws_kms_decrypt_blocking_with_context } = this.#c;
    return this.#filled((out) =>
      context === 0n
        ? aws_kms_decrypt_blocking(client.address, keyId, algorithm, struct, out)
        : aws_kms_decrypt_blocking_with_context(client.address, keyId, algorithm, struct, context, out)
    );
  }

  /** `aws_kms_generate_data_key_blocking`. Returns the key, also wrapped; undefined when it failed. */
  generateDataKey(
    { address }: KmsClient,
    keyId: string,
    keySpec: "AES_256" | "AES_128",
  ): { readonly plaintext: Bytes; readonly ciphertext: Bytes } | undefined {
    using stack = new DisposableStack();
    const key = this.#newString(stack, utf8(keyId));
    const [plaintext, ciphertext] = [stack.use(this.#outBuffer()), stack.use(this.#outBuffer())];
    const generate = this.#c.aws_kms_generate_data_key_blocking;
    const status = generate(address, key, AWS_KEY_SPEC[keySpec], plaintext.struct, ciphertext.struct);
    if (status !== AWS_OP_SUCCESS) return undefined;
    return { ciphertext: ciphertext.contents(), plaintext: plaintext.contents() };
  }

  /** `aws_kms_generate_random_blocking`. Returns the bytes; undefined when it failed. */
  generateRandom(client: KmsClient, length: number): Bytes | undefined {
    return this.#filled((out) => this.#c.aws_kms_generate_random_blocking(client.address, length, out));
  }

  /**
   * Finds the internals of a client that {@link request} needs. The offsets are internal to the SDK, so each is checked before it is used: the three
   * structs must point back to the allocator, the mutex and the condition variable must be initialised, and the strings after the
   * connection must be the service and the region.
   *
   * @param region of the client
   * @returns the internals; or, with another layout or missing functions, why they cannot be used
   */
  internalsOf(client: KmsClient, region: string): ClientInternals | { readonly unknown: string } {
    const missing = this.#sdk.missingForRequests();
    if (missing !== undefined) return { unknown: missing };
    // Zeros, which no check accepts, where nothing is mapped.
    const read = (address: bigint, length: number) =>
      this.#isReadable(address, length) ? this.readMemory(address, BigInt(length)) : stableBytes(length);
    // Each of the three structs begins with its allocator.
    const isOwned = (struct: Bytes) => readWord(struct, 0) === this.#allocator;

    const struct = read(client.address, KMS_CLIENT.size);
    if (!isOwned(struct)) return { unknown: "the KMS client does not begin with its allocator" };
    const restClient = readWord(struct, KMS_CLIENT.restClient);
    const keypair = readWord(struct, KMS_CLIENT.keypair);
    const pair = read(keypair, RSA_KEYPAIR.size);
    if (!isOwned(pair) || !isPlausiblePointer(readWord(pair, RSA_KEYPAIR.keyImpl))) {
      return { unknown: "the KMS client's key pair is not where it should be" };
    }
    const rest = read(restClient, REST_CLIENT.size);
    const isRest = restClient !== keypair && isOwned(rest);
    if (!isRest || !isPlausiblePointer(readWord(rest, REST_CLIENT.tlsContext))) {
      return { unknown: "the rest client does not begin with its allocator" };
    }
    if (rest[REST_CLIENT.mutexInitialized] !== 1 || rest[REST_CLIENT.conditionInitialized] !== 1) {
      return { unknown: "the rest client's mutex and condition variable are of another size" };
    }
    const holds = (offset: number, text: string) => {
      const { length } = utf8(text);
      const bytes = read(readWord(rest, offset), AWS_STRING.headSize + length);
      return readWord(bytes, AWS_STRING.len) === BigInt(length) &&
        new TextDecoder().decode(bytes.subarray(AWS_STRING.bytes)) === text;
    };
    if (!holds(REST_CLIENT.service, "kms") || !holds(REST_CLIENT.region, region)) {
      return { unknown: "the rest client's service and region are not where they should be" };
    }
    const connection = readWord(rest, REST_CLIENT.connection);
    return this.#isReadable(connection, 8)
      ? { restClient, keypair, connection }
      : { unknown: "the rest client's connection is not where it should be" };
  }

  #isReadable(address: bigint, length: number): boolean {
    return isPlausiblePointer(address) && this.#sdk.isMapped(address, length);
  }

  /**
   * `aws_http_connection_is_open` and `_new_requests_allowed`: a request on a connection that is closed, or that takes no more of them, never
   * returns. With HTTP/2 the two differ after the peer's GOAWAY; where the second is not exported, only the first is checked. Both lock, and may be called from any thread.
   */
  isConnectionOpen({ connection }: ClientInternals): boolean {
    const { aws_http_connection_is_open, aws_http_connection_new_requests_allowed } = this.#c;
    return (aws_http_connection_is_open?.(connection) ?? false) &&
      (aws_http_connection_new_requests_allowed?.(connection) ?? true);
  }

  /** An attestation document over the client's key pair (`aws_attestation_request`), or undefined when the NSM gave none. */
  attestationDocument({ keypair }: ClientInternals): Bytes | undefined {
    return this.#filled((out) => this.#c.aws_attestation_request(this.#allocator, keypair, out));
  }

  /**
   * A request to KMS's JSON API over the client's connection (`aws_nitro_enclaves_rest_client_request_blocking`), signed by the SDK. It has
   * no time-out: {@link isConnectionOpen} is checked first, and a hanging call is ended by killing its process.
   *
   * @param target such as `TrentService.Decrypt`
   * @returns the answer's body, whatever its status; undefined when there was no answer
   * @throws {SdkGenericError} when the answer has another layout: {@link NitroSdk.missingForRequests} says so from then on.
   */
  request({ restClient }: ClientInternals, target: string, body: string): Bytes | undefined {
    using stack = new DisposableStack();
    const cursor = (text: string) => stack.use(this.inBuffer(utf8(text))).cursor;
    const send = this.#c.aws_nitro_enclaves_rest_client_request_blocking;
    const address = send(restClient, cursor("POST"), cursor("/"), cursor(target), cursor(body));
    if (address === 0n) return undefined;
    stack.defer(() => this.#c.aws_nitro_enclaves_rest_response_destroy(address));
    const struct = this.readMemory(address, BigInt(REST_RESPONSE.size));
    const answer = struct.subarray(REST_RESPONSE.data);
    const length = readWord(answer, AWS_BYTE_BUF.len);
    const start = readWord(answer, AWS_BYTE_BUF.buffer);
    if (
      readWord(struct, REST_RESPONSE.allocator) !== this.#allocator ||
      readWord(answer, AWS_BYTE_BUF.allocator) !== this.#allocator ||
      length > readWord(answer, AWS_BYTE_BUF.capacity) || length > MAX_RESULT_LENGTH ||
      (length > 0n && !this.#isReadable(start, Number(length)))
    ) {
      this.#sdk.unknownLayout = "KMS's answer has another layout than SDK 0.4's";
      throw sdkError("sdk_generic", "Cannot read KMS's answer: it has another layout than SDK 0.4's", {
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
  openEnvelope({ keypair }: ClientInternals, envelope: Uint8Array): Bytes {
    const { aws_cms_parse_enveloped_data, aws_attestation_rsa_decrypt, aws_cms_cipher_decrypt } = this.#c;
    const check = (symbol: keyof Symbols, status: number | undefined, isComplete = true) => {
      if (status === AWS_OP_SUCCESS && isComplete) return;
      throw this.failure("sdk_generic", "Cannot open the envelope that KMS answered with", {
        symbol,
        hint: "The call can be repeated. If this stays, the libraries are not those of SDK 0.4.",
      });
    };
    const length = ({ struct }: AwsByteBuf) => readWord(struct, AWS_BYTE_BUF.len);
    using input = this.inBuffer(envelope);
    using wrappedKey = this.#outBuffer();
    using iv = this.#outBuffer();
    using ciphertext = this.#outBuffer();
    const parsed = aws_cms_parse_enveloped_data?.(
      input.struct,
      wrappedKey.struct,
      iv.struct,
      ciphertext.struct,
    );
    check("aws_cms_parse_enveloped_data", parsed);
    // The SDK reads this many bytes of the IV without checking its length.
    const hasParts = length(iv) === IV_LENGTH && length(wrappedKey) !== 0n && length(ciphertext) !== 0n;
    check("aws_cms_parse_enveloped_data", AWS_OP_SUCCESS, hasParts);
    using key = this.#outBuffer();
    const unwrapped = aws_attestation_rsa_decrypt?.(this.#allocator, keypair, wrappedKey.struct, key.struct);
    check("aws_attestation_rsa_decrypt", unwrapped);
    using plaintext = this.#outBuffer();
    const decrypted = aws_cms_cipher_decrypt?.(ciphertext.struct, key.struct, iv.struct, plaintext.struct);
    check("aws_cms_cipher_decrypt", decrypted);
    return plaintext.contents();
  }
}

/** Options of {@link openSdk}. */
export interface OpenSdkOptions extends OpenLibrariesOptions {
  /** Called before following a pointer that the SDK did not return itself; without it, every plausible one is followed. */
  readonly isMapped?: IsMapped | undefined;
}

/**
 * Opens the SDK.
 *
 * @throws {SdkError} `sdk_library` with every path that was tried, or the symbol that is missing.
 */
export function openSdk(options: OpenSdkOptions = {}): NitroSdk {
  return new NitroSdk(openLibraries(options), options.isMapped ?? (() => true));
}
