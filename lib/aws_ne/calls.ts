/**
 * What a KMS call consists of, given a client: strings made and destroyed around it, the result copied out, the reason asked
 * for when it failed. The one-shot functions and the warm session are both made of these.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { AWS_KEY_SPEC, type KmsClient, type NitroSdk, type SdkLibrary } from "../../ffi/mod.ts";
import { SecretBytes } from "../crypto/secret_bytes.ts";
import {
  checkAlgorithm,
  checkCiphertext,
  checkCredentials,
  checkKeyId,
  checkRandomLength,
  checkRegion,
} from "./arguments.ts";
import { type EncryptionContext } from "../aws/kms_limits.ts";
import type { Credentials } from "../aws/credentials.ts";
import {
  type KmsReason,
  SdkGenericError,
  SdkKmsDataKeyError,
  SdkKmsDecryptError,
  SdkKmsRandomError,
} from "./errors.ts";
import { hintFor, parseKmsReason } from "../aws/kms_reasons.ts";

/** Length of a data key. */
export type KeySpec = "AES_256" | "AES_128";

/** How the parent's vsock-proxy is reached. */
export interface ProxyEndpoint {
  /** Decimal CID; the parent is always "3". */
  readonly cid: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** One Decrypt. */
export interface DecryptCall {
  /** Which call. */
  readonly kind: "decrypt";
  /** KMS's CiphertextBlob, 1 to 6144 bytes. */
  readonly ciphertext: Uint8Array<ArrayBuffer>;
  /** The key's ARN. Omitted only where the ciphertext alone is to say. */
  readonly keyId?: string | undefined;
  /** Defaults to SYMMETRIC_DEFAULT where a key id is given. */
  readonly algorithm?: string | undefined;
  /** The EncryptionContext that the ciphertext was made under. */
  readonly context?: EncryptionContext | undefined;
}

/** One GenerateDataKey. */
export interface DataKeyCall {
  /** Which call. */
  readonly kind: "generateDataKey";
  /** ARN of the key that wraps it. */
  readonly keyId: string;
  /** AES_256 or AES_128. */
  readonly keySpec: KeySpec;
  /** An EncryptionContext to bind. */
  readonly context?: EncryptionContext | undefined;
}

/** One GenerateRandom. */
export interface RandomCall {
  /** Which call. */
  readonly kind: "generateRandom";
  /** Bytes, 1 to 1024. */
  readonly length: number;
}

/** Any call. */
export type KmsCall = DecryptCall | DataKeyCall | RandomCall;

/** What a call gives. `ciphertext` is there for a data key only. */
export interface KmsCallResult {
  /** The caller's to dispose. */
  readonly plaintext: SecretBytes;
  /** The data key as KMS wrapped it. */
  readonly ciphertext?: Uint8Array<ArrayBuffer>;
}

/** An initialised SDK with a client on it. */
export interface WarmClient {
  readonly sdk: NitroSdk;
  readonly library: SdkLibrary;
  readonly client: KmsClient;
}

/** A call failed and KMS gave no answer either: the connection is gone. A warm session makes a new one, once. */
export class ConnectionLost extends Error {
  override name = "ConnectionLost";
}

/** @throws {SdkArgumentError} that names the first parameter that cannot be right. */
export function checkCall(region: string, credentials: Credentials, call: KmsCall): void {
  checkRegion(region);
  checkCredentials(credentials);
  switch (call.kind) {
    case "decrypt":
      checkCiphertext(call.ciphertext);
      if (call.keyId !== undefined) checkKeyId(call.keyId);
      if (call.algorithm !== undefined) checkAlgorithm(call.algorithm);
      return;
    case "generateDataKey":
      return checkKeyId(call.keyId);
    case "generateRandom":
      return checkRandomLength(call.length);
    default:
      return call satisfies never;
  }
}

/**
 * Makes a client: strings, endpoint, configuration, client, in that order. All but the client are released when `stack` is.
 *
 * @throws {SdkGenericError | SdkKmsConfigError | SdkKmsClientError} by the step that failed.
 */
export function connect(
  stack: DisposableStack,
  sdk: NitroSdk,
  options: {
    readonly library: SdkLibrary;
    readonly region: string;
    readonly credentials: Credentials;
    readonly endpoint: ProxyEndpoint;
    readonly owner: "library" | "process";
  },
): KmsClient {
  const { library, credentials } = options;
  const string = (bytes: Uint8Array<ArrayBuffer>) => stack.use(sdk.newString(library, bytes));
  const config = sdk.newClientConfig(library, {
    region: string(new TextEncoder().encode(options.region)),
    accessKeyId: string(credentials.accessKeyId.expose()),
    secretAccessKey: string(credentials.secretAccessKey.expose()),
    sessionToken: string(credentials.sessionToken.expose()),
    endpoint: sdk.endpoint(options.endpoint.cid, options.endpoint.port),
  });
  stack.use(config);
  return sdk.newClient(library, config, options.owner);
}

/**
 * Runs a call on a client.
 *
 * @throws {ConnectionLost} when there was no answer at all; its `cause` is the error to throw if that is final.
 * @throws {SdkKmsDecryptError | SdkKmsDataKeyError | SdkKmsRandomError} with KMS's reason where KMS answered.
 */
export function run(connection: WarmClient, call: KmsCall): KmsCallResult {
  switch (call.kind) {
    case "decrypt":
      return runDecrypt(connection, call);
    case "generateDataKey":
      return call.context === undefined
        ? runDataKey(connection, call)
        : runDataKeyWithContext(connection, call, call.context);
    case "generateRandom":
      return runRandom(connection, call);
    default:
      return call satisfies never;
  }
}

function runDecrypt(connection: WarmClient, call: DecryptCall): KmsCallResult {
  const { sdk, library, client } = connection;
  const text = new TextEncoder();
  const algorithm = call.keyId === undefined ? call.algorithm : call.algorithm ?? "SYMMETRIC_DEFAULT";
  using stack = new DisposableStack();
  const string = (value: string | undefined) =>
    value === undefined ? undefined : stack.use(sdk.newString(library, text.encode(value)));
  const out = library.outBuffer();
  stack.use(out);
  const worked = sdk.decrypt(client, {
    keyId: string(call.keyId),
    algorithm: string(algorithm),
    context: string(call.context && JSON.stringify(call.context)),
    ciphertext: stack.use(sdk.inBuffer(call.ciphertext)),
    out,
  });
  if (worked) return { plaintext: new SecretBytes(out.contents()) };

  const last = sdk.lastError();
  const { reason, answered } = askForReason(connection, "TrentService.Decrypt", {
    CiphertextBlob: encodeBase64(call.ciphertext),
    ...(call.keyId === undefined ? {} : { KeyId: call.keyId, EncryptionAlgorithm: algorithm }),
    ...(call.context === undefined ? {} : { EncryptionContext: call.context }),
  });
  const error = new SdkKmsDecryptError(describe("Decrypt", reason), {
    symbol: call.context === undefined ? "aws_kms_decrypt_blocking" : "aws_kms_decrypt_blocking_with_context",
    sdk: last,
    kms: reason,
    hint: hintFor(reason),
  });
  throw answered ? error : new ConnectionLost("KMS did not answer", { cause: error });
}

function runDataKey(connection: WarmClient, call: DataKeyCall): KmsCallResult {
  const { sdk, library, client } = connection;
  using stack = new DisposableStack();
  const keyId = stack.use(sdk.newString(library, new TextEncoder().encode(call.keyId)));
  const plaintext = stack.use(library.outBuffer());
  const ciphertext = stack.use(library.outBuffer());
  if (sdk.generateDataKey(client, { keyId, keySpec: AWS_KEY_SPEC[call.keySpec], plaintext, ciphertext })) {
    return { plaintext: new SecretBytes(plaintext.contents()), ciphertext: ciphertext.contents() };
  }
  const last = sdk.lastError();
  const { reason, answered } = askForReason(connection, "TrentService.GenerateDataKey", {
    KeyId: call.keyId,
    KeySpec: call.keySpec,
  });
  const error = new SdkKmsDataKeyError(describe("GenerateDataKey", reason), {
    symbol: "aws_kms_generate_data_key_blocking",
    sdk: last,
    kms: reason,
    hint: hintFor(reason),
  });
  throw answered ? error : new ConnectionLost("KMS did not answer", { cause: error });
}

/** The SDK's own GenerateDataKey cannot carry an EncryptionContext: the request is written here, the envelope opened by the SDK. */
function runDataKeyWithContext(
  connection: WarmClient,
  call: DataKeyCall,
  context: EncryptionContext,
): KmsCallResult {
  const symbol = "aws_nitro_enclaves_rest_client_request_blocking";
  const answer = requestAttested(connection, "TrentService.GenerateDataKey", {
    KeyId: call.keyId,
    KeySpec: call.keySpec,
    EncryptionContext: context,
  });
  if (answer === undefined) {
    const error = new SdkKmsDataKeyError(describe("GenerateDataKey", undefined), {
      symbol,
      sdk: connection.sdk.lastError(),
    });
    throw new ConnectionLost("KMS did not answer", { cause: error });
  }
  const { CiphertextBlob: blob, CiphertextForRecipient: envelope } = answer;
  if (typeof blob !== "string" || typeof envelope !== "string") {
    const reason = parseKmsReason(answer);
    throw new SdkKmsDataKeyError(describe("GenerateDataKey", reason), {
      symbol,
      kms: reason,
      hint: hintFor(reason),
    });
  }
  const ciphertext = decodeBase64(blob);
  const plaintext = connection.sdk.openEnvelope(
    connection.library,
    connection.client,
    decodeBase64(envelope),
  );
  if (plaintext !== undefined) return { plaintext: new SecretBytes(plaintext), ciphertext };
  const opened = runDecrypt(connection, { kind: "decrypt", ciphertext, keyId: call.keyId, context });
  return { plaintext: opened.plaintext, ciphertext };
}

function runRandom(connection: WarmClient, call: RandomCall): KmsCallResult {
  const { sdk, library, client } = connection;
  using out = library.outBuffer();
  if (sdk.generateRandom(client, call.length, out)) return { plaintext: new SecretBytes(out.contents()) };
  const last = sdk.lastError();
  const { reason, answered } = askForReason(connection, "TrentService.GenerateRandom", {
    NumberOfBytes: call.length,
  });
  const error = new SdkKmsRandomError(describe("GenerateRandom", reason), {
    symbol: "aws_kms_generate_random_blocking",
    sdk: last,
    kms: reason,
    hint: hintFor(reason),
  });
  throw answered ? error : new ConnectionLost("KMS did not answer", { cause: error });
}

function describe(operation: string, reason: KmsReason | undefined): string {
  if (reason === undefined) return `KMS ${operation} failed and gave no reason`;
  return `KMS ${operation} failed: ${reason.name}${reason.message === "" ? "" : `: ${reason.message}`}`;
}

/**
 * The SDK drops the text of a refusal, so the same request goes out once more through its lower-level call. Never on the good path.
 *
 * @returns `answered` false when KMS could not be reached any more
 */
function askForReason(
  connection: WarmClient,
  target: string,
  body: Record<string, unknown>,
): { readonly reason: KmsReason | undefined; readonly answered: boolean } {
  try {
    const answer = requestAttested(connection, target, body);
    return { reason: answer && parseKmsReason(answer), answered: answer !== undefined };
  } catch (thrown) {
    if (thrown instanceof SdkGenericError) return { reason: undefined, answered: true };
    throw thrown;
  }
}

/** A request with the Recipient that KMS needs for an attested call. Undefined when there was no answer. */
function requestAttested(
  { sdk, library, client }: WarmClient,
  target: string,
  body: Record<string, unknown>,
): Record<string, unknown> | undefined {
  const document = sdk.attestationDocument(library, client);
  if (document === undefined) {
    throw new SdkGenericError("Cannot get an attestation document from the NSM", {
      symbol: "aws_attestation_request",
      sdk: sdk.lastError(),
      hint: "This works inside a Nitro Enclave only (/dev/nsm). Elsewhere use the dry run.",
    });
  }
  const request = {
    ...body,
    Recipient: { AttestationDocument: encodeBase64(document), KeyEncryptionAlgorithm: "RSAES_OAEP_SHA_256" },
  };
  const answer = sdk.request(library, client, target, new TextEncoder().encode(JSON.stringify(request)));
  if (answer === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(answer));
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}
