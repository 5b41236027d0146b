/**
 * The SDK as objects that release themselves. Nothing here knows what a KMS call is for; `lib/aws_ne` does.
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
  type SdkReason,
} from "./errors.ts";
import { AWS_OP_SUCCESS, AWS_SOCKET_VSOCK_DOMAIN } from "./constants.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  byteCursor,
  KMS_CLIENT,
  readWord,
  REST_RESPONSE,
  socketEndpoint,
  stableBytes,
} from "./layout.ts";
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

/** Owns one C object. Disposing releases it, once. Made by {@link SdkLibrary.own}. */
export class Handle<Kind extends HandleKind> implements Disposable {
  /** Which C type. */
  readonly kind: Kind;
  #address: bigint;
  #release: (address: bigint) => void;

  /** Takes the object over. */
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

/** Our bytes as an `aws_byte_buf` without allocator: borrowed by the SDK for a call. Wiped when disposed. */
export class InBuffer implements Disposable {
  /** The struct itself, for passing to the SDK. */
  readonly struct: Uint8Array<ArrayBuffer>;
  #bytes: Uint8Array<ArrayBuffer>;

  /** Takes over bytes that do not move, and the struct that points at them. */
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
  /** The SDK's own, which nobody frees. */
  readonly allocator: Pointer<"aws_allocator">;
  #sdk: NitroSdk;
  #cleanUp: () => void;
  #held = new Set<Disposable>();
  #disposed = false;

  /** Takes over a library that was initialised. */
  constructor(sdk: NitroSdk, allocator: Pointer<"aws_allocator">, cleanUp: () => void) {
    this.#sdk = sdk;
    this.allocator = allocator;
    this.#cleanUp = cleanUp;
  }

  /**
   * A handle whose life ends with this library's at the latest.
   *
   * @param release called once, with the address; what it closes over lives as long as the handle
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
  #closed = false;
  #initialised = false;

  /** Takes open libraries over. */
  constructor(libraries: OpenLibraries) {
    this.#libraries = libraries;
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

  /** Unloads the libraries. Only for a process that is done with KMS. */
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
      // The SDK points at both until here: naming them keeps the collector away, and finds a region released too early.
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
   * @param owner `library` ties the client's life to the library's; `process` keeps it until the process ends
   * @throws {SdkKmsClientError} when the SDK gave NULL.
   */
  newClient(library: SdkLibrary, config: KmsClientConfig, owner: "library" | "process"): KmsClient {
    const address = this.#sdk.aws_nitro_enclaves_kms_client_new(config.address);
    if (address === 0n) {
      throw new SdkKmsClientError("Cannot connect to KMS through the parent's vsock-proxy", {
        symbol: "aws_nitro_enclaves_kms_client_new",
        sdk: this.lastError(),
        hint:
          "Start `vsock-proxy 8000 kms.<region>.amazonaws.com 443` on the parent, for this very region; " +
          "the image needs a CA bundle that KMS chains to.",
      });
    }
    const release = (owned: bigint) => this.#sdk.aws_nitro_enclaves_kms_client_destroy(owned);
    return owner === "library"
      ? library.own("aws_nitro_enclaves_kms_client", address, release)
      : new Handle("aws_nitro_enclaves_kms_client", address, release);
  }

  /** `aws_kms_decrypt_blocking` or, with a context, `_with_context`. Whether it worked; `out` then holds the plaintext. */
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

  /** `aws_kms_generate_data_key_blocking`. Whether it worked. */
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

  /** `aws_kms_generate_random_blocking`. Whether it worked. */
  generateRandom(client: KmsClient, length: number, out: OutBuffer): boolean {
    return this.#sdk.aws_kms_generate_random_blocking(client.address, length, out.struct) === AWS_OP_SUCCESS;
  }

  /** An attestation document over the client's key pair (`aws_attestation_request`), or undefined when the NSM gave none. */
  attestationDocument(library: SdkLibrary, client: KmsClient): Uint8Array<ArrayBuffer> | undefined {
    using out = library.outBuffer();
    const status = this.#sdk.aws_attestation_request(library.allocator, this.#keypairOf(client), out.struct);
    return status === AWS_OP_SUCCESS ? out.contents() : undefined;
  }

  /**
   * A request to KMS's JSON API over the client's connection (`aws_nitro_enclaves_rest_client_request_blocking`), signed by the SDK.
   * The offsets that this needs are internal to the SDK, so that what is read is checked.
   *
   * @param target such as `TrentService.Decrypt`
   * @returns the answer's body, whatever its status; undefined when there was no answer
   */
  request(
    library: SdkLibrary,
    client: KmsClient,
    target: string,
    body: Uint8Array,
  ): Uint8Array<ArrayBuffer> | undefined {
    const restClient = readWord(
      this.readMemory(client.address, BigInt(KMS_CLIENT.size)),
      KMS_CLIENT.restClient,
    );
    const text = new TextEncoder();
    using method = this.inBuffer(text.encode("POST"));
    using path = this.inBuffer(text.encode("/"));
    using targetBytes = this.inBuffer(text.encode(target));
    using data = this.inBuffer(body);
    const address = this.#sdk.aws_nitro_enclaves_rest_client_request_blocking(
      restClient,
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
    const struct = this.readMemory(response.address, BigInt(REST_RESPONSE.size)).subarray(REST_RESPONSE.data);
    return this.readMemory(readWord(struct, AWS_BYTE_BUF.buffer), readWord(struct, AWS_BYTE_BUF.len));
  }

  /**
   * Opens a `CiphertextForRecipient` (CMS EnvelopedData) with the client's key pair.
   *
   * @returns undefined when these libraries do not export the functions that it takes
   * @throws {SdkGenericError} when the envelope does not open.
   */
  openEnvelope(
    library: SdkLibrary,
    client: KmsClient,
    envelope: Uint8Array,
  ): Uint8Array<ArrayBuffer> | undefined {
    const { aws_cms_parse_enveloped_data, aws_attestation_rsa_decrypt, aws_cms_cipher_decrypt } = this.#sdk;
    if (!aws_cms_parse_enveloped_data || !aws_attestation_rsa_decrypt || !aws_cms_cipher_decrypt) {
      return undefined;
    }
    const check = (symbol: SymbolName, status: number) => {
      if (status === AWS_OP_SUCCESS) return;
      throw new SdkGenericError("Cannot open the envelope that KMS answered with", {
        symbol,
        sdk: this.lastError(),
      });
    };
    using input = this.inBuffer(envelope);
    using wrappedKey = library.outBuffer();
    using iv = library.outBuffer();
    using ciphertext = library.outBuffer();
    check(
      "aws_cms_parse_enveloped_data",
      aws_cms_parse_enveloped_data(input.struct, wrappedKey.struct, iv.struct, ciphertext.struct),
    );
    using key = library.outBuffer();
    check(
      "aws_attestation_rsa_decrypt",
      aws_attestation_rsa_decrypt(library.allocator, this.#keypairOf(client), wrappedKey.struct, key.struct),
    );
    using plaintext = library.outBuffer();
    check(
      "aws_cms_cipher_decrypt",
      aws_cms_cipher_decrypt(ciphertext.struct, key.struct, iv.struct, plaintext.struct),
    );
    return plaintext.contents();
  }

  #keypairOf(client: KmsClient): bigint {
    return readWord(this.readMemory(client.address, BigInt(KMS_CLIENT.size)), KMS_CLIENT.keypair);
  }
}

/**
 * Opens the SDK.
 *
 * @throws {SdkLibraryError} with every path that was tried, or the symbol that is missing.
 */
export function openSdk(options: OpenLibrariesOptions = {}): NitroSdk {
  return new NitroSdk(openLibraries(options));
}
