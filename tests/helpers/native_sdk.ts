/**
 * The C stand-ins of `tests/native/`, opened with the real `Deno.dlopen`, and their controls.
 *
 * @module
 */
import { type NitroSdk, openSdk } from "../../ffi/sdk.ts";
import type { SdkRig } from "./sdk_rig.ts";

/** Where `scripts/build.ts` puts everything; absolute, as FFI requires it. */
export const NATIVE_DIR = new URL("../native/build", import.meta.url).pathname;

/** The controls that the stand-ins export beside the SDK's symbols. */
const CONTROL_SYMBOLS = {
  stub_reset: { parameters: [], result: "void" },
  stub_fail: { parameters: ["buffer", "i32", "i32"], result: "void" }, // symbol, mode, after
  stub_log_read: { parameters: ["buffer", "usize"], result: "usize" }, // dest, capacity
  stub_live: { parameters: ["i32"], result: "i64" }, // kind, -1 for all
  stub_not_wiped: { parameters: [], result: "i64" },
  stub_double_free: { parameters: [], result: "i64" },
  stub_misuse: { parameters: [], result: "i64" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The stand-ins, in this process. */
export class NativeSdk implements SdkRig {
  #control = Deno.dlopen(`${NATIVE_DIR}/libaws-c-common.so`, CONTROL_SYMBOLS);

  open(): NitroSdk {
    return openSdk({ libraryDir: NATIVE_DIR });
  }

  fail(symbol: string, mode: number, after = 0): void {
    this.#control.symbols.stub_fail(new TextEncoder().encode(`${symbol}\0`), mode, after);
  }

  log(): string[] {
    const length = Number(this.#control.symbols.stub_log_read(new Uint8Array(0), 0n));
    const bytes = new Uint8Array(length);
    this.#control.symbols.stub_log_read(bytes, BigInt(length));
    return new TextDecoder().decode(bytes).split("\n").filter((line) => line !== "").map((line) =>
      line.split(" ")[0] ?? ""
    );
  }

  live(): number {
    return Number(this.#control.symbols.stub_live(-1));
  }

  faults() {
    const { stub_not_wiped, stub_double_free, stub_misuse } = this.#control.symbols;
    return {
      notWiped: Number(stub_not_wiped()),
      doubleFree: Number(stub_double_free()),
      misuse: Number(stub_misuse()),
    };
  }

  reset(): void {
    this.#control.symbols.stub_reset();
  }
}
