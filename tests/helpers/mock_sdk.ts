/**
 * A mock of `Deno.dlopen` for the SDK, typed by the tables: a changed table breaks it at type check. C memory is a map from
 * addresses to bytes; the KMS is the stand-in of `stub_format.ts`.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { type Dlopen, type NitroSdk, openSdk } from "../../ffi/mod.ts";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  KMS_CLIENT,
  readWord,
  REST_RESPONSE,
  stableBytes,
  writeWord,
} from "../../ffi/layout.ts";
import {
  COMMON_SYMBOLS,
  type CommonSymbols,
  SDK_SYMBOLS,
  type SdkSymbols,
  type SymbolName,
} from "../../ffi/symbols.ts";
import { FAIL, type SdkRig } from "./sdk_rig.ts";
import { contextHash, stubParse, stubWrap } from "./stub_format.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Kind = "string" | "buffer" | "config" | "client" | "response";

const ALLOCATOR = 0x1000n;
const ERROR_CODE = 34;
const KEYPAIR_ADDRESS = 0x2000n;
const REST_CLIENT_ADDRESS = 0x3000n;

function bytesOf(source: unknown): Bytes {
  if (!(source instanceof Uint8Array)) throw new TypeError("the mock takes Uint8Arrays");
  return source as Bytes;
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
  #closedClients = new Set<bigint>();
  #notWiped = 0;
  #doubleFree = 0;
  #misuse = 0;

  open(): NitroSdk {
    return openSdk({ libraryDir: "/mock", dlopen: this.dlopen });
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
    this.#closedClients.clear();
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
    this.#lastError = entry.mode === FAIL.withError ? ERROR_CODE : 0;
    return entry.mode;
  }

  #allocate(kind: Kind, bytes: Bytes): bigint {
    const address = this.#nextAddress;
    this.#nextAddress += BigInt(bytes.length + 64);
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

  readonly #common: CommonSymbols = {
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
      this.#nextAddress += BigInt(length) + 64n;
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
    const address = this.#nextAddress;
    this.#nextAddress += 256n;
    this.#memory.set(address, new TextEncoder().encode(text));
    return address;
  }

  readonly #sdk: SdkSymbols = {
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
      if (this.#called("aws_nitro_enclaves_kms_client_new") !== undefined) return 0n;
      const client = stableBytes(KMS_CLIENT.size);
      writeWord(client, KMS_CLIENT.allocator, ALLOCATOR);
      writeWord(client, KMS_CLIENT.restClient, REST_CLIENT_ADDRESS);
      writeWord(client, KMS_CLIENT.keypair, KEYPAIR_ADDRESS);
      return this.#allocate("client", client);
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
    aws_nitro_enclaves_rest_client_request_blocking: (_restClient, _method, _path, _target, data) => {
      if (this.#called("aws_nitro_enclaves_rest_client_request_blocking") !== undefined) return 0n;
      if (this.#closedClients.size > 0) return 0n;
      const body = new TextEncoder().encode(JSON.stringify(this.#answer(this.#read(data))));
      const response = stableBytes(REST_RESPONSE.size);
      const struct = response.subarray(REST_RESPONSE.data) as Bytes;
      writeWord(struct, AWS_BYTE_BUF.len, BigInt(body.length));
      const address = this.#nextAddress;
      this.#nextAddress += BigInt(body.length + 64);
      this.#memory.set(address, body);
      writeWord(struct, AWS_BYTE_BUF.buffer, address);
      return this.#allocate("response", response);
    },
    aws_nitro_enclaves_rest_response_destroy: (address) => {
      this.#called("aws_nitro_enclaves_rest_response_destroy");
      this.#free("response", address);
    },
    aws_cms_parse_enveloped_data: (input, key, iv, ciphertext) => {
      if (this.#called("aws_cms_parse_enveloped_data") !== undefined) return -1;
      this.#fill(key, new Uint8Array(32));
      this.#fill(iv, new Uint8Array(16));
      this.#fill(ciphertext, this.#read(input));
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
    const mode = this.#called(symbol);
    if (mode === FAIL.closed) this.#closedClients.add(client);
    return mode !== undefined || this.#closedClients.has(client);
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
      return { CiphertextForRecipient: encodeBase64(opened) };
    }
    const key = crypto.getRandomValues(new Uint8Array(32));
    const wrapped = stubWrap(key, {
      keyId: request["KeyId"] ?? "",
      context: request["EncryptionContext"] ?? {},
    });
    return { CiphertextBlob: encodeBase64(wrapped), CiphertextForRecipient: encodeBase64(key) };
  }
}
