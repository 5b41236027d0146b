/** The NSM's device, through a mocked C library; small files, through the real one. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { errnoName, openSmallFiles } from "../../../ffi/libc.ts";
import {
  NSM_DEVICE,
  NSM_REQUEST_MAX_LENGTH,
  NSM_RESPONSE_MAX_LENGTH,
  NsmDevice,
  NsmDeviceError,
} from "../../../ffi/nsm.ts";
import { EnclaveError } from "../../../lib/shared/errors.ts";
import { MockNsm } from "../../helpers/mock_nsm.ts";

function readSmallFile(path: string, maxBytes: number) {
  using files = openSmallFiles(`read ${path}`);
  return files.read(path, maxBytes);
}

const O_RDWR_CLOEXEC = 0o2000002;

Deno.test("a request reaches the driver as it is, and its response comes back", () => {
  const mock = new MockNsm((request) => ({ response: request.toReversed() }));
  using device = NsmDevice.open({ dlopen: mock.dlopen });
  assertEquals(device.request(new Uint8Array([1, 2, 3])), new Uint8Array([3, 2, 1]));
  assertEquals(device.request(new Uint8Array([9])), new Uint8Array([9]));
  assertEquals(mock.opened, [[`${NSM_DEVICE}\0`, O_RDWR_CLOEXEC]]);
  assertEquals(mock.rooms, [12_288n, 12_288n]);
});

Deno.test("a request and a response may be as long as the driver allows, and no longer", () => {
  const mock = new MockNsm(() => ({ response: new Uint8Array(NSM_RESPONSE_MAX_LENGTH).fill(7) }));
  using device = NsmDevice.open({ dlopen: mock.dlopen });
  const response = device.request(new Uint8Array(NSM_REQUEST_MAX_LENGTH).fill(1));
  assertEquals([response.length, response.at(-1)], [12_288, 7]);
  for (const length of [0, NSM_REQUEST_MAX_LENGTH + 1]) {
    assertThrows(() => device.request(new Uint8Array(length)), RangeError, `${length} bytes`);
  }
  assertEquals(mock.rooms.length, 1);
});

Deno.test("what went through the device's buffers does not stay in them", () => {
  const mock = new MockNsm((request) => ({ response: request }));
  using device = NsmDevice.open({ dlopen: mock.dlopen });
  const response = device.request(new Uint8Array(100).fill(0xaa));
  assertEquals(response, new Uint8Array(100).fill(0xaa));
  assertEquals([...mock.buffers.values()].map((bytes) => bytes.some((byte) => byte !== 0)), [false, false]);
});

for (
  const [errno, name, hint] of [
    [2, "ENOENT", /only in Nitro Enclaves/],
    [13, "EACCES", /root/],
    [16, "EBUSY", /other users/],
    [75, "errno 75", /kernel's log/],
  ] as const
) {
  Deno.test(`an open that gives ${name} says so, says what to do, and leaves nothing open`, () => {
    const mock = new MockNsm(() => ({ errno: 5 }), errno);
    const error = assertThrows(
      () => NsmDevice.open({ dlopen: mock.dlopen }),
      NsmDeviceError,
      `open gave ${name}`,
    );
    assertEquals([error.code, error.symbol, error.errno, mock.libraries], ["nsm_open", "open", errno, 0]);
    assertMatch(error.hint ?? "", hint);
  });
}

for (
  const [errno, name, hint] of [
    [90, "EMSGSIZE", /less user data/],
    [25, "ENOTTY", /not the NSM's device/],
    [110, "ETIMEDOUT", /hypervisor/],
    [5, "EIO", /Try again/],
  ] as const
) {
  Deno.test(`an ioctl that gives ${name} says so, and the device can be asked again`, () => {
    let errnoOnce: number | undefined = errno;
    const mock = new MockNsm((request) => {
      const answer = errnoOnce === undefined ? { response: request } : { errno: errnoOnce };
      errnoOnce = undefined;
      return answer;
    });
    using device = NsmDevice.open({ dlopen: mock.dlopen });
    const error = assertThrows(() => device.request(new Uint8Array(5)), NsmDeviceError, `ioctl gave ${name}`);
    assertEquals([error.code, error.errno], ["nsm_ioctl", errno]);
    assertMatch(error.hint ?? "", hint);
    assertEquals(device.request(new Uint8Array([4])), new Uint8Array([4]));
  });
}

Deno.test("a driver that claims a length beyond the buffer is an error", () => {
  for (const claimedLength of [12_289n, 2n ** 64n - 1n]) {
    const mock = new MockNsm(() => ({ claimedLength }));
    using device = NsmDevice.open({ dlopen: mock.dlopen });
    const error = assertThrows(
      () => device.request(new Uint8Array(1)),
      NsmDeviceError,
      `${claimedLength} bytes`,
    );
    assertEquals([error.code, error.errno], ["nsm_ioctl", undefined]);
  }
});

Deno.test("a device that was closed is closed once, and takes no request", () => {
  const mock = new MockNsm((request) => ({ response: request }));
  const device = NsmDevice.open({ dlopen: mock.dlopen });
  assertEquals([mock.open, mock.libraries], [1, 1]);
  device[Symbol.dispose]();
  device[Symbol.dispose]();
  assertEquals([mock.open, mock.libraries], [0, 0]);
  assertThrows(() => device.request(new Uint8Array(1)), TypeError, "it was closed");
});

Deno.test("without a C library the device is not opened, and every path that was tried is named", () => {
  const dlopen = (path: string): never => {
    throw new Error(`no ${path}`);
  };
  const error = assertThrows(() => NsmDevice.open({ dlopen }), EnclaveError, "no /usr/lib/libc.so.6");
  assertEquals(error.code, "libc");
});

Deno.test("the real C library opens no device where there is none, and the error has its errno", () => {
  const error = assertThrows(() => NsmDevice.open({ path: "/nowhere/nsm" }), NsmDeviceError);
  assertEquals([error.errno, errnoName(error.errno ?? 0)], [2, "ENOENT"]);
});

Deno.test("a file that is not such a device is distinguished from one", () => {
  using device = NsmDevice.open({ path: "/dev/null" });
  const error = assertThrows(() => device.request(new Uint8Array(1)), NsmDeviceError, "ioctl gave ENOTTY");
  assertMatch(error.hint ?? "", /not the NSM's device/);
});

async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-unit-" });
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a small file is read whole up to the limit, and a larger one is refused", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/file`;
    for (const length of [0, 1, 100]) {
      const content = crypto.getRandomValues(new Uint8Array(length));
      await Deno.writeFile(path, content);
      assertEquals(readSmallFile(path, 100), content);
    }
    await Deno.writeFile(path, new Uint8Array(101));
    const error = assertThrows(() => readSmallFile(path, 100), EnclaveError, "more than 100 bytes");
    assertEquals(error.code, "file_unreadable");
  }));

Deno.test("a file of /sys is read, which Deno's own functions refuse", () => {
  assertMatch(new TextDecoder().decode(readSmallFile("/sys/devices/system/cpu/possible", 256)), /^[0-9]/);
});

Deno.test("a file that is not there is undefined, and a folder is no file", () => {
  assertEquals(readSmallFile("/nowhere/file", 10), undefined);
  assertEquals(readSmallFile("/dev/null/file", 10), undefined);
  assertThrows(() => readSmallFile("/proc", 10), EnclaveError, "read gave EISDIR");
  assertThrows(() => readSmallFile("/pro\0c", 10), TypeError);
});
