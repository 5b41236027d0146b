/** The NSM's device, through a mocked C library; `tests/contract/nsm_device_test.ts` has lengths, layouts and every errno. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Kernel } from "../../../ffi/kernel.ts";
import { NSM_DEVICE, NSM_REQUEST_MAX_LENGTH, NsmDevice, NsmError } from "../../../ffi/nsm.ts";
import { MockNsm } from "../../helpers/mock_nsm.ts";

const O_RDWR_CLOEXEC = 0o2000002;

Deno.test("a request reaches the driver as it is, its response comes back, and neither stays in the device's buffers", () => {
  const mock = new MockNsm((request) => ({ response: request.toReversed() }));
  using device = new NsmDevice(mock.kernel);
  assertEquals(device.request(new Uint8Array([1, 2, 3])), new Uint8Array([3, 2, 1]));
  assertEquals(device.request(new Uint8Array(100).fill(0xaa)), new Uint8Array(100).fill(0xaa));
  assertEquals([...mock.buffers.values()].map((bytes) => bytes.some((byte) => byte !== 0)), [false, false]);
  assertEquals(mock.opened, [[`${NSM_DEVICE}\0`, O_RDWR_CLOEXEC]]);
  assertEquals(mock.rooms, [12_288n, 12_288n]);
});

Deno.test("requests of no bytes or too many, or to a closed device, do not reach the driver", () => {
  const mock = new MockNsm((request) => ({ response: request }));
  const device = new NsmDevice(mock.kernel);
  for (const length of [0, NSM_REQUEST_MAX_LENGTH + 1]) {
    assertThrows(() => device.request(new Uint8Array(length)), RangeError, `${length} bytes`);
  }
  device[Symbol.dispose]();
  assertThrows(() => device.request(new Uint8Array(1)), TypeError, "it was closed");
  assertEquals([mock.open, mock.rooms.length], [0, 0]);
});

Deno.test("the real C library opens no device where there is none, and tells a file that is no such device from one", () => {
  using kernel = new Kernel("open the NSM");
  assertThrows(() => new NsmDevice(kernel, "/nowhere/nsm"), NsmError, "open gave ENOENT");
  using device = new NsmDevice(kernel, "/dev/null");
  const error = assertThrows(() => device.request(new Uint8Array(1)), NsmError, "ioctl gave ENOTTY");
  assertMatch(error.hint ?? "", /not the NSM's device/);
});
