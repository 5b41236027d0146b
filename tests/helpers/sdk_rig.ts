/**
 * The interface between the contract suite and a stand-in for the SDK.
 *
 * @module
 */
import type { NitroSdk } from "../../ffi/sdk.ts";

/** A stand-in, with its controls. */
export interface SdkRig {
  open(): NitroSdk;
  /** Makes a symbol misbehave once, after so many successful calls. */
  fail(symbol: string, mode: number, after?: number): void;
  /** The calls so far, by name, in order. */
  log(): string[];
  /** Objects of the SDK that are alive. */
  live(): number;
  /** Secrets freed without having been zeroed, objects freed twice, calls out of order. */
  faults(): { readonly notWiped: number; readonly doubleFree: number; readonly misuse: number };
  /** Forgets log, script and counters. */
  reset(): void;
}
