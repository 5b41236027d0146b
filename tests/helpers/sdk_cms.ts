/**
 * How the enclave's SDK reads an envelope (aws-nitro-enclaves-sdk-c 0.4.4, source/cms.c, described by its
 * steps): from header to header, so that what has an indefinite length is entered and what has a definite one
 * is passed. Deliberately not built on the reader of `lib/dev/kms_emulator`.
 *
 * @module
 */
type Bytes = Uint8Array<ArrayBuffer>;

/** The fields that it reads. */
export interface SdkEnvelope {
  readonly cipherKey: Bytes;
  readonly iv: Bytes;
  readonly ciphertext: Bytes;
  readonly recipientId: Bytes;
}

interface Head {
  readonly tag: number;
  readonly headLength: number;
  /** Undefined where it is indefinite. */
  readonly length: number | undefined;
}

class Cursor {
  #rest: Bytes;

  constructor(bytes: Bytes) {
    this.#rest = bytes;
  }

  #head(): Head {
    const [tag, first] = this.#rest;
    if (tag === undefined || first === undefined) throw new Error("at the end");
    if (first === 0x80) return { tag, headLength: 2, length: undefined };
    if (first < 0x80) return { tag, headLength: 2, length: first };
    const count = first & 0x7f;
    const octets = this.#rest.subarray(2, 2 + count);
    return { tag, headLength: 2 + count, length: octets.reduce((sum, octet) => sum * 256 + octet, 0) };
  }

  #take(length: number): Bytes {
    if (length > this.#rest.length) throw new Error("beyond the end");
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }

  /** Takes a whole element, or the head alone of one with an indefinite length. */
  any(): { readonly tag: number; readonly element: Bytes; readonly headLength: number } {
    const { tag, headLength, length } = this.#head();
    return { tag, headLength, element: this.#take(headLength + (length ?? 0)) };
  }

  enter(wanted: number): void {
    const { tag, element } = this.any();
    if (tag !== wanted || element.length !== 2) throw new Error(`no head of ${wanted} to enter`);
  }

  /** A definite element's contents. */
  definite(wanted: number): Bytes {
    const { tag, headLength, length } = this.#head();
    if (tag !== wanted || length === undefined) throw new Error(`no definite ${wanted}, but ${tag}`);
    return this.#take(headLength + length).subarray(headLength);
  }
}

const hexOf = (bytes: Bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function expectHex(bytes: Bytes, wanted: string): void {
  if (hexOf(bytes) !== wanted) throw new Error(`${hexOf(bytes)}, not ${wanted}`);
}

/** Reads an envelope. Throws where the SDK would fail. */
export function readAsSdk(envelope: Bytes): SdkEnvelope {
  const cms = new Cursor(envelope);
  cms.enter(0x30);
  expectHex(cms.definite(0x06), "2a864886f70d010703");
  cms.enter(0xa0);
  cms.enter(0x30);
  expectHex(cms.definite(0x02), "02");
  const recipients = new Cursor(cms.definite(0x31));
  const recipient = new Cursor(recipients.definite(0x30));
  expectHex(recipient.definite(0x02), "02");
  const recipientId = recipient.any().element;
  recipient.definite(0x30);
  const cipherKey = recipient.definite(0x04);
  cms.enter(0x30);
  expectHex(cms.definite(0x06), "2a864886f70d010701");
  const algorithm = new Cursor(cms.definite(0x30));
  expectHex(algorithm.definite(0x06), "60864801650304012a");
  const iv = algorithm.definite(0x04);
  cms.enter(0xa0);
  const pieces: Bytes[] = [];
  for (;;) {
    const { tag, element, headLength } = cms.any();
    if (tag !== 0x04) break;
    pieces.push(element.subarray(headLength));
  }
  return {
    cipherKey,
    iv,
    ciphertext: new Uint8Array(pieces.flatMap((piece) => [...piece])),
    recipientId,
  };
}
