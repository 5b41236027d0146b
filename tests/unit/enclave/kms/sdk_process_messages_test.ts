/** What goes between the service and an SDK process: frames on a pipe, and errors that keep their code and class. */
import { assertEquals, assertRejects } from "@std/assert";
import {
  SdkError,
  sdkError,
  type SdkErrorCode,
  SdkGenericError,
  SdkInitError,
  SdkKmsClientError,
  SdkKmsConfigError,
  SdkKmsDecryptError,
} from "../../../../ffi/errors.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { decodeFrames, encodeFrame } from "../../../../lib/enclave/kms/sdk_process/frames.ts";
import {
  type CarriedError,
  packError,
  unpackError,
} from "../../../../lib/enclave/kms/sdk_process/protocol.ts";

const SECRET = "NEVER-SEEN";
const REASONS = {
  symbol: "aws_kms_decrypt_blocking",
  hint: "Do this.",
  sdk: { code: 34, name: "AWS_ERROR_INVALID_ARGUMENT", text: "An invalid argument." },
  kms: { name: "AccessDeniedException", message: "no" },
};

async function decodeAll(chunks: readonly Uint8Array[]): Promise<unknown[]> {
  const messages: unknown[] = [];
  for await (const message of decodeFrames(ReadableStream.from(chunks))) messages.push(message);
  return messages;
}

/** As they arrive on a pipe: in memory of their own. */
function pieces(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from(
    { length: Math.ceil(bytes.length / length) },
    (_, index) => bytes.slice(index * length, (index + 1) * length),
  );
}

for (const length of [1, 5, 1_000]) {
  Deno.test(`messages in pieces of ${length} come out whole, in order, with their bytes`, async () => {
    const sent = [{ id: 1, bytes: new Uint8Array([0, 1, 255]) }, { id: 2, text: "ü" }, { id: 3 }];
    const stream = new Uint8Array(sent.flatMap((message) => [...encodeFrame(message)]));
    assertEquals(await decodeAll(pieces(stream, length)), sent);
  });
}

Deno.test("what was read from the pipe is wiped, and a message's own bytes are not", async () => {
  const chunk = new Uint8Array(encodeFrame({ secret: new Uint8Array([1, 2, 3]) }));
  const [message] = await decodeAll([chunk]);
  assertEquals([message, chunk.every((byte) => byte === 0)], [{ secret: new Uint8Array([1, 2, 3]) }, true]);
});

for (const length of [2 ** 20 + 1, 2 ** 32 - 1]) {
  Deno.test(`a message that says it has ${length} bytes is refused at its header`, async () => {
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, length);
    await assertRejects(() => decodeAll([header]), RangeError, String(length));
  });
}

Deno.test("a message that is cut off by the end of the stream is dropped", async () => {
  const whole = encodeFrame({ id: 1 });
  const cut = encodeFrame({ id: 2 });
  assertEquals(await decodeAll([whole, cut.subarray(0, cut.length - 1)]), [{ id: 1 }]);
});

Deno.test("undefined fields are left out of a message", async () => {
  assertEquals(await decodeAll([encodeFrame({ id: 1, state: undefined })]), [{ id: 1 }]);
});

const CODES: Readonly<Record<SdkErrorCode, typeof SdkError>> = {
  invalid_argument: SdkError,
  kms_timeout: SdkError,
  sdk_busy: SdkError,
  sdk_generic: SdkGenericError,
  sdk_init: SdkInitError,
  sdk_kms_client: SdkKmsClientError,
  sdk_kms_config: SdkKmsConfigError,
  sdk_kms_data_key: SdkError,
  sdk_kms_decrypt: SdkKmsDecryptError,
  sdk_kms_random: SdkError,
  sdk_library: SdkError,
  sdk_process: SdkError,
};
for (const [code, ErrorClass] of Object.entries(CODES)) {
  Deno.test(`an error of code ${code} is the same on the other side, with all that it says`, async () => {
    const sent = sdkError(code as SdkErrorCode, "It failed", REASONS);
    const [carried] = await decodeAll([encodeFrame(packError(sent))]);
    const { name, message, symbol, hint, sdk, kms, code: received, constructor } = unpackError(
      carried as CarriedError,
    );
    assertEquals({ name, message, symbol, hint, sdk, kms, code: received, constructor }, {
      name: ErrorClass.name,
      message: "It failed",
      code,
      constructor: ErrorClass,
      ...REASONS,
    });
  });
}

Deno.test("an error of another class keeps its message and hint on the other side, but not its code or cause", () => {
  const cause = new Error(SECRET);
  const carried = packError(new EnclaveError("It broke", { code: "x", hint: "Mend it.", cause }));
  const { code, message, hint } = unpackError(carried);
  assertEquals([code, message, hint], ["sdk_process", "It broke", "Mend it."]);
  assertEquals(JSON.stringify(carried).includes(SECRET), false);
  assertEquals(packError("a word").message, "a word");
});

Deno.test("an error with a code that the binding does not have is one of the process", () => {
  for (const code of ["key_not_allowed", "constructor", "__proto__", "SdkError", "toString"]) {
    assertEquals(unpackError({ code, message: "m", symbol: "s" }).code, "sdk_process");
  }
});

Deno.test("what the SDK printed is the reason where KMS gave none, and only there", () => {
  const bare = { code: "sdk_kms_decrypt", message: "m", symbol: "s" };
  const printed = (lines: string) => ({ lines, cause: undefined });
  assertEquals(unpackError(bare, printed("words")).message, "m (the SDK said: words)");
  assertEquals(unpackError(bare, printed("")).message, "m");
  assertEquals(unpackError({ ...bare, kms: REASONS.kms }, printed("words")).message, "m");
});

Deno.test("the reason why KMS was not reached replaces the hint, and is separate from the SDK's output", () => {
  const cause = { words: "no vsock-proxy on port 8000", hint: "Start it." };
  const carried = { code: "sdk_kms_client", message: "m", symbol: "s", hint: "Another." };
  const error = unpackError(carried, { lines: "AWS_IO_X", cause });
  assertEquals([error.connection, error.hint, error.message], [
    cause.words,
    cause.hint,
    "m (the SDK said: AWS_IO_X)",
  ]);
});
