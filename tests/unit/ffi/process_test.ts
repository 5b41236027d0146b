/** What an SDK process asks the kernel for. */
import { assertEquals } from "@std/assert";
import { openMemoryMap } from "../../../ffi/process.ts";

Deno.test("addresses that nothing is mapped at are known without a look", () => {
  const opened: Disposable[] = [];
  using _ = { [Symbol.dispose]: () => opened.forEach((library) => library[Symbol.dispose]()) };
  const isMapped = openMemoryMap((path, symbols) => {
    const library = Deno.dlopen(path, symbols);
    opened.push({ [Symbol.dispose]: () => library.close() });
    return library;
  });
  for (const address of [0x1000n, 0x2008n, 1n << 46n, (1n << 47n) + 8n]) {
    assertEquals(isMapped(address, 8), false);
  }
});
