/**
 * The file that keeps the keys of the local KMS: JSON, each key's material in base64 by its ARN.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { KEY_LENGTH } from "../../shared/crypto/sealing.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field, isObject } from "../../shared/json.ts";
import { readIfThere, readSecretText } from "../../shared/files.ts";
import { writeAll } from "../../shared/write_all.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function fileError(file: string, what: string, hint: string, cause?: unknown): EnclaveError {
  return new EnclaveError(`Cannot use the local KMS's file ${file}: ${what}`, {
    code: "local_kms_file",
    hint,
    cause,
  });
}

function parseMaterial(material: unknown): Bytes {
  const bytes = typeof material === "string" ? decodeBase64(material) : undefined;
  if (bytes?.length !== KEY_LENGTH) throw new TypeError(`a key is not ${KEY_LENGTH} bytes in base64`);
  return bytes;
}

function parse(text: string): Map<string, Bytes> {
  const content: unknown = JSON.parse(text);
  const keys = field(content, "keys");
  if (field(content, "version") !== 1) throw new TypeError("its version is not 1");
  if (!isObject(keys)) throw new TypeError("it has no keys");
  return new Map(
    Object.entries(keys).map(([arn, material]) => [parseKeyArn(arn).arn, parseMaterial(material)]),
  );
}

/**
 * Reads the keys, oldest first; none if there is no file.
 *
 * @returns the material by ARN, the caller's to wipe
 * @throws {EnclaveError} `local_kms_file`
 */
export async function readKeyFile(file: string): Promise<Map<string, Bytes>> {
  let text: string | undefined;
  try {
    text = await readIfThere(file, readSecretText);
  } catch (thrown) {
    throw fileError(file, messageOf(thrown), "Check the path and its permissions.", thrown);
  }
  if (text === undefined) return new Map();
  try {
    return parse(text);
  } catch (thrown) {
    // A JSON parser's message may quote the file, which holds keys.
    const why = thrown instanceof SyntaxError ? "it is not JSON" : messageOf(thrown);
    throw fileError(file, why, "Restore it from a copy, or name another file.", thrown);
  }
}

/**
 * Adds a key. Writes a new file (mode 0600) beside the old one, flushes it, and renames it over the old one.
 *
 * @param material borrowed
 * @throws {EnclaveError} `local_kms_file`
 */
export async function appendToKeyFile(file: string, arn: string, material: Bytes): Promise<void> {
  const keys = [...await readKeyFile(file), [arn, material] as const];
  const entries = keys.map(([name, bytes]) => [name, encodeBase64(bytes)] as const);
  const content = JSON.stringify({ version: 1, keys: Object.fromEntries(entries) }, null, 2);
  const temporary = `${file}.${crypto.randomUUID()}.new`;
  try {
    {
      using handle = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
      writeAll((bytes) => handle.writeSync(bytes), new TextEncoder().encode(`${content}\n`));
      await handle.sync();
    }
    await Deno.rename(temporary, file);
  } catch (thrown) {
    await Deno.remove(temporary).catch(() => {});
    throw fileError(file, messageOf(thrown), "Check the folder's permissions and space.", thrown);
  }
}
