/**
 * The Nitro Security Module as the app sees it: a port, and the one that talks to `/dev/nsm`. The encoding is that of AWS's nsm-api 0.5.1
 * (src/api/mod.rs): serde enums in CBOR, so a request without fields is a text, and any other request is a map with one entry.
 *
 * @module
 */
import { encode } from "cborg";
import {
  NSM_REQUEST_MAX_LENGTH,
  NSM_RESPONSE_MAX_LENGTH,
  NsmDevice,
  type NsmDeviceOptions,
} from "../../../ffi/nsm.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { asBytes, decodeCbor } from "../../shared/attestation/cbor.ts";

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
  /** Number of PCRs. */
  readonly maxPcrs: number;
  /** Indexes of the PCRs that can no longer be extended. */
  readonly lockedPcrs: readonly number[];
  /** The hash of the PCRs, such as `SHA384`. */
  readonly digest: string;
}

/** A platform configuration register. */
export interface PcrState {
  /** Whether it can no longer be extended. */
  readonly locked: boolean;
  /** 48 bytes, for SHA-384. */
  readonly value: Bytes;
}

/** The Nitro Security Module. */
export interface Nsm extends Disposable {
  /** A signed attestation document. @throws {RangeError} on a length that the module refuses */
  attest(request?: AttestRequest): Promise<Bytes>;
  /** Version, name, PCRs. */
  describe(): Promise<NsmDescription>;
  /** @param index 0 to 31 */
  describePcr(index: number): Promise<PcrState>;
  /** Random bytes from the module, which chooses how many (usually 256). */
  random(): Promise<Bytes>;
  /** PCR = SHA-384(PCR ‖ data). @param index 16 to 31, not locked @param data 1 to 512 bytes @returns the new value */
  extendPcr(index: number, data: Uint8Array): Promise<Bytes>;
  /** @param index 16 to 31: the others are locked from the start */
  lockPcr(index: number): Promise<void>;
}

/** The lengths that the module accepts. Bytes. AWS, docs/attestation_process.md; for the data of a PCR, QEMU's module, since AWS names none. */
export const NSM_LIMITS = { userData: 512, nonce: 512, publicKey: 1024, pcrData: 512, pcrs: 32 } as const;

/** The names of nsm-api's `ErrorCode`. */
export const NSM_ERROR_NAMES = [
  "InvalidArgument",
  "InvalidIndex",
  "InvalidResponse",
  "ReadOnlyIndex",
  "InvalidOperation",
  "BufferTooSmall",
  "InputTooLarge",
  "InternalError",
] as const;

/** One of nsm-api's errors; `Unknown` for any other name. */
export type NsmErrorName = (typeof NSM_ERROR_NAMES)[number] | "Unknown";

/** The module refused, or returned an invalid response. */
export class NsmError extends EnclaveError {
  override name = "NsmError";
  /** nsm-api's name; undefined for an invalid response. */
  readonly nsm: NsmErrorName | undefined;

  /**
   * Made for one request.
   *
   * @param message says what was asked
   */
  constructor(message: string, nsm: NsmErrorName | undefined, cause?: unknown) {
    super(message, { code: nsm === undefined ? "nsm_answer" : "nsm_refused", hint: hintFor(nsm), cause });
    this.nsm = nsm;
  }
}

function hintFor(nsm: NsmErrorName | undefined): string {
  switch (nsm) {
    case "ReadOnlyIndex":
      return "The PCR is locked: PCRs 0 to 15 always are, the others once they were locked.";
    case "InvalidIndex":
      return "Use the index of a PCR that the module has.";
    case "InputTooLarge":
    case "BufferTooSmall":
      return "Send less user data, or a smaller nonce or public key.";
    case "InvalidArgument":
    case "InvalidOperation":
      return "The module takes no such request: check its version and the lengths.";
    case undefined:
      return "The module speaks another version of the interface: check the enclave's kernel and platform.";
    case "InvalidResponse":
    case "InternalError":
    case "Unknown":
      return "Try again; if it goes on, restart the enclave.";
    default:
      return nsm satisfies never;
  }
}

/** @throws {RangeError} on a length that the module refuses. */
export function checkAttestRequest({ userData, nonce, publicKey }: AttestRequest): void {
  for (const [name, bytes] of Object.entries({ userData, nonce })) {
    const most = NSM_LIMITS.userData;
    if (bytes !== undefined && bytes.length > most) {
      throw new RangeError(`Cannot attest to ${bytes.length} bytes of ${name}: ${most} are the most`);
    }
  }
  if (publicKey !== undefined && (publicKey.length < 1 || publicKey.length > NSM_LIMITS.publicKey)) {
    throw new RangeError(
      `Cannot attest to a publicKey of ${publicKey.length} bytes: it has 1 to ${NSM_LIMITS.publicKey}`,
    );
  }
}

/** @throws {RangeError} on an index out of range. */
export function checkPcrIndex(index: number): void {
  if (Number.isInteger(index) && index >= 0 && index < NSM_LIMITS.pcrs) return;
  throw new RangeError(`Cannot use PCR ${index}: there are 0 to ${NSM_LIMITS.pcrs - 1}`);
}

/** @throws {RangeError} on a length of data that the module refuses. */
export function checkPcrData(data: Uint8Array): void {
  if (data.length >= 1 && data.length <= NSM_LIMITS.pcrData) return;
  throw new RangeError(`Cannot extend a PCR with ${data.length} bytes: it takes 1 to ${NSM_LIMITS.pcrData}`);
}

/** Fields of a response, by name. */
type Fields = ReadonlyMap<unknown, unknown>;

/** A request on the wire: its variant's name, and its fields where it has any. */
interface Request {
  readonly variant: "Attestation" | "DescribeNSM" | "DescribePCR" | "ExtendPCR" | "GetRandom" | "LockPCR";
  readonly fields?: Readonly<Record<string, number | Uint8Array | null>>;
}

const MAX_DEPTH = 4;
/** Fields are sent in the order of nsm-api's own structs, so the bytes equal those that AWS's library sends. */
const IN_ORDER = { mapSorter: () => 0 } as const;
const NO_FIELDS: Fields = new Map();
const DIGEST_LENGTHS: readonly number[] = [32, 48, 64];
const MAX_RANDOM = 4096;

class DeviceNsm implements Nsm {
  #device: NsmDevice;

  constructor(device: NsmDevice) {
    this.#device = device;
  }

  // Async, so that errors are rejections, as with the other module.
  // deno-lint-ignore require-await
  async #ask<T>({ variant, fields }: Request, parse: (fields: Fields) => T | undefined): Promise<T> {
    const bytes = encode(fields === undefined ? variant : { [variant]: fields }, IN_ORDER);
    if (bytes.length > NSM_REQUEST_MAX_LENGTH) {
      throw new NsmError(
        `Cannot ask the NSM for ${variant}: the request has ${bytes.length} bytes`,
        "InputTooLarge",
      );
    }
    const response = this.#device.request(bytes);
    try {
      return parsed(variant, parse(fieldsOf(variant, response)));
    } finally {
      // It may hold random bytes.
      response.fill(0);
    }
  }

  async attest(request: AttestRequest = {}): Promise<Bytes> {
    checkAttestRequest(request);
    const { userData = null, nonce = null, publicKey = null } = request;
    return await this.#ask(
      { variant: "Attestation", fields: { user_data: userData, nonce, public_key: publicKey } },
      (fields) => asBytes(fields.get("document"), 1, NSM_RESPONSE_MAX_LENGTH),
    );
  }

  describe(): Promise<NsmDescription> {
    return this.#ask({ variant: "DescribeNSM" }, parseDescription);
  }

  async describePcr(index: number): Promise<PcrState> {
    checkPcrIndex(index);
    return await this.#ask({ variant: "DescribePCR", fields: { index } }, (fields) => {
      const locked = fields.get("lock");
      const value = parseDigest(fields.get("data"));
      return typeof locked === "boolean" && value !== undefined ? { locked, value } : undefined;
    });
  }

  random(): Promise<Bytes> {
    return this.#ask({ variant: "GetRandom" }, (fields) => asBytes(fields.get("random"), 1, MAX_RANDOM));
  }

  async extendPcr(index: number, data: Uint8Array): Promise<Bytes> {
    checkPcrIndex(index);
    checkPcrData(data);
    return await this.#ask(
      { variant: "ExtendPCR", fields: { index, data } },
      (fields) => parseDigest(fields.get("data")),
    );
  }

  async lockPcr(index: number): Promise<void> {
    checkPcrIndex(index);
    await this.#ask({ variant: "LockPCR", fields: { index } }, () => true);
  }

  [Symbol.dispose](): void {
    this.#device[Symbol.dispose]();
  }
}

/** The fields of an answer; byte strings are views of it. @throws {NsmError} */
function fieldsOf(variant: Request["variant"], response: Bytes): Fields {
  let answer: unknown;
  try {
    answer = decodeCbor(response, { maxBytes: NSM_RESPONSE_MAX_LENGTH, maxDepth: MAX_DEPTH });
  } catch (thrown) {
    throw new NsmError(`Cannot read the NSM's answer to ${variant}`, undefined, thrown);
  }
  if (answer === variant) return NO_FIELDS;
  const [entry] = answer instanceof Map && answer.size === 1 ? answer : [];
  if (entry?.[0] === variant && entry[1] instanceof Map) return entry[1];
  if (entry?.[0] === "Error" && typeof entry[1] === "string") {
    const said = entry[1];
    const name = NSM_ERROR_NAMES.find((known) => known === said) ?? "Unknown";
    throw new NsmError(`The NSM refused ${variant}: ${JSON.stringify(said.slice(0, 64))}`, name);
  }
  throw new NsmError(`The NSM gave something else than an answer to ${variant}`, undefined);
}

function parsed<T>(variant: string, value: T | undefined): T {
  if (value !== undefined) return value;
  throw new NsmError(`The NSM's answer to ${variant} lacks a field, or has one of another type`, undefined);
}

function parseDigest(value: unknown): Bytes | undefined {
  const bytes = asBytes(value, 1, NSM_RESPONSE_MAX_LENGTH);
  return bytes !== undefined && DIGEST_LENGTHS.includes(bytes.length) ? bytes : undefined;
}

function isU16(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff;
}

function parseDescription(fields: Fields): NsmDescription | undefined {
  const [major, minor, patch] = ["major", "minor", "patch"].map((part) => fields.get(`version_${part}`));
  const [moduleId, digest] = [fields.get("module_id"), fields.get("digest")];
  const [maxPcrs, locked] = [fields.get("max_pcrs"), fields.get("locked_pcrs")];
  if (!isU16(major) || !isU16(minor) || !isU16(patch) || !isU16(maxPcrs)) return undefined;
  if (typeof moduleId !== "string" || typeof digest !== "string") return undefined;
  if (!Array.isArray(locked) || !locked.every(isU16)) return undefined;
  return { version: [major, minor, patch], moduleId, maxPcrs, lockedPcrs: locked, digest };
}

/**
 * The module of this enclave. A request blocks the calling thread (see `ffi/nsm.ts`). Keep the module open for the life of the service.
 *
 * @throws {NsmDeviceError} `nsm_open` when there is no device, or this user may not open it.
 */
export function openNsm(options: NsmDeviceOptions = {}): Nsm {
  return new DeviceNsm(NsmDevice.open(options));
}
