/** What goes between the service and an SDK process: frames on a pipe, and errors that keep their code and class. */
import { assertEquals } from "@std/assert";
import { decode } from "cborg";
import { sdkError, type SdkErrorCode } from "../../../../ffi/errors.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { HEADER_LENGTH } from "../../../../lib/enclave/children/frames.ts";
import {
  type CarriedError,
  frameOf,
  packError,
  type SdkMessage,
  unpackError,
} from "../../../../lib/enclave/kms/sdk_process/protocol.ts";

const SECRET = "NEVER-SEEN";
const NO_SESSION = {
  directory: "/app",
  entropySeeded: true,
  clientsWarm: 0,
  clientsSetAside: 0,
  clientsMade: 0,
};
const REASONS = {
  symbol: "aws_kms_decrypt_blocking",
  hint: "Do this.",
  sdk: { code: 34, name: "AWS_ERROR_INVALID_ARGUMENT", text: "An invalid argument." },
  kms: { name: "AccessDeniedException", message: "no" },
};

/** What the other side reads. */
function carry(message: SdkMessage): unknown {
  return decode(frameOf(message).subarray(HEADER_LENGTH));
}

Deno.test("undefined fields are left out of a message", () => {
  assertEquals(carry({ id: 1, ok: true, state: NO_SESSION, plaintext: undefined } as unknown as SdkMessage), {
    id: 1,
    ok: true,
    state: NO_SESSION,
  });
});

const CODES: readonly SdkErrorCode[] = [
  ...["invalid_argument", "kms_timeout", "sdk_busy", "sdk_generic", "sdk_init", "sdk_kms_client"] as const,
  ...["sdk_kms_config", "sdk_kms_data_key", "sdk_kms_decrypt", "sdk_kms_random", "sdk_library"] as const,
  "sdk_process",
];
for (const code of CODES) {
  Deno.test(`an error of code ${code} is the same on the other side, with all that it says`, () => {
    const sent = sdkError(code, "It failed", REASONS);
    const { error } = carry({ id: 1, ok: false, error: packError(sent) }) as { error: CarriedError };
    const { name, message, symbol, hint, sdk, kms, code: received, constructor } = unpackError(error);
    assertEquals({ name, message, symbol, hint, sdk, kms, code: received, constructor }, {
      name: sent.name,
      message: "It failed",
      code,
      constructor: sent.constructor,
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
