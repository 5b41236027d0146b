/** The NSM's device, against a stand-in in C for the calls of the C library: layouts, sizes at their limits, errno. */
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { encode } from "cborg";
import type { Dlopen } from "../../ffi/library.ts";
import { constants } from "node:os";
import { Kernel, OPEN_FLAGS } from "../../ffi/kernel.ts";
import {
  NSM_IOCTL_REQUEST,
  NSM_MESSAGE,
  NSM_REQUEST_MAX_LENGTH,
  NSM_RESPONSE_MAX_LENGTH,
  NsmDevice,
  NsmError,
} from "../../ffi/nsm.ts";
import { openNsm } from "../../lib/enclave/cli/nsm.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const ERRNO = constants.errno;

const STUB = `${NATIVE_DIR}/libnsm-libc-stub.so`;

const control = Deno.dlopen(STUB, {
  nsm_stub_script: { parameters: ["i32", "i32", "u64", "u32"], result: "void" }, // open's errno, ioctl's, claimed length, repeats
  nsm_stub_answer: { parameters: ["buffer", "usize"], result: "void" },
  nsm_stub_open: { parameters: [], result: "i32" },
  nsm_stub_opened: { parameters: [], result: "i32" },
  nsm_stub_closed_twice: { parameters: [], result: "i32" },
  nsm_stub_layout: { parameters: ["u32"], result: "u64" },
}).symbols;

/** What the stand-in does, from now on. */
function script(
  { openErrno = 0, ioctlErrno = 0, claimed = 0n, repeat = 1 }: {
    readonly openErrno?: number;
    readonly ioctlErrno?: number;
    readonly claimed?: bigint;
    readonly repeat?: number;
  } = {},
): void {
  control.nsm_stub_script(openErrno, ioctlErrno, claimed, repeat);
}

/** What the stand-in answers, until the next script. */
function answer(value: unknown): void {
  const bytes = new Uint8Array(encode(value));
  control.nsm_stub_answer(bytes, BigInt(bytes.length));
}

/** The stand-in in place of the C library. */
const dlopen: Dlopen = (_path, symbols) => Deno.dlopen(STUB, symbols);

const kernel = new Kernel("open the NSM", dlopen);

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

Deno.test("the message, its request code and the flags are those of this machine's C compiler", () => {
  const expected = [
    NSM_MESSAGE.size,
    NSM_MESSAGE.requestBase,
    NSM_MESSAGE.requestLength,
    NSM_MESSAGE.responseBase,
    NSM_MESSAGE.responseLength,
    Number(NSM_IOCTL_REQUEST),
    OPEN_FLAGS.readWrite,
    OPEN_FLAGS.closeOnExec,
    OPEN_FLAGS.nonBlocking,
    ERRNO.ENOENT,
    ERRNO.ENXIO,
    ERRNO.EACCES,
    ERRNO.EINVAL,
    ERRNO.ENOTTY,
    ERRNO.EMSGSIZE,
    ERRNO.ETIMEDOUT,
  ];
  assertEquals(expected.map((_, which) => Number(control.nsm_stub_layout(which))), expected);
});

for (const length of [1, 2, 255, 4095, NSM_REQUEST_MAX_LENGTH]) {
  Deno.test(`a request of ${length} bytes reaches C whole, and the response comes back whole`, () => {
    script();
    using device = new NsmDevice(kernel);
    const request = random(length);
    assertEquals(device.request(request), request.toReversed());
  });
}

Deno.test("a response may fill its room to the last byte", () => {
  script({ repeat: 3 });
  using device = new NsmDevice(kernel);
  const request = random(NSM_REQUEST_MAX_LENGTH);
  const response = device.request(request);
  assertEquals(response.length, NSM_RESPONSE_MAX_LENGTH);
  assertEquals(response.subarray(2 * NSM_REQUEST_MAX_LENGTH), request.toReversed());
});

Deno.test("a thousand requests on one device go to the same memory and stay apart, whatever is collected between them", () => {
  script();
  using device = new NsmDevice(kernel);
  const responses = [];
  for (let turn = 0; turn < 1_000; turn++) {
    const request = random(1 + turn % 64);
    // Garbage, so that what could move would.
    responses.push([request, device.request(request), new Uint8Array(4096)] as const);
  }
  for (const [request, response] of responses) assertEquals(response, request.toReversed());
});

for (
  const name of [
    "EPERM",
    "ENOENT",
    "ENXIO",
    "EACCES",
    "EBUSY",
    "EINVAL",
    "ENOTTY",
    "EMSGSIZE",
    "ETIMEDOUT",
  ] as const
) {
  const errno = ERRNO[name];
  Deno.test(`${name} of open and of ioctl comes with its name and a remedy`, () => {
    script({ openErrno: errno });
    const before = control.nsm_stub_opened();
    const refused = assertThrows(() => new NsmDevice(kernel), NsmError, `open gave ${name}`);
    script({ ioctlErrno: errno });
    using device = new NsmDevice(kernel);
    const failed = assertThrows(() => device.request(random(10)), NsmError, `ioctl gave ${name}`);
    assertEquals(control.nsm_stub_opened() - before, 1);
    for (const { hint } of [refused, failed]) assertMatch(hint ?? "", /\w/);
  });
}

Deno.test("a driver that claims to have written more than the buffer holds is an error", () => {
  for (const claimed of [BigInt(NSM_RESPONSE_MAX_LENGTH) + 1n, 2n ** 63n]) {
    script({ claimed });
    using device = new NsmDevice(kernel);
    assertThrows(() => device.request(random(10)), NsmError, `speaks of ${claimed} bytes`);
  }
});

Deno.test("no other path opens the device", () => {
  script();
  assertThrows(() => new NsmDevice(kernel, "/dev/nsm1"), NsmError, "open gave ENOENT");
});

Deno.test("every device that was opened is closed, once", () => {
  script();
  for (let turn = 0; turn < 10; turn++) {
    const device = new NsmDevice(kernel);
    device[Symbol.dispose]();
    device[Symbol.dispose]();
  }
  assertEquals([control.nsm_stub_open(), control.nsm_stub_closed_twice()], [0, 0]);
});

Deno.test("the port asks through C: a document as large as fits comes back, a refusal by its name", async () => {
  script();
  using nsm = openNsm(kernel);
  // The largest that the response has room for, beside CBOR's heads: two maps, two names, the length.
  const document = random(
    NSM_RESPONSE_MAX_LENGTH - encode({ Attestation: { document: new Uint8Array(0) } }).length - 2,
  );
  answer({ Attestation: { document } });
  const publicKey = random(1024);
  assertEquals(await nsm.attest({ userData: random(512), nonce: random(512), publicKey }), document);
  answer({ Error: "InputTooLarge" });
  await assertRejects(() => nsm.attest(), NsmError, "InputTooLarge");
});
