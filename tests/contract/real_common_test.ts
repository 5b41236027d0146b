/** The aws-c-common half of the binding, against the real code: npm's aws-crt exports it. */
import { assertEquals } from "@std/assert";
import {
  AWS_BYTE_BUF,
  AWS_BYTE_CURSOR,
  byteCursor,
  readWord,
  stableBytes,
  writeWord,
} from "../../ffi/layout.ts";
import { COMMON_SYMBOLS } from "../../ffi/symbols.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";

const { symbols: common } = Deno.dlopen(`${NATIVE_DIR}/aws-crt-nodejs.node`, COMMON_SYMBOLS);
const { symbols: more } = Deno.dlopen(`${NATIVE_DIR}/aws-crt-nodejs.node`, {
  aws_default_allocator: { parameters: [], result: "usize" },
  aws_mem_tracer_new: { parameters: ["usize", "usize", "i32", "usize"], result: "usize" }, // allocator, deprecated, level, frames
  aws_mem_tracer_bytes: { parameters: ["usize"], result: "usize" },
  aws_mem_tracer_destroy: { parameters: ["usize"], result: "usize" },
  aws_byte_buf_init_copy: { parameters: ["buffer", "usize", "buffer"], result: "i32" }, // dest, allocator, src
  aws_raise_error_private: { parameters: ["i32"], result: "void" },
  aws_common_library_init: { parameters: ["usize"], result: "void" },
});
more.aws_common_library_init(0n);

const HELLO = new TextEncoder().encode("hello");

function readCString(address: bigint): string {
  const cursor = common.aws_byte_cursor_from_c_str(address);
  const bytes = stableBytes(Number(readWord(cursor, AWS_BYTE_CURSOR.len)));
  common.aws_byte_cursor_read(cursor, bytes, BigInt(bytes.length));
  return new TextDecoder().decode(bytes);
}

Deno.test("real aws-c-common: a string is made, read and destroyed, and nothing is left", () => {
  const tracer = more.aws_mem_tracer_new(more.aws_default_allocator(), 0n, 1, 0n);
  const string = common.aws_string_new_from_array(tracer, HELLO, BigInt(HELLO.length));
  assertEquals(Number(more.aws_mem_tracer_bytes(tracer)) > HELLO.length, true);
  // struct aws_string: allocator, length, bytes.
  const head = stableBytes(16 + HELLO.length);
  assertEquals(common.aws_byte_cursor_read(byteCursor(string, head.length), head, BigInt(head.length)), true);
  assertEquals([readWord(head, 8), new TextDecoder().decode(head.subarray(16))], [5n, "hello"]);
  common.aws_string_destroy_secure(string);
  assertEquals(more.aws_mem_tracer_bytes(tracer), 0n);
  more.aws_mem_tracer_destroy(tracer);
});

Deno.test("real aws-c-common: a buffer over our bytes has our length and no allocator", () => {
  const bytes = stableBytes(5);
  bytes.set(HELLO);
  const buffer = common.aws_byte_buf_from_array(bytes, 5n);
  assertEquals(
    [
      readWord(buffer, AWS_BYTE_BUF.len),
      readWord(buffer, AWS_BYTE_BUF.capacity),
      readWord(buffer, AWS_BYTE_BUF.allocator),
    ],
    [5n, 5n, 0n],
  );
  const copy = stableBytes(5);
  assertEquals(
    common.aws_byte_cursor_read(byteCursor(readWord(buffer, AWS_BYTE_BUF.buffer), 5), copy, 5n),
    true,
  );
  assertEquals(copy, bytes);
});

Deno.test("real aws-c-common: clean-up zeroes the struct and frees what it holds", () => {
  const tracer = more.aws_mem_tracer_new(more.aws_default_allocator(), 0n, 1, 0n);
  const source = stableBytes(5);
  source.set(HELLO);
  const owned = stableBytes(AWS_BYTE_BUF.size);
  assertEquals(
    more.aws_byte_buf_init_copy(
      owned,
      tracer,
      common.aws_byte_buf_from_array(source, 5n) as Uint8Array<ArrayBuffer>,
    ),
    0,
  );
  assertEquals(readWord(owned, AWS_BYTE_BUF.allocator), tracer);
  common.aws_byte_buf_clean_up_secure(owned);
  assertEquals([owned.every((byte) => byte === 0), more.aws_mem_tracer_bytes(tracer)], [true, 0n]);
  common.aws_byte_buf_clean_up_secure(owned);
  more.aws_mem_tracer_destroy(tracer);
});

Deno.test("real aws-c-common: reading more than is there says no and copies nothing", () => {
  const bytes = stableBytes(4);
  const cursor = common.aws_byte_buf_from_array(bytes, 4n).slice(0, AWS_BYTE_CURSOR.size);
  const dest = stableBytes(8);
  assertEquals(common.aws_byte_cursor_read(cursor, dest, 8n), false);
  writeWord(cursor, AWS_BYTE_CURSOR.len, 0n);
  assertEquals(common.aws_byte_cursor_read(cursor, dest, 1n), false);
});

Deno.test("real aws-c-common: the last error has a name and a text", () => {
  more.aws_raise_error_private(1); // AWS_ERROR_OOM
  const code = common.aws_last_error();
  assertEquals([code, readCString(common.aws_error_name(code)), readCString(common.aws_error_str(code))], [
    1,
    "AWS_ERROR_OOM",
    "Out of memory.",
  ]);
});
