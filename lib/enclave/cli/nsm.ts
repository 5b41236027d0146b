/**
 * The Nitro Security Module as the app sees it: a port, and the one that talks to `/dev/nsm`. The encoding is that of AWS's nsm-api 0.5.1
 * (src/api/mod.rs): serde enums in CBOR, so a request without fields is a text, and any other request is a map with one entry.
 *
 * @module
 */
import { decode, encode } from "cborg";
import type { Kernel } from "../../../ffi/kernel.ts";
import { NSM_RESPONSE_MAX_LENGTH, NsmDevice, NsmError } from "../../../ffi/nsm.ts";
import { asBytes } from "../../shared/bytes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The optional fields of an attestation document. */
export interface AttestRequest {
  /** At most 512 bytes. */
  readonly userData?: Uint8Array | undefined;
  /** At most 512 bytes. */
  readonly nonce?: Uint8Array | undefined;
  /** 1 to 1024 bytes. Never a key that the enclave does not hold: KMS encrypts to it. */
  readonly publicKey?: Uint8Array | undefined;
}

/** The module's description of itself. */
export interface NsmDescription {
  /** Major, minor, patch. */
  readonly version: readonly [number, number, number];
  /** `<instance id>-enc<enclave id>`. */
  readonly moduleId: string;
}

/** The Nitro Security Module. */
export interface Nsm extends Disposable {
  /** A signed attestation document. @throws {NsmError} (rejects) on a length that the module refuses */
  attest(request?: AttestRequest): Promise<Bytes>;
  /** Version and name. */
  describe(): Promise<NsmDescription>;
  /** Random bytes from the module, which chooses how many (usually 256). */
  random(): Promise<Bytes>;
}

const OTHER_REQUEST = "The module takes no such request: check its version and the lengths.";
const SMALLER = "Send less user data, or a smaller nonce or public key.";

/** What to do about a refusal, by nsm-api's `ErrorCode`. */
const HINTS: ReadonlyMap<string, string> = new Map([
  ["InputTooLarge", SMALLER],
  ["BufferTooSmall", SMALLER],
  ["InvalidArgument", OTHER_REQUEST],
  ["InvalidOperation", OTHER_REQUEST],
]);

/** An answer that is none. */
function wrongAnswer(what: string, cause?: unknown): NsmError {
  const hint = "The module speaks another version of the interface: check the enclave's kernel and platform.";
  return new NsmError(what, { code: "nsm_answer", hint, cause });
}

/** Fields of a response, by name. */
type Fields = ReadonlyMap<unknown, unknown>;

/** Fields are sent in the order of nsm-api's own structs, so the bytes equal those that AWS's library sends. */
const IN_ORDER = { mapSorter: () => 0 } as const;
const MAX_RANDOM = 4096;

/** The fields of an answer; byte strings are views of it. @throws {NsmError} */
function fieldsOf(variant: string, response: Bytes): Fields {
  let answer: unknown;
  try {
    answer = decode(response, { useMaps: true, rejectDuplicateMapKeys: true });
  } catch (thrown) {
    throw wrongAnswer(`Cannot read the NSM's answer to ${variant}`, thrown);
  }
  const [[name, content] = []] = answer instanceof Map && answer.size === 1 ? answer : [];
  if (name === variant && content instanceof Map) return content;
  if (name === "Error" && typeof content === "string") {
    throw new NsmError(`The NSM refused ${variant}: ${JSON.stringify(content.slice(0, 64))}`, {
      code: "nsm_refused",
      hint: HINTS.get(content) ?? "Try again; if it goes on, restart the enclave.",
    });
  }
  throw wrongAnswer(`The NSM gave something else than an answer to ${variant}`);
}

const bytesIn = (name: string, max: number) => (fields: Fields) => asBytes(fields.get(name), 1, max);

function isU16(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff;
}

function parseDescription(fields: Fields): NsmDescription | undefined {
  const [major, minor, patch] = ["major", "minor", "patch"].map((part) => fields.get(`version_${part}`));
  const moduleId = fields.get("module_id");
  if (!isU16(major) || !isU16(minor) || !isU16(patch) || typeof moduleId !== "string") return undefined;
  return { version: [major, minor, patch], moduleId };
}

/**
 * The module of this enclave. A request blocks the calling thread (see `ffi/nsm.ts`). Keep the module open for the life of the service.
 *
 * @param kernel borrowed: it must stay open as long as the module
 * @throws {NsmError} `nsm_open` when there is no device, or this user may not open it.
 */
export function openNsm(kernel: Kernel, path?: string): Nsm {
  const device = new NsmDevice(kernel, path);
  // Async, so that errors are rejections, as with the simulated module.
  // deno-lint-ignore require-await
  const ask = async <T>(
    variant: string,
    fields: Readonly<Record<string, Uint8Array | null>> | undefined,
    // Undefined where a field is missing or of another type.
    parse: (fields: Fields) => T | undefined,
  ): Promise<T> => {
    const response = device.request(encode(fields === undefined ? variant : { [variant]: fields }, IN_ORDER));
    try {
      const parsed = parse(fieldsOf(variant, response));
      if (parsed !== undefined) return parsed;
      throw wrongAnswer(`The NSM's answer to ${variant} lacks a field, or has one of another type`);
    } finally {
      // It may hold random bytes.
      response.fill(0);
    }
  };
  return {
    attest: ({ userData = null, nonce = null, publicKey = null } = {}) => {
      const fields = { user_data: userData, nonce, public_key: publicKey };
      return ask("Attestation", fields, bytesIn("document", NSM_RESPONSE_MAX_LENGTH));
    },
    describe: () => ask("DescribeNSM", undefined, parseDescription),
    random: () => ask("GetRandom", undefined, bytesIn("random", MAX_RANDOM)),
    [Symbol.dispose]: () => device[Symbol.dispose](),
  };
}
