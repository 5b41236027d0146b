/**
 * A mock of `Deno.dlopen` for the SDK, typed by the tables: a changed table breaks it at type check. C memory is a map from
 * addresses to bytes; the KMS is the stand-in of `stub_format.ts`.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import type { Dlopen } from "../../ffi/library.ts";
import { type IsMapped, type NitroSdk, openSdk } from "../../ffi/sdk.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  AWS_STRING,
  KMS_CLIENT,
  readWord,
  REST_CLIENT,
  REST_RESPONSE,
  RSA_KEYPAIR,
  stableBytes,
  writeWord,
} from "../../ffi/layout.ts";
import { COMMON_SYMBOLS, SDK_SYMBOLS, type Symbols } from "../../ffi/symbols.ts";
import type { SdkRig } from "./sdk_rig.ts";
import { MODE } from "./stub_control.ts";
import { contextHash, stubParse, stubWrap } from "./stub_format.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type SymbolName = keyof Symbols;
type Kind = "string" | "buffer" | "config" | "client" | "response";

const ALLOCATOR = 0x1000n;
const ERROR_CODE = 34;
/** A CMS EnvelopedData begins like this. */
const ENVELOPE_HEAD = new Uint8Array([
  0x30,
  0x80,
  0x06,
  0x09,
  0x2a,
  0x86,
  0x48,
  0x86,
  0xf7,
  0x0d,
  0x01,
  0x07,
  0x03,
]);

function bytesOf(source: unknown): Bytes {
  if (!(source instanceof Uint8Array)) throw new TypeError("the mock takes Uint8Arrays");
  return source as Bytes;
}

function envelope(contents: Uint8Array): string {
  return encodeBase64(new Uint8Array([...ENVELOPE_HEAD, ...contents]));
}

/** The mock and its controls. */
export class MockSdk implements SdkRig {
  #memory = new Map<bigint, Bytes>();
  #kinds = new Map<bigint, Kind>();
  #nextAddress = 0x10_0000n;
  #calls: string[] = [];
  #script: { readonly symbol: string; readonly mode: number; after: number }[] = [];
  #lastError = 0;
  #initialised = false;
  #closed = new Set<bigint>();
  #notWiped = 0;
  #doubleFree = 0;
  #misuse = 0;
  /** Which memory is mapped; all of it by default. */
  isMapped: IsMapped = () => true;
  /** Changes the `aws_nitro_enclaves_rest_response` of each answer. */
  changeResponse: (struct: Bytes) => void = () => {};
  /** Bytes of the IV in each envelope. */
  ivLength = 16;

  open(): NitroSdk {
    const isMapped: IsMapped = (address, length) => this.isMapped(address, length);
    return openSdk({ libraryDir: "/mock", dlopen: this.dlopen, isMapped });
  }

  fail(symbol: SymbolName, mode: number, after = 0): void {
    this.#script.push({ symbol, mode, after });
  }

  log(): string[] {
    return [...this.#calls];
  }

  live(): number {
    return this.#kinds.size + (this.#initialised ? 1 : 0);
  }

  faults() {
    return { notWiped: this.#notWiped, doubleFree: this.#doubleFree, misuse: this.#misuse };
  }

  reset(): void {
    this.#calls = [];
    this.#script = [];
    this.#closed.clear();
    this.#lastError = 0;
    this.#notWiped = this.#doubleFree = this.#misuse = 0;
  }

  /** To be passed where `Deno.dlopen` is. */
  readonly dlopen: Dlopen = <const S extends Deno.ForeignLibraryInterface>(_filename: string, symbols: S) => {
    const functions = (symbols as unknown) === COMMON_SYMBOLS
      ? this.#common
      : (symbols as unknown) === SDK_SYMBOLS
      ? this.#sdk
      : {};
    return { symbols: functions, close: () => {} } as unknown as Deno.DynamicLibrary<S>;
  };

  /** Notes a call; whether it is to go wrong, and how. */
  #called(symbol: SymbolName): number | undefined {
    this.#calls.push(symbol);
    const index = this.#script.findIndex((entry) => entry.symbol === symbol);
    const entry = this.#script[index];
    if (entry === undefined) return undefined;
    if (entry.after-- > 0) return undefined;
    this.#script.splice(index, 1);
    this.#lastError = entry.mode === MODE.fail ? ERROR_CODE : 0;
    return entry.mode;
  }

  #allocate(kind: Kind, bytes: Bytes): bigint {
    const address = this.#nextAddress;
    this.#nextAddress += BigInt(Math.ceil(bytes.length / 64) + 1) * 64n;
    this.#memory.set(address, bytes);
    this.#kinds.set(address, kind);
    return address;
  }

  #free(kind: Kind, address: bigint | number): Bytes | undefined {
    const key = BigInt(address);
    if (this.#kinds.get(key) !== kind) {
      this.#doubleFree++;
      return undefined;
    }
    const bytes = this.#memory.get(key);
    this.#memory.delete(key);
    this.#kinds.delete(key);
    return bytes;
  }

  #fill(struct: unknown, bytes: Bytes): void {
    const target = bytesOf(struct);
    writeWord(target, AWS_BYTE_BUF.len, BigInt(bytes.length));
    writeWord(target, AWS_BYTE_BUF.buffer, this.#allocate("buffer", bytes));
    writeWord(target, AWS_BYTE_BUF.capacity, BigInt(bytes.length));
    writeWord(target, AWS_BYTE_BUF.allocator, ALLOCATOR);
  }

  #read(struct: unknown): Bytes {
    const source = bytesOf(struct);
    const bytes = this.#memory.get(readWord(source, AWS_BYTE_BUF.buffer)) ?? new Uint8Array(0);
    return bytes.slice(0, Number(readWord(source, AWS_BYTE_BUF.len)));
  }

  #text(address: bigint | number): string | undefined {
    const bytes = this.#memory.get(BigInt(address));
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
  }

  #needLibrary(): void {
    if (!this.#initialised) this.#misuse++;
  }

  readonly #common: Pick<Symbols, keyof typeof COMMON_SYMBOLS> = {
    aws_string_new_from_array: (_allocator, bytes, length) => {
      this.#needLibrary();
      if (this.#called("aws_string_new_from_array") !== undefined) return 0n;
      return this.#allocate("string", bytesOf(bytes).slice(0, Number(length)));
    },
    aws_string_destroy_secure: (address) => {
      this.#called("aws_string_destroy_secure");
      this.#free("string", address)?.fill(0);
    },
    aws_byte_buf_from_array: (bytes, length) => {
      const struct = stableBytes(AWS_BYTE_BUF.size);
      const address = this.#nextAddress;
      this.#nextAddress += (BigInt(length) / 64n + 2n) * 64n;
      this.#memory.set(address, bytesOf(bytes));
      writeWord(struct, AWS_BYTE_BUF.len, BigInt(length));
      writeWord(struct, AWS_BYTE_BUF.buffer, address);
      writeWord(struct, AWS_BYTE_BUF.capacity, BigInt(length));
      return struct;
    },
    aws_byte_buf_clean_up_secure: (struct) => {
      this.#called("aws_byte_buf_clean_up_secure");
      const target = bytesOf(struct);
      this.#free("buffer", readWord(target, AWS_BYTE_BUF.buffer))?.fill(0);
      target.fill(0);
    },
    aws_byte_cursor_from_c_str: (address) => {
      const cursor = stableBytes(AWS_BYTE_CURSOR.size);
      writeWord(cursor, AWS_BYTE_CURSOR.len, BigInt(this.#memory.get(BigInt(address))?.length ?? 0));
      writeWord(cursor, AWS_BYTE_CURSOR.ptr, BigInt(address));
      return cursor;
    },
    aws_byte_cursor_read: (cursor, dest, length) => {
      const bytes = this.#memory.get(readWord(bytesOf(cursor), AWS_BYTE_CURSOR.ptr));
      if (bytes === undefined || bytes.length < Number(length)) return false;
      bytesOf(dest).set(bytes.subarray(0, Number(length)));
      return true;
    },
    aws_last_error: () => this.#lastError,
    aws_error_name: () => this.#constant("AWS_ERROR_STUB"),
    aws_error_str: () => this.#constant("The mock was told to fail."),
  };

  #constant(text: string): bigint {
    return this.#place(new TextEncoder().encode(text));
  }

  /** Puts bytes into memory that is not counted. */
  #place(bytes: Bytes): bigint {
    const address = this.#nextAddress;
    this.#nextAddress += BigInt(Math.ceil(bytes.length / 64) + 1) * 64n;
    this.#memory.set(address, bytes);
    return address;
  }

  /** A `struct aws_string`. */
  #string(text: string): bigint {
    const characters = new TextEncoder().encode(text);
    const bytes = stableBytes(AWS_STRING.headSize + characters.length);
    writeWord(bytes, AWS_STRING.len, BigInt(characters.length));
    bytes.set(characters, AWS_STRING.bytes);
    return this.#place(bytes);
  }

  readonly #sdk: Pick<Symbols, keyof typeof SDK_SYMBOLS> = {
    aws_nitro_enclaves_library_init: () => {
      this.#called("aws_nitro_enclaves_library_init");
      this.#initialised = true;
    },
    aws_nitro_enclaves_library_clean_up: () => {
      this.#called("aws_nitro_enclaves_library_clean_up");
      if (this.#kinds.size > 0) this.#misuse++;
      this.#initialised = false;
    },
    aws_nitro_enclaves_get_allocator: () => {
      this.#needLibrary();
      return this.#called("aws_nitro_enclaves_get_allocator") === undefined ? ALLOCATOR : 0n;
    },
    aws_nitro_enclaves_library_seed_entropy: () =>
      this.#called("aws_nitro_enclaves_library_seed_entropy") === undefined ? 0 : -1,
    aws_nitro_enclaves_kms_client_config_default: (_region, _endpoint, _domain, accessKeyId) => {
      this.#needLibrary();
      if (this.#called("aws_nitro_enclaves_kms_client_config_default") !== undefined) return 0n;
      return this.#allocate("config", new TextEncoder().encode(this.#text(accessKeyId) ?? ""));
    },
    aws_nitro_enclaves_kms_client_config_destroy: (address) => {
      this.#called("aws_nitro_enclaves_kms_client_config_destroy");
      this.#free("config", address);
    },
    aws_nitro_enclaves_kms_client_new: () => {
      this.#needLibrary();
      const mode = this.#called("aws_nitro_enclaves_kms_client_new");
      if (mode !== undefined && mode !== MODE.layout && mode !== MODE.shifted) return 0n;
      const rest = stableBytes(REST_CLIENT.size + 8);
      writeWord(rest, REST_CLIENT.allocator, ALLOCATOR);
      writeWord(rest, REST_CLIENT.tlsContext, 0x5000n);
      rest[REST_CLIENT.mutexInitialized] = 1;
      rest[REST_CLIENT.conditionInitialized] = 1;
      writeWord(rest, REST_CLIENT.connection, this.#place(stableBytes(8)));
      writeWord(rest, REST_CLIENT.service, this.#string("kms"));
      writeWord(rest, REST_CLIENT.region, this.#string("us-east-1"));
      if (mode === MODE.shifted) rest.copyWithin(24, 16, REST_CLIENT.size);
      const keypair = stableBytes(RSA_KEYPAIR.size);
      writeWord(keypair, RSA_KEYPAIR.allocator, ALLOCATOR);
      writeWord(keypair, RSA_KEYPAIR.keyImpl, 0x6000n);
      const client = stableBytes(KMS_CLIENT.size);
      writeWord(client, KMS_CLIENT.allocator, mode === MODE.layout ? 8n : ALLOCATOR);
      writeWord(client, KMS_CLIENT.restClient, this.#place(rest));
      writeWord(client, KMS_CLIENT.keypair, this.#place(keypair));
      return this.#allocate("client", client);
    },
    aws_http_connection_is_open: (connection) => {
      if (this.#called("aws_http_connection_is_open") !== undefined) this.#closed.add(BigInt(connection));
      return !this.#closed.has(BigInt(connection));
    },
    aws_http_connection_new_requests_allowed: (connection) => {
      const mode = this.#called("aws_http_connection_new_requests_allowed");
      if (mode !== undefined) this.#closed.add(BigInt(connection));
      return !this.#closed.has(BigInt(connection));
    },
    aws_nitro_enclaves_kms_client_destroy: (address) => {
      this.#called("aws_nitro_enclaves_kms_client_destroy");
      this.#free("client", address);
    },
    aws_kms_decrypt_blocking: (client, keyId, _algorithm, ciphertext, plaintext) =>
      this.#decrypt("aws_kms_decrypt_blocking", BigInt(client), keyId, ciphertext, undefined, plaintext),
    aws_kms_decrypt_blocking_with_context: (client, keyId, _algorithm, ciphertext, context, plaintext) =>
      this.#decrypt(
        "aws_kms_decrypt_blocking_with_context",
        BigInt(client),
        keyId,
        ciphertext,
        context,
        plaintext,
      ),
    aws_kms_generate_data_key_blocking: (client, keyId, keySpec, plaintext, ciphertext) => {
      if (this.#kmsCall("aws_kms_generate_data_key_blocking", BigInt(client))) return -1;
      const key = crypto.getRandomValues(new Uint8Array(keySpec === 0 ? 32 : 16));
      this.#fill(ciphertext, stubWrap(key, { keyId: this.#text(keyId) ?? "" }));
      this.#fill(plaintext, key);
      return 0;
    },
    aws_kms_generate_random_blocking: (client, length, plaintext) => {
      if (this.#kmsCall("aws_kms_generate_random_blocking", BigInt(client))) return -1;
      this.#fill(plaintext, crypto.getRandomValues(new Uint8Array(length)));
      return 0;
    },
    aws_attestation_request: (_allocator, _keypair, out) => {
      if (this.#called("aws_attestation_request") !== undefined) return -1;
      this.#fill(out, new TextEncoder().encode("MOCKATT1"));
      return 0;
    },
    aws_nitro_enclaves_rest_client_request_blocking: (restClient, _method, _path, _target, data) => {
      const mode = this.#called("aws_nitro_enclaves_rest_client_request_blocking");
      const rest = this.#memory.get(BigInt(restClient)) ?? stableBytes(256);
      const connection = readWord(rest, REST_CLIENT.connection);
      if (this.#closed.has(connection)) throw new Error("this request would never return");
      if (mode === MODE.noAnswer) this.#closed.add(connection);
      if (
        mode !== undefined && mode !== MODE.envelope && mode !== MODE.noEnvelope && mode !== MODE.answer
      ) return 0n;
      const answer = mode === MODE.noEnvelope
        ? { KeyId: "a", Plaintext: "" }
        : mode === MODE.envelope
        ? { CiphertextBlob: "AAAA", CiphertextForRecipient: "bm8gZW52ZWxvcGU=" }
        : this.#answer(this.#read(data));
      const body = new TextEncoder().encode(JSON.stringify(answer));
      const response = stableBytes(REST_RESPONSE.size);
      writeWord(response, REST_RESPONSE.allocator, ALLOCATOR);
      const struct = response.subarray(REST_RESPONSE.data) as Bytes;
      writeWord(struct, AWS_BYTE_BUF.len, BigInt(body.length));
      writeWord(struct, AWS_BYTE_BUF.capacity, BigInt(body.length));
      writeWord(struct, AWS_BYTE_BUF.allocator, mode === MODE.answer ? 8n : ALLOCATOR);
      writeWord(struct, AWS_BYTE_BUF.buffer, this.#place(body));
      this.changeResponse(response);
      return this.#allocate("response", response);
    },
    aws_nitro_enclaves_rest_response_destroy: (address) => {
      this.#called("aws_nitro_enclaves_rest_response_destroy");
      this.#free("response", address);
    },
    aws_cms_parse_enveloped_data: (input, key, iv, ciphertext) => {
      if (this.#called("aws_cms_parse_enveloped_data") !== undefined) return -1;
      this.#fill(key, new Uint8Array(32));
      this.#fill(iv, new Uint8Array(this.ivLength));
      this.#fill(ciphertext, this.#read(input).slice(ENVELOPE_HEAD.length));
      return 0;
    },
    aws_attestation_rsa_decrypt: (_allocator, _keypair, ciphertext, plaintext) => {
      if (this.#called("aws_attestation_rsa_decrypt") !== undefined) return -1;
      this.#fill(plaintext, this.#read(ciphertext));
      return 0;
    },
    aws_cms_cipher_decrypt: (ciphertext, _key, _iv, plaintext) => {
      if (this.#called("aws_cms_cipher_decrypt") !== undefined) return -1;
      this.#fill(plaintext, this.#read(ciphertext));
      return 0;
    },
  };

  /** Whether a KMS call is to fail. */
  #kmsCall(symbol: SymbolName, client: bigint): boolean {
    this.#needLibrary();
    if (!this.#kinds.has(client)) this.#misuse++;
    return this.#called(symbol) !== undefined;
  }

  #decrypt(
    symbol: SymbolName,
    client: bigint,
    keyId: bigint | number,
    ciphertext: unknown,
    context: bigint | number | undefined,
    plaintext: unknown,
  ): number {
    if (this.#kmsCall(symbol, client)) return -1;
    const json = context === undefined ? undefined : this.#text(context);
    const opened = this.#open(
      this.#read(ciphertext),
      this.#text(keyId),
      json === undefined ? {} : JSON.parse(json),
    );
    if (typeof opened === "string") return -1;
    this.#fill(plaintext, opened);
    return 0;
  }

  /** The plaintext, or the name of KMS's error. */
  #open(blob: Uint8Array, keyId: string | undefined, context: Record<string, string>): Bytes | string {
    const parsed = stubParse(blob);
    if (parsed === undefined || parsed.contextHash !== contextHash(context)) {
      return "InvalidCiphertextException";
    }
    if (keyId !== undefined && keyId !== parsed.keyId) return "IncorrectKeyException";
    return parsed.plaintext;
  }

  #answer(body: Uint8Array): Record<string, string> {
    const request = JSON.parse(new TextDecoder().decode(body)) as Record<string, never>;
    if (request["CiphertextBlob"] !== undefined) {
      const opened = this.#open(
        decodeBase64(request["CiphertextBlob"]),
        request["KeyId"],
        request["EncryptionContext"] ?? {},
      );
      if (typeof opened === "string") return { __type: opened, message: "from the mock" };
      return { CiphertextForRecipient: envelope(opened) };
    }
    if (request["NumberOfBytes"] !== undefined) {
      return {
        CiphertextForRecipient: envelope(crypto.getRandomValues(new Uint8Array(request["NumberOfBytes"]))),
      };
    }
    const key = crypto.getRandomValues(new Uint8Array(request["KeySpec"] === "AES_128" ? 16 : 32));
    const wrapped = stubWrap(key, {
      keyId: request["KeyId"] ?? "",
      context: request["EncryptionContext"] ?? {},
    });
    return { CiphertextBlob: encodeBase64(wrapped), CiphertextForRecipient: envelope(key) };
  }
}
