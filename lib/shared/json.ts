/**
 * Reads JSON values of unknown shape. Runs in browsers.
 *
 * @module
 */
import { decodeBase64 } from "@std/encoding";

/** An object, not an array. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a value is an object, not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An own member of an object; undefined where there is none, or the value is no object. */
export function field(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** The bytes of a member in base64; undefined where it is none. */
export function bytesField(value: unknown, name: string): Uint8Array<ArrayBuffer> | undefined {
  const text = field(value, name);
  try {
    return typeof text === "string" ? decodeBase64(text) : undefined;
  } catch {
    return undefined;
  }
}
