/** What goes between the service and the SDK's host: frames on a pipe, and errors that keep their class. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import * as errors from "../../../../lib/enclave/kms/aws_ne/errors.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { decodeFrames, encodeFrame } from "../../../../lib/enclave/kms/sdk_process/frames.ts";
import {
  type CarriedError,
  packError,
  processLost,
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

for (const length of [1, 2, 3, 4, 5, 7, 1_000]) {
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

for (const [name, ErrorClass] of Object.entries(errors.SDK_ERROR_CLASSES)) {
  Deno.test(`${name} is the same class on the other side, with all that it says`, async () => {
    const sent = new ErrorClass("It failed", REASONS);
    const [carried] = await decodeAll([encodeFrame(packError(sent))]);
    const { name: receivedName, message, symbol, hint, sdk, kms, code } = unpackError(
      carried as CarriedError,
    );
    assertEquals({ name: receivedName, message, symbol, hint, sdk, kms, code }, {
      name,
      message: "It failed",
      code: sent.code,
      ...REASONS,
    });
    assertEquals(unpackError(carried as CarriedError).constructor, ErrorClass);
  });
}

Deno.test("the classes that are carried are all that the binding throws", () => {
  const exported = Object.entries(errors).filter(([, value]) =>
    typeof value === "function" && value.prototype instanceof errors.SdkError
  );
  assertEquals(Object.fromEntries(exported), { ...errors.SDK_ERROR_CLASSES });
});

Deno.test("an error of another class keeps its message and hint on the other side, but not its class or cause", () => {
  const cause = new Error(SECRET);
  const carried = packError(new EnclaveError("It broke", { code: "x", hint: "Mend it.", cause }));
  const error = unpackError(carried);
  assertInstanceOf(error, errors.SdkProcessError);
  assertEquals([error.message, error.hint, JSON.stringify(carried).includes(SECRET)], [
    "It broke",
    "Mend it.",
    false,
  ]);
  assertEquals(packError("a word").message, "a word");
});

for (const name of ["Error", "constructor", "__proto__", "SdkError", "toString"]) {
  Deno.test(`an error that calls itself ${name} becomes an SdkProcessError`, () => {
    assertInstanceOf(unpackError({ name, message: "m", symbol: "s" }), errors.SdkProcessError);
  });
}

Deno.test("what the SDK said is the reason where KMS gave none, and only there", () => {
  const bare = { name: "SdkKmsDecryptError", message: "m", symbol: "s" };
  const said = (lines: string) => ({ lines, cause: undefined });
  assertEquals(unpackError(bare, said("words")).message, "m (the SDK said: words)");
  assertEquals(unpackError(bare, said("")).message, "m");
  assertEquals(unpackError({ ...bare, kms: REASONS.kms }, said("words")).message, "m");
});

Deno.test("the reason why KMS was not reached replaces the hint, and is separate from the SDK's output", () => {
  const cause = { words: "no vsock-proxy on port 8000", hint: "Start it." };
  const carried = { name: "SdkKmsClientError", message: "m", symbol: "s", hint: "Another." };
  const error = unpackError(carried, { lines: "AWS_IO_X", cause });
  assertEquals([error.connection, error.hint, error.message], [
    cause.words,
    cause.hint,
    "m (the SDK said: AWS_IO_X)",
  ]);
});

Deno.test("a process that ended reports how, with its last output if there is any", () => {
  assertEquals(processLost("signal 11", "").message.endsWith("signal 11"), true);
  assert(processLost("signal 11", "segfault").message.includes("(it said: segfault)"));
});
