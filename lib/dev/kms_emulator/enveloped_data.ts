/**
 * The envelope in KMS's response to an attested request, `CiphertextForRecipient`: CMS EnvelopedData (RFC 5652, section 6) for one recipient, in the
 * form that the enclave's SDK reads. Its parser walks from header to header, so ContentInfo, EnvelopedData and EncryptedContentInfo must
 * have indefinite lengths, and all elements between them definite ones.
 *
 * @module
 */
import {
  type BerElement,
  BerError,
  element,
  indefinite,
  objectIdentifier,
  parseBer,
  smallInteger,
  TAG,
} from "../../shared/attestation/ber.ts";
import { concat, equalBytes } from "../../shared/bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The only algorithm with which KMS encrypts to a recipient, by KMS's name. */
export const KEY_ENCRYPTION_ALGORITHM = "RSAES_OAEP_SHA_256";

/** Size of a recipient's RSA key in bits. */
const MODULUS_LENGTH = { min: 2048, max: 4096 } as const;
const MAX_ENVELOPE_LENGTH = 16 * 1024;
/** Bytes of each piece of the content; KMS's largest plaintext has five pieces. */
const PIECE_LENGTH = 1024;
const BLOCK_LENGTH = 16;
const CONTENT_KEY_LENGTH = 32;
const VERSION = 2;

const OAEP: RsaHashedImportParams = { name: "RSA-OAEP", hash: "SHA-256" };

/** RFC 4055, section 4.1: hash [0] and mask generation [1], both explicit. */
function rsaesOaep(parameters: Bytes): Bytes {
  const sha256 = element(TAG.sequence, objectIdentifier("2.16.840.1.101.3.4.2.1"), parameters);
  return element(
    TAG.sequence,
    objectIdentifier("1.2.840.113549.1.1.7"),
    element(
      TAG.sequence,
      element(TAG.context0Constructed, sha256),
      element(
        TAG.context1Constructed,
        element(TAG.sequence, objectIdentifier("1.2.840.113549.1.1.8"), sha256),
      ),
    ),
  );
}

/** As KMS writes it: SHA-256 with NULL for parameters. */
const RSAES_OAEP = rsaesOaep(element(TAG.null));
/** Without parameters, as others write it. RFC 4055, section 2.1, requires readers to accept both. */
const RSAES_OAEP_BARE = rsaesOaep(new Uint8Array(0));
const AES_256_CBC = objectIdentifier("2.16.840.1.101.3.4.1.42");
const ENVELOPED_DATA = objectIdentifier("1.2.840.113549.1.7.3");
const DATA = objectIdentifier("1.2.840.113549.1.7.1");

/** The errors of an envelope: its form, its recipient's key, or that it cannot be opened. */
type CmsErrorCode = "cms_malformed" | "cms_recipient_key" | "cms_open";

const HINTS: Readonly<Record<CmsErrorCode, string>> = {
  cms_malformed: "Check that the bytes are KMS's CiphertextForRecipient, whole, decoded from base64 once.",
  cms_recipient_key: "Give an RSA public key of 2048 to 4096 bits, as DER of its SubjectPublicKeyInfo.",
  cms_open: "It was made for another key, or a byte of it changed on the way.",
};

/** An envelope cannot be made or opened. Never quotes its contents. */
export class CmsError extends EnclaveError {
  override name = "CmsError";
  /** What is wrong. */
  declare readonly code: CmsErrorCode;

  constructor(code: CmsErrorCode, message: string, cause?: unknown) {
    super(message, { code, hint: HINTS[code], cause });
  }
}

async function importRecipient(spki: Uint8Array): Promise<CryptoKey> {
  let key: CryptoKey;
  try {
    key = await crypto.subtle.importKey("spki", new Uint8Array(spki), OAEP, false, ["encrypt"]);
  } catch (thrown) {
    throw new CmsError(
      "cms_recipient_key",
      "Cannot encrypt to the recipient: its key is not an RSA key",
      thrown,
    );
  }
  const { modulusLength } = key.algorithm as RsaHashedKeyAlgorithm;
  if (modulusLength >= MODULUS_LENGTH.min && modulusLength <= MODULUS_LENGTH.max) return key;
  throw new CmsError(
    "cms_recipient_key",
    `Cannot encrypt to the recipient: its key has ${modulusLength} bits`,
  );
}

/**
 * Encrypts a plaintext into an envelope for one recipient: AES-256-CBC under a fresh key, which RSAES-OAEP wraps.
 *
 * @param recipient DER of the recipient's SubjectPublicKeyInfo, an RSA key
 * @param plaintext borrowed
 * @throws {CmsError} `cms_recipient_key`
 */
export async function envelopData(recipient: Uint8Array, plaintext: Uint8Array): Promise<Bytes> {
  const publicKey = await importRecipient(recipient);
  const contentKey = crypto.getRandomValues(new Uint8Array(CONTENT_KEY_LENGTH));
  const iv = crypto.getRandomValues(new Uint8Array(BLOCK_LENGTH));
  try {
    const aes = await crypto.subtle.importKey("raw", contentKey, "AES-CBC", false, ["encrypt"]);
    const encrypted = await crypto.subtle.encrypt({ name: "AES-CBC", iv }, aes, plaintext as Bytes);
    const wrapped = await crypto.subtle.encrypt({ name: "RSA-OAEP" }, publicKey, contentKey);
    return write({
      keyIdentifier: new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(recipient))),
      wrappedKey: new Uint8Array(wrapped),
      iv,
      encrypted: new Uint8Array(encrypted),
    });
  } finally {
    contentKey.fill(0);
  }
}

/** The parts of an envelope. */
interface Envelope {
  readonly keyIdentifier: Bytes;
  readonly wrappedKey: Bytes;
  readonly iv: Bytes;
  readonly encrypted: Bytes;
}

function write({ keyIdentifier, wrappedKey, iv, encrypted }: Envelope): Bytes {
  const recipient = element(
    TAG.sequence,
    smallInteger(VERSION),
    element(TAG.context0, keyIdentifier),
    RSAES_OAEP,
    element(TAG.octetString, wrappedKey),
  );
  const pieces: Bytes[] = [];
  for (let at = 0; at < encrypted.length; at += PIECE_LENGTH) {
    pieces.push(element(TAG.octetString, encrypted.subarray(at, at + PIECE_LENGTH)));
  }
  const encryptedContentInfo = indefinite(
    TAG.sequence,
    DATA,
    element(TAG.sequence, AES_256_CBC, element(TAG.octetString, iv)),
    indefinite(TAG.context0Constructed, ...pieces),
  );
  const envelopedData = indefinite(
    TAG.sequence,
    smallInteger(VERSION),
    element(TAG.set, recipient),
    encryptedContentInfo,
  );
  return indefinite(TAG.sequence, ENVELOPED_DATA, indefinite(TAG.context0Constructed, envelopedData));
}

function malformed(what: string, cause?: unknown): CmsError {
  return new CmsError("cms_malformed", `Cannot read the envelope: ${what}`, cause);
}

/** Reads what {@link write} writes, and OpenSSL. The enclave's SDK has a parser of its own. */
function parse(bytes: Bytes): Envelope {
  if (bytes.length > MAX_ENVELOPE_LENGTH) throw malformed(`it has ${bytes.length} bytes`);
  let whole: BerElement;
  try {
    whole = parseBer(bytes);
  } catch (thrown) {
    if (thrown instanceof BerError) throw malformed(thrown.message, thrown);
    throw thrown;
  }
  const find = (tag: number, ...path: readonly number[]): BerElement => {
    const found = path.reduce<BerElement | undefined>((parent, index) => parent?.children[index], whole);
    if (found?.tag !== tag) throw malformed(`there is no element of tag ${tag} at ${path.join(".")}`);
    return found;
  };
  const expect = (tag: number, path: readonly number[], ...wanted: readonly Bytes[]): void => {
    const { raw } = find(tag, ...path);
    if (!wanted.some((one) => equalBytes(raw, one))) throw malformed(`another value at ${path.join(".")}`);
  };
  for (const path of [[], [1, 0], [1, 0, 1, 0], [1, 0, 2], [1, 0, 2, 1]]) find(TAG.sequence, ...path);
  find(TAG.context0Constructed, 1);
  find(TAG.set, 1, 0, 1);
  const version = smallInteger(VERSION);
  expect(TAG.objectIdentifier, [0], ENVELOPED_DATA);
  expect(TAG.integer, [1, 0, 0], version);
  expect(TAG.integer, [1, 0, 1, 0, 0], version);
  expect(TAG.sequence, [1, 0, 1, 0, 2], RSAES_OAEP, RSAES_OAEP_BARE);
  expect(TAG.objectIdentifier, [1, 0, 2, 0], DATA);
  expect(TAG.objectIdentifier, [1, 0, 2, 1, 0], AES_256_CBC);
  const pieces = find(TAG.context0Constructed, 1, 0, 2, 2).children;
  if (pieces.some(({ tag }) => tag !== TAG.octetString)) {
    throw malformed("a piece of its content is no octets");
  }
  return {
    keyIdentifier: find(TAG.context0, 1, 0, 1, 0, 1).contents,
    wrappedKey: find(TAG.octetString, 1, 0, 1, 0, 3).contents,
    iv: find(TAG.octetString, 1, 0, 2, 1, 1).contents,
    encrypted: concat(pieces.map(({ contents }) => contents)),
  };
}

/**
 * Opens an envelope, as the enclave's SDK does.
 *
 * @param privateKey of the recipient: RSA-OAEP with SHA-256, for decrypting
 * @returns the plaintext, which is the caller's to wipe
 * @throws {CmsError} `cms_malformed`; `cms_open`, without a detailed reason.
 */
export async function openEnvelopedData(privateKey: CryptoKey, envelope: Uint8Array): Promise<Bytes> {
  const { wrappedKey, iv, encrypted } = parse(new Uint8Array(envelope));
  let contentKey: Bytes | undefined;
  try {
    contentKey = new Uint8Array(await crypto.subtle.decrypt({ name: "RSA-OAEP" }, privateKey, wrappedKey));
    if (contentKey.length !== CONTENT_KEY_LENGTH) throw new RangeError("not a key of AES-256");
    const aes = await crypto.subtle.importKey("raw", contentKey, "AES-CBC", false, ["decrypt"]);
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-CBC", iv }, aes, encrypted));
  } catch {
    // One error for key, length and padding: different errors would be a padding oracle.
    throw new CmsError("cms_open", "Cannot open the envelope");
  } finally {
    contentKey?.fill(0);
  }
}
