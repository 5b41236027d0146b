/**
 * The contract of the binding, independent of the library behind `dlopen`: run against the mock, and against the C stub with real `Deno.dlopen`.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import {
  callKmsDecrypt,
  Credentials,
  type DataKeyCall,
  kmsCall,
  kmsDecrypt,
  SdkError,
  SdkGenericError,
  SdkInitError,
  SdkKmsClientError,
  SdkKmsConfigError,
  SdkKmsDecryptError,
  WarmSession,
  type WarmSessionOptions,
} from "../../lib/enclave/kms/aws_ne/mod.ts";
import type { SdkRig } from "../helpers/sdk_rig.ts";
import { MODE } from "../helpers/stub_control.ts";
import { STUB_KEY_ARN, stubWrap } from "../helpers/stub_format.ts";

const REGION = "us-east-1";
const STRINGS = {
  accessKeyId: "AKIDTEST",
  secretAccessKey: "secret-for-tests",
  sessionToken: "token-for-tests",
};
const PLAINTEXT = new TextEncoder().encode("thirty-two bytes of a key: 01234");

const STRING_NEW = "aws_string_new_from_array";
const STRING_DESTROY = "aws_string_destroy_secure";
const ACQUIRE = [
  "aws_nitro_enclaves_library_init",
  "aws_nitro_enclaves_get_allocator",
  STRING_NEW,
  STRING_NEW,
  STRING_NEW,
  STRING_NEW,
  "aws_nitro_enclaves_kms_client_config_default",
  "aws_nitro_enclaves_kms_client_new",
];
/** In order of release: the reverse of how they were acquired. */
const RELEASE = [
  "aws_nitro_enclaves_kms_client_destroy",
  "aws_nitro_enclaves_kms_client_config_destroy",
  STRING_DESTROY,
  STRING_DESTROY,
  STRING_DESTROY,
  STRING_DESTROY,
  "aws_nitro_enclaves_library_clean_up",
];

type FailureCase = {
  readonly name: string;
  readonly symbol: string;
  readonly after: number;
  readonly error: new (...args: never[]) => SdkError;
  readonly calls: readonly string[];
};

/** Each step of a one-shot call that can fail: what is called before it, and what is released after it. */
const FAILURES: readonly FailureCase[] = [
  {
    name: "the allocator",
    symbol: "aws_nitro_enclaves_get_allocator",
    after: 0,
    error: SdkInitError,
    calls: [...ACQUIRE.slice(0, 2), ...RELEASE.slice(-1)],
  },
  ...[0, 1, 2, 3].map((after) => ({
    name: `string ${after + 1} of 4`,
    symbol: STRING_NEW,
    after,
    error: SdkGenericError,
    calls: [...ACQUIRE.slice(0, 3 + after), ...RELEASE.slice(RELEASE.length - 1 - after)],
  })),
  {
    name: "the client configuration",
    symbol: "aws_nitro_enclaves_kms_client_config_default",
    after: 0,
    error: SdkKmsConfigError,
    calls: [...ACQUIRE.slice(0, 7), ...RELEASE.slice(2)],
  },
  {
    name: "the client",
    symbol: "aws_nitro_enclaves_kms_client_new",
    after: 0,
    error: SdkKmsClientError,
    calls: [...ACQUIRE, ...RELEASE.slice(1)],
  },
];

const ENVELOPE = ["aws_cms_parse_enveloped_data", "aws_attestation_rsa_decrypt", "aws_cms_cipher_decrypt"];

/** The symbols that are called to get KMS's reason after a call has failed. */
const REASON = new Set([
  "aws_http_connection_is_open",
  "aws_http_connection_new_requests_allowed",
  "aws_attestation_request",
  "aws_byte_buf_clean_up_secure",
  "aws_nitro_enclaves_rest_client_request_blocking",
  "aws_nitro_enclaves_rest_response_destroy",
]);

/** Registers the suite for one stand-in. */
export function testSdkContract(name: string, makeRig: () => SdkRig): void {
  const rig = makeRig();

  function test(behaviour: string, run: (rig: SdkRig) => void): void {
    Deno.test(`${name}: ${behaviour}`, () => {
      rig.reset();
      const before = rig.live();
      run(rig);
      assertEquals(rig.live(), before, "objects of the SDK are left");
      assertEquals(rig.faults(), { notWiped: 0, doubleFree: 0, misuse: 0 });
    });
  }

  function decrypt(options: Parameters<typeof kmsDecrypt>[3] = {}, blob = stubWrap(PLAINTEXT)): Uint8Array {
    using credentials = Credentials.fromStrings(STRINGS);
    using plaintext = kmsDecrypt(REGION, credentials, blob, { sdk: rig.open(), ...options });
    return new Uint8Array(plaintext.expose());
  }

  function dataKey(call: Partial<DataKeyCall> = {}) {
    using credentials = Credentials.fromStrings(STRINGS);
    const { plaintext, ciphertext = new Uint8Array(0) } = kmsCall(REGION, credentials, {
      kind: "generateDataKey",
      keyId: STUB_KEY_ARN,
      keySpec: "AES_256",
      ...call,
    }, { sdk: rig.open() });
    using key = plaintext;
    return { plaintext: new Uint8Array(key.expose()), ciphertext };
  }

  function random(length: number): number {
    using credentials = Credentials.fromStrings(STRINGS);
    using bytes =
      kmsCall(REGION, credentials, { kind: "generateRandom", length }, { sdk: rig.open() }).plaintext;
    return bytes.length;
  }

  test("one call decrypts, acquires in order, and releases in reverse order", () => {
    assertEquals(decrypt(), PLAINTEXT);
    assertEquals(rig.log(), [
      ...ACQUIRE,
      "aws_kms_decrypt_blocking",
      "aws_byte_buf_clean_up_secure",
      ...RELEASE,
    ]);
  });

  test("bytes in, bytes out, for an app", () => {
    const plaintext = callKmsDecrypt(stubWrap(PLAINTEXT), {
      region: REGION,
      credentials: STRINGS,
      sdk: rig.open(),
    });
    assertEquals(plaintext, PLAINTEXT);
  });

  test("a key id goes with SYMMETRIC_DEFAULT, and both strings are released", () => {
    assertEquals(decrypt({ keyId: STUB_KEY_ARN }), PLAINTEXT);
    const count = (symbol: string) => rig.log().filter((call) => call === symbol).length;
    assertEquals([count(STRING_NEW), count(STRING_DESTROY)], [6, 6]);
  });

  test("an EncryptionContext goes through the call that takes one, and binds", () => {
    const context = { purpose: "tsk", app: 'de"nc\\lave' };
    assertEquals(decrypt({ keyId: STUB_KEY_ARN, context }, stubWrap(PLAINTEXT, { context })), PLAINTEXT);
    assert(rig.log().includes("aws_kms_decrypt_blocking_with_context"));
    assertThrows(
      () =>
        decrypt({ keyId: STUB_KEY_ARN, context: { purpose: "wallet" } }, stubWrap(PLAINTEXT, { context })),
      SdkKmsDecryptError,
    );
  });

  for (const failure of FAILURES) {
    test(`when ${failure.name} fails, what was acquired is released in reverse order, then the error is thrown`, () => {
      rig.fail(failure.symbol, MODE.fail, failure.after);
      const error = assertThrows(() => decrypt(), SdkError);
      assertInstanceOf(error, failure.error as new () => SdkError);
      assertEquals(error.symbol, failure.symbol);
      assert(
        error.sdk !== undefined && error.sdk.code !== 0 && error.sdk.name !== "",
        "the SDK's own error is missing",
      );
      assert(error.hint !== undefined, "there is no hint");
      assertEquals(rig.log(), [...failure.calls]);
    });
  }

  test("a client that fails without an error code is an error without the SDK's name", () => {
    rig.fail("aws_nitro_enclaves_kms_client_new", MODE.silent);
    assertEquals(assertThrows(() => decrypt(), SdkKmsClientError).sdk, undefined);
  });

  test("when decrypt fails, KMS's reason is asked for and everything released in reverse order", () => {
    const error = assertThrows(
      () => decrypt({}, new TextEncoder().encode("no ciphertext of the stand-in")),
      SdkKmsDecryptError,
    );
    assertEquals(error.kms?.name, "InvalidCiphertextException");
    assertEquals(error.symbol, "aws_kms_decrypt_blocking");
    const calls = rig.log();
    assertEquals(calls.slice(0, ACQUIRE.length + 1), [...ACQUIRE, "aws_kms_decrypt_blocking"]);
    assertEquals(calls.slice(-RELEASE.length), RELEASE);
    assertEquals(calls.slice(ACQUIRE.length + 1, -RELEASE.length).filter((call) => !REASON.has(call)), []);
  });

  test("a key other than the named one is reported with KMS's own error name", () => {
    const other = STUB_KEY_ARN.replace("1234abcd", "99999999");
    assertEquals(
      assertThrows(() => decrypt({ keyId: other }), SdkKmsDecryptError).kms?.name,
      "IncorrectKeyException",
    );
  });

  test("if the reason cannot be obtained, the failure is reported without it", () => {
    rig.fail("aws_kms_decrypt_blocking", MODE.fail);
    rig.fail("aws_attestation_request", MODE.fail);
    const error = assertThrows(() => decrypt(), SdkKmsDecryptError);
    assertEquals(error.kms, undefined);
    assertEquals(rig.log().slice(-RELEASE.length), RELEASE);
  });

  test("a data key is returned in plaintext and wrapped", () => {
    for (const [keySpec, length] of [["AES_256", 32], ["AES_128", 16]] as const) {
      const { plaintext, ciphertext } = dataKey({ keySpec });
      assertEquals(plaintext.length, length);
      assertEquals(decrypt({}, ciphertext), plaintext);
    }
  });

  test("a data key with an EncryptionContext is bound to it", () => {
    const context = { app: "denclave", purpose: "wallet", name: "a/b" };
    const { plaintext, ciphertext } = dataKey({ context });
    assertEquals(decrypt({ keyId: STUB_KEY_ARN, context }, ciphertext), plaintext);
    assertThrows(() => decrypt({ keyId: STUB_KEY_ARN }, ciphertext), SdkKmsDecryptError);
  });

  for (const symbol of ENVELOPE) {
    test(`when ${symbol} fails on a data key's envelope, everything is released`, () => {
      rig.fail(symbol, MODE.fail);
      assertEquals(assertThrows(() => dataKey({ context: { a: "b" } }), SdkGenericError).symbol, symbol);
      assertEquals(rig.log().slice(-RELEASE.length), RELEASE);
    });
  }

  test("a data key or random bytes that fail have their own code", () => {
    rig.fail("aws_kms_generate_data_key_blocking", MODE.fail);
    assertEquals(assertThrows(() => dataKey(), SdkError).code, "sdk_kms_data_key");
    assertEquals(rig.log().slice(-RELEASE.length), RELEASE);
    assertEquals(random(1024), 1024);
    rig.fail("aws_kms_generate_random_blocking", MODE.fail);
    assertEquals(assertThrows(() => random(1), SdkError).code, "sdk_kms_random");
  });

  test("arguments are refused before the SDK is touched", () => {
    using empty = Credentials.fromStrings({ ...STRINGS, accessKeyId: "" });
    using nul = Credentials.fromStrings({ ...STRINGS, sessionToken: "a\0b" });
    using fine = Credentials.fromStrings(STRINGS);
    const sdk = rig.open();
    const blob = stubWrap(PLAINTEXT);
    const refused: readonly [() => unknown, string][] = [
      [() => kmsDecrypt("us-east-1.evil.example", fine, blob, { sdk }), "region"],
      [() => kmsDecrypt(REGION, empty, blob, { sdk }), "accessKeyId"],
      [() => kmsDecrypt(REGION, nul, blob, { sdk }), "sessionToken"],
      [() => kmsDecrypt(REGION, fine, new Uint8Array(0), { sdk }), "ciphertext"],
      [() => kmsDecrypt(REGION, fine, new Uint8Array(6145), { sdk }), "ciphertext"],
      [() => random(1025), "length"],
      [() => dataKey({ keyId: "" }), "keyId"],
    ];
    for (const [run, parameter] of refused) {
      const error = assertThrows(run, SdkError);
      assertEquals([error.code, error.symbol], ["invalid_argument", parameter]);
    }
    assertEquals(rig.log(), []);
  });

  test("an empty session token is passed as an empty string, never as NULL", () => {
    using credentials = Credentials.fromStrings({ ...STRINGS, sessionToken: "" });
    using plaintext = kmsDecrypt(REGION, credentials, stubWrap(PLAINTEXT), { sdk: rig.open() });
    assertEquals(plaintext.length, PLAINTEXT.length);
  });

  test("two one-shot calls may not overlap", () => {
    const sdk = rig.open();
    using _library = sdk.initLibrary();
    using credentials = Credentials.fromStrings(STRINGS);
    assertThrows(() => kmsDecrypt(REGION, credentials, stubWrap(PLAINTEXT), { sdk }), SdkInitError);
  });

  test("an object is released once and not used after that, nor is a library that was cleaned up", () => {
    const sdk = rig.open();
    const library = sdk.initLibrary();
    using credentials = Credentials.fromStrings(STRINGS);
    const parts = { region: REGION, credentials: credentials.expose(), proxyPort: 8000 };
    const stack = new DisposableStack();
    const client = library.connect(stack, parts);
    client[Symbol.dispose]();
    client[Symbol.dispose]();
    stack.dispose();
    assertThrows(() => client.address, TypeError, "it was destroyed");
    assertEquals(rig.log().filter((call) => call === "aws_nitro_enclaves_kms_client_destroy").length, 1);
    library[Symbol.dispose]();
    library[Symbol.dispose]();
    assertThrows(() => library.connect(stack, parts), TypeError, "cleaned up");
  });

  // The warm session.

  function session(options: Partial<WarmSessionOptions> = {}): WarmSession {
    return new WarmSession({
      open: () => rig.open(),
      proxyPort: 8000,
      seedBytes: 0,
      idleMs: 60_000,
      maxWarm: 2,
      now: () => 0,
      ...options,
    });
  }

  function callSession(warm: WarmSession, strings = STRINGS): Uint8Array {
    using credentials = Credentials.fromStrings(strings);
    const { plaintext } = warm.call(REGION, credentials, {
      kind: "decrypt",
      ciphertext: stubWrap(PLAINTEXT),
    });
    using opened = plaintext;
    return new Uint8Array(opened.expose());
  }

  const clientsMade = () => rig.log().filter((call) => call === "aws_nitro_enclaves_kms_client_new").length;

  test("a warm session makes one client for many calls, and releases strings and buffers after each", () => {
    using warm = session();
    callSession(warm);
    const live = rig.live();
    for (let call = 0; call < 10; call++) assertEquals(callSession(warm), PLAINTEXT);
    assertEquals([clientsMade(), rig.live()], [1, live]);
  });

  test("a warm session makes another client for other credentials, and never destroys one while it serves", () => {
    using warm = session();
    for (const accessKeyId of ["AKID1", "AKID2", "AKID3", "AKID3"]) {
      callSession(warm, { ...STRINGS, accessKeyId });
    }
    assertEquals([clientsMade(), warm.state.clientsWarm, warm.state.clientsSetAside], [3, 2, 1]);
    assertEquals(rig.log().includes("aws_nitro_enclaves_kms_client_destroy"), false);
  });

  const REQUEST = "aws_nitro_enclaves_rest_client_request_blocking";
  const count = (symbol: string) => rig.log().filter((call) => call === symbol).length;

  test("a warm call is one attested request, and looks at the connection first", () => {
    using warm = session();
    callSession(warm);
    const before = rig.log().length;
    callSession(warm);
    const calls = rig.log().slice(before).filter((call) => call !== "aws_byte_buf_clean_up_secure");
    assertEquals(calls, [
      "aws_http_connection_is_open",
      "aws_http_connection_new_requests_allowed",
      "aws_attestation_request",
      "aws_http_connection_is_open",
      "aws_http_connection_new_requests_allowed",
      REQUEST,
      "aws_nitro_enclaves_rest_response_destroy",
      "aws_cms_parse_enveloped_data",
      "aws_attestation_rsa_decrypt",
      "aws_cms_cipher_decrypt",
    ]);
    assertEquals(warm.state.blockingBecause, undefined);
  });

  test("each kind of call goes through the attested request, with its EncryptionContext", () => {
    using warm = session();
    using credentials = Credentials.fromStrings(STRINGS);
    const context = { app: "denclave", purpose: "wallet" };
    for (const [keySpec, length] of [["AES_256", 32], ["AES_128", 16]] as const) {
      const { plaintext, ciphertext } = warm.call(REGION, credentials, {
        kind: "generateDataKey",
        keyId: STUB_KEY_ARN,
        keySpec,
        context,
      });
      using key = plaintext;
      assert(ciphertext !== undefined);
      assertEquals(key.length, length);
      const opened = warm.call(REGION, credentials, {
        kind: "decrypt",
        ciphertext,
        keyId: STUB_KEY_ARN,
        context,
      });
      using again = opened.plaintext;
      assertEquals(new Uint8Array(again.expose()), new Uint8Array(key.expose()));
      const other = { ...context, purpose: "tsk" };
      const error = assertThrows(
        () => warm.call(REGION, credentials, { kind: "decrypt", ciphertext, context: other }),
        SdkKmsDecryptError,
      );
      assertEquals(error.kms?.name, "InvalidCiphertextException");
    }
    using random = warm.call(REGION, credentials, { kind: "generateRandom", length: 33 }).plaintext;
    assertEquals([random.length, count(REQUEST), clientsMade()], [33, 7, 1]);
    assertEquals(rig.log().some((call) => /^aws_kms_.*_blocking/.test(call)), false);
  });

  for (const symbol of ["aws_http_connection_is_open", "aws_http_connection_new_requests_allowed"]) {
    test(`a client is replaced before the request, which would never return, where not ${symbol}`, () => {
      using warm = session();
      callSession(warm);
      rig.fail(symbol, MODE.closed);
      assertEquals(callSession(warm), PLAINTEXT);
      assertEquals([clientsMade(), warm.state.clientsSetAside, count(REQUEST)], [2, 1, 2]);
    });
  }

  test("a connection that is closed while the document is made is not used", () => {
    using warm = session();
    callSession(warm);
    rig.fail("aws_http_connection_is_open", MODE.closed, 1);
    assert(assertThrows(() => callSession(warm), SdkError).isLost);
    assertEquals([count("aws_attestation_request"), count(REQUEST)], [2, 1]);
  });

  test("a call without an answer is made once, and the next call opens a new client", () => {
    using warm = session();
    callSession(warm);
    rig.fail(REQUEST, MODE.noAnswer);
    assert(assertThrows(() => callSession(warm), SdkKmsDecryptError).isLost);
    assertEquals([count(REQUEST), warm.state.clientsWarm], [2, 0]);
    assertEquals(callSession(warm), PLAINTEXT);
    assertEquals(clientsMade(), 2);
  });

  for (const [what, mode] of [["no envelope", MODE.noEnvelope], ["something else", MODE.envelope]] as const) {
    test(`an answer with ${what} is an error before the SDK sees it, and the client stays`, () => {
      using warm = session();
      rig.fail(REQUEST, mode);
      const error = assertThrows(() => callSession(warm), SdkGenericError);
      assert(error.message.includes("without an envelope"), error.message);
      assertEquals(count("aws_cms_parse_enveloped_data"), 0);
      assertEquals(callSession(warm), PLAINTEXT);
      assertEquals(clientsMade(), 1);
    });
  }

  for (const symbol of ENVELOPE) {
    test(`when ${symbol} fails on a warm client, everything is released and the client stays`, () => {
      using warm = session();
      callSession(warm);
      const live = rig.live();
      rig.fail(symbol, MODE.fail);
      assertEquals(assertThrows(() => callSession(warm), SdkGenericError).symbol, symbol);
      assertEquals([rig.live(), callSession(warm).length, clientsMade()], [live, PLAINTEXT.length, 1]);
    });
  }

  for (const [what, mode] of [["client", MODE.layout], ["rest client", MODE.shifted]] as const) {
    test(`a ${what} of an unknown layout is called by the SDK's own functions, and the session says so`, () => {
      using warm = session();
      rig.fail("aws_nitro_enclaves_kms_client_new", mode);
      assertEquals(callSession(warm), PLAINTEXT);
      assertEquals(
        [count("aws_kms_decrypt_blocking"), count(REQUEST), count("aws_http_connection_is_open")],
        [1, 0, 0],
      );
      assert(warm.state.blockingBecause?.includes("client"), warm.state.blockingBecause);
      // With an unknown layout, the reason is not read from the struct either.
      using credentials = Credentials.fromStrings(STRINGS);
      const ciphertext = new TextEncoder().encode("no ciphertext of the stand-in");
      const error = assertThrows(
        () => warm.call(REGION, credentials, { kind: "decrypt", ciphertext }),
        SdkKmsDecryptError,
      );
      assertEquals([error.kms, count(REQUEST)], [undefined, 0]);
      const call = {
        kind: "generateDataKey",
        keyId: STUB_KEY_ARN,
        keySpec: "AES_256",
        context: { a: "b" },
      } as const;
      const refused = assertThrows(() => warm.call(REGION, credentials, call), SdkError, "Cannot generate");
      assertEquals(refused.code, "sdk_kms_data_key");
    });
  }

  test("an answer of an unknown layout is asked for again by the SDK's own functions, for every client from then on", () => {
    using warm = session();
    callSession(warm, { ...STRINGS, accessKeyId: "AKID1" });
    rig.fail(REQUEST, MODE.answer);
    assertEquals(callSession(warm, { ...STRINGS, accessKeyId: "AKID1" }), PLAINTEXT);
    assertEquals(callSession(warm, { ...STRINGS, accessKeyId: "AKID2" }), PLAINTEXT);
    assertEquals([count(REQUEST), count("aws_kms_decrypt_blocking"), clientsMade()], [2, 2, 2]);
    assert(warm.state.blockingBecause?.includes("answer"), warm.state.blockingBecause);
  });

  test("a one-shot call whose reason has an unknown layout fails without it", () => {
    rig.fail(REQUEST, MODE.answer);
    const error = assertThrows(
      () => decrypt({}, new TextEncoder().encode("no ciphertext")),
      SdkKmsDecryptError,
    );
    assertEquals([error.kms, rig.log().slice(-RELEASE.length)], [undefined, RELEASE]);
  });

  test("a refusal by KMS keeps the client", () => {
    using warm = session();
    using credentials = Credentials.fromStrings(STRINGS);
    const ciphertext = new TextEncoder().encode("no ciphertext of the stand-in");
    const error = assertThrows(
      () => warm.call(REGION, credentials, { kind: "decrypt", ciphertext }),
      SdkKmsDecryptError,
    );
    assertEquals([error.kms?.name, count(REQUEST)], ["InvalidCiphertextException", 1]);
    callSession(warm);
    assertEquals(clientsMade(), 1);
  });

  test("a client that was idle too long is replaced", () => {
    let now = 0;
    using warm = session({ now: () => now });
    callSession(warm);
    now = 60_001;
    callSession(warm);
    assertEquals([clientsMade(), warm.state.clientsSetAside], [2, 1]);
  });

  test("clients that could not be made count as made: they leave something behind as well", () => {
    using warm = session();
    rig.fail("aws_nitro_enclaves_kms_client_new", MODE.silent);
    assertThrows(() => callSession(warm), SdkKmsClientError);
    callSession(warm);
    assertEquals([warm.state.clientsMade, warm.state.clientsWarm], [2, 1]);
  });

  test("a session says whether entropy was seeded", () => {
    {
      using seeded = session({ seedBytes: 1024 });
      assertEquals(seeded.state.entropySeeded, true);
    }
    rig.fail("aws_nitro_enclaves_library_seed_entropy", MODE.fail);
    using unseeded = session({ seedBytes: 1024 });
    assertEquals(unseeded.state.entropySeeded, false);
  });
}
