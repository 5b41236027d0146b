/** Byte strings that are discarded. */
import { assertEquals } from "@std/assert";
import { discard } from "../../../lib/shared/bytes.ts";

Deno.test("bytes are wiped before their buffer is freed, once", () => {
  const { transfer } = ArrayBuffer.prototype;
  const freed: number[][] = [];
  ArrayBuffer.prototype.transfer = function (length) {
    freed.push([...new Uint8Array(this)]);
    return transfer.call(this, length);
  };
  try {
    const bytes = new Uint8Array([1, 2, 3]);
    discard(bytes);
    discard(bytes);
    assertEquals([freed, bytes.buffer.detached], [[[0, 0, 0]], true]);
  } finally {
    ArrayBuffer.prototype.transfer = transfer;
  }
});
