/**
 * Handles a request of the local KMS: authentication, the key policy's decision, the operation itself, the event. Connections are handled elsewhere.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { MAX_CIPHERTEXT_LENGTH, MAX_KEY_ID_LENGTH, MAX_RANDOM_LENGTH } from "../../shared/aws/kms_limits.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import type { EncryptionContext } from "../../enclave/kms/kms.ts";
import { type AuditDraft, type AuditEvent, auditEvent } from "./audit.ts";
import { CmsError, envelopData } from "./enveloped_data.ts";
import { foldCase } from "../../ctl/aws/key_policy.ts";
import { invalid, KmsRefusal } from "./errors.ts";
import {
  bytes,
  encryptionContext,
  type Fields,
  flag,
  optionalChoice,
  optionalNumber,
  optionalText,
  parseFields,
  text,
} from "./fields.ts";
import type { KeyRing, KmsKey } from "./keys.ts";
import { evaluatePolicy, type KeyPolicy, parseKeyPolicy } from "./policy.ts";
import { readRecipient, type Recipient } from "./recipient.ts";
import type { AwsService, Identity, SignedRequest } from "./signature.ts";
import { callerIdentity, isStsRequest, stsAction, stsError } from "./sts.ts";

/** A request from the transport. */
export interface KmsRequest extends SignedRequest {
  /** Whether it came over TLS. */
  readonly isSecure: boolean;
}

/** An answer, for the transport. */
export interface KmsResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Options of a {@link KmsService}. */
export interface KmsServiceOptions {
  /** Borrowed. */
  readonly keys: KeyRing;
  readonly region: string;
  /** Authenticates the caller. @throws {KmsRefusal} */
  readonly identify: (request: SignedRequest, service: AwsService) => Identity;
  /** DER of the root certificate of the attestation documents. */
  readonly root: Uint8Array;
  readonly now: () => Date;
  /** Receives each event. Must not throw. */
  readonly onEvent: (event: AuditEvent) => void;
  /** Called with internal errors, which only the operator may see. Must not throw. */
  readonly onProblem: (what: string) => void;
}

type AnswerBody = Readonly<Record<string, unknown>>;

/** A request in progress. */
interface Call {
  readonly fields: Fields;
  readonly draft: AuditDraft;
  readonly identity: Identity;
  readonly isSecure: boolean;
}

/** Values for the conditions, in addition to the caller. */
interface Circumstances {
  readonly context?: EncryptionContext;
  readonly recipient?: Recipient | undefined;
  readonly usesAlgorithm?: boolean;
}

const TARGET = /^TrentService\.([A-Za-z]{1,64})$/;
const CONTENT_TYPE = "application/x-amz-json-1.1";
const ALGORITHM = "SYMMETRIC_DEFAULT";
const MAX_PLAINTEXT_LENGTH = 4096;
const MAX_DATA_KEY_LENGTH = 1024;
const MAX_ALIAS_LENGTH = 256;
const MAX_DESCRIPTION_LENGTH = 8192;
const MAX_POLICY_TEXT_LENGTH = 131_072;
const PAGE = { usual: 100, max: 1000 } as const;
const KEY_LENGTHS = { AES_256: 32, AES_128: 16 } as const;

/** The supported operations of KMS. */
export class KmsService {
  #options: KmsServiceOptions;

  constructor(options: KmsServiceOptions) {
    this.#options = options;
  }

  /** Answers a request. Errors are answers too. */
  async answer(request: KmsRequest): Promise<KmsResponse> {
    const requestId = crypto.randomUUID();
    if (isStsRequest(request)) return this.#answerSts(request, requestId);
    const [, operation = "Unknown"] = TARGET.exec(request.headers.get("x-amz-target") ?? "") ?? [];
    const draft: AuditDraft = { operation, requestId, parameters: {} };
    let refusal: KmsRefusal | undefined;
    let answer: AnswerBody;
    try {
      const identity = this.#options.identify(request, "kms");
      draft.identity = identity;
      answer = await this.#run({
        fields: parseFields(request.body),
        draft,
        identity,
        isSecure: request.isSecure,
      });
    } catch (thrown) {
      refusal = thrown instanceof KmsRefusal ? thrown : this.#fault(operation, thrown);
      answer = { __type: refusal.kms.name, message: refusal.kms.message };
    }
    const { region, now, onEvent } = this.#options;
    onEvent(auditEvent(draft, { time: now(), region, refusal }));
    return {
      status: refusal?.status ?? 200,
      headers: { "content-type": CONTENT_TYPE, "x-amzn-requestid": requestId },
      body: JSON.stringify(answer),
    };
  }

  #answerSts(request: KmsRequest, requestId: string): KmsResponse {
    let status = 200;
    let answer;
    try {
      const { caller } = this.#options.identify(request, "sts");
      const action = stsAction(request);
      if (action !== "GetCallerIdentity") {
        throw new KmsRefusal(
          "InvalidAction",
          "The emulator serves GetCallerIdentity of STS, and nothing else",
        );
      }
      answer = callerIdentity(caller, requestId);
    } catch (thrown) {
      const refusal = thrown instanceof KmsRefusal ? thrown : this.#fault("GetCallerIdentity", thrown);
      status = refusal.status;
      answer = stsError(refusal, requestId);
    }
    return {
      status,
      headers: { "content-type": answer.contentType, "x-amzn-requestid": requestId },
      body: answer.body,
    };
  }

  #fault(operation: string, thrown: unknown): KmsRefusal {
    // The message of another error may quote its input.
    const what = thrown instanceof EnclaveError
      ? thrown.message
      : thrown instanceof Error
      ? thrown.name
      : "unknown";
    this.#options.onProblem(`${operation} failed: ${what}`);
    return new KmsRefusal("KMSInternalException", "The local KMS failed", { cause: thrown });
  }

  async #run(call: Call): Promise<AnswerBody> {
    switch (call.draft.operation) {
      case "Decrypt":
        return await this.#decrypt(call);
      case "Encrypt":
        return await this.#encrypt(call);
      case "GenerateDataKey":
        return await this.#generateDataKey(call);
      case "GenerateRandom":
        return await this.#generateRandom(call);
      case "CreateKey":
        return await this.#createKey(call);
      case "DescribeKey":
        return { KeyMetadata: this.#metadata(this.#authorisedKey(call)) };
      case "ListKeys":
        return this.#listKeys(call);
      case "CreateAlias":
        return this.#createAlias(call);
      case "ListAliases":
        return this.#listAliases(call);
      case "ListGrants":
        // CreateGrant is not supported, so a key has no grants.
        return this.#authorisedKey(call) && { Grants: [], Truncated: false };
      case "EnableKeyRotation":
        this.#authorisedKey(call).rotation = true;
        return {};
      case "GetKeyPolicy":
        return this.#getKeyPolicy(call);
      case "PutKeyPolicy":
        return this.#putKeyPolicy(call);
      case "EnableKey":
        this.#authorisedKey(call).enabled = true;
        return {};
      case "DisableKey":
        this.#authorisedKey(call).enabled = false;
        return {};
      default:
        throw new KmsRefusal("UnknownOperationException", "The local KMS does not support this operation");
    }
  }

  async #decrypt(call: Call): Promise<AnswerBody> {
    const { fields } = call;
    const ciphertext = bytes(fields, "CiphertextBlob", MAX_CIPHERTEXT_LENGTH);
    const keyId = optionalText(fields, "KeyId", MAX_KEY_ID_LENGTH);
    const { context, recipient } = await this.#readUse(call);
    const maker = this.#options.keys.makerOf(ciphertext);
    const named = keyId === undefined ? maker : this.#options.keys.find(keyId);
    if (named === undefined) {
      throw new KmsRefusal(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.",
      );
    }
    this.#authorise(call, named, { context, recipient, usesAlgorithm: true });
    if (named !== maker) {
      throw new KmsRefusal(
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
      );
    }
    checkEnabled(named);
    using plaintext = await this.#options.keys.decrypt(named, ciphertext, context);
    return {
      KeyId: named.arn,
      EncryptionAlgorithm: ALGORITHM,
      ...await handOver(plaintext, recipient),
    };
  }

  async #encrypt(call: Call): Promise<AnswerBody> {
    const { fields, draft } = call;
    using plaintext = new SecretBytes(bytes(fields, "Plaintext", MAX_PLAINTEXT_LENGTH));
    const key = this.#options.keys.find(text(fields, "KeyId", MAX_KEY_ID_LENGTH));
    const context = readContext(fields, draft);
    this.#authorise(call, key, { context, usesAlgorithm: true });
    checkEnabled(key);
    const ciphertext = await this.#options.keys.encrypt(key, plaintext.expose(), context);
    return { KeyId: key.arn, EncryptionAlgorithm: ALGORITHM, CiphertextBlob: encodeBase64(ciphertext) };
  }

  async #generateDataKey(call: Call): Promise<AnswerBody> {
    const { fields, draft } = call;
    const key = this.#options.keys.find(text(fields, "KeyId", MAX_KEY_ID_LENGTH));
    const keySpec = optionalChoice(fields, "KeySpec", ["AES_256", "AES_128"]);
    const numberOfBytes = optionalNumber(fields, "NumberOfBytes", { min: 1, max: MAX_DATA_KEY_LENGTH });
    const { context, recipient } = await this.#readUse(call);
    const length = keySpec === undefined ? numberOfBytes : KEY_LENGTHS[keySpec];
    if (length === undefined || (keySpec !== undefined && numberOfBytes !== undefined)) {
      throw invalid("Please specify either number of bytes or key spec.");
    }
    if (keySpec !== undefined) draft.parameters.keySpec = keySpec;
    else draft.parameters.numberOfBytes = length;
    this.#authorise(call, key, { context, recipient, usesAlgorithm: true });
    checkEnabled(key);
    using plaintext = new SecretBytes(crypto.getRandomValues(new Uint8Array(length)));
    const ciphertext = await this.#options.keys.encrypt(key, plaintext.expose(), context);
    return {
      KeyId: key.arn,
      CiphertextBlob: encodeBase64(ciphertext),
      ...await handOver(plaintext, recipient),
    };
  }

  /** Without a key there is no key policy: on AWS the role's own policy decides. */
  async #generateRandom({ fields, draft }: Call): Promise<AnswerBody> {
    const length = optionalNumber(fields, "NumberOfBytes", { min: 1, max: MAX_RANDOM_LENGTH });
    if (length === undefined) throw invalid("NumberOfBytes is missing");
    draft.parameters.numberOfBytes = length;
    const recipient = await this.#readRecipient(fields, draft);
    using plaintext = new SecretBytes(crypto.getRandomValues(new Uint8Array(length)));
    return await handOver(plaintext, recipient);
  }

  async #createKey(call: Call): Promise<AnswerBody> {
    const { fields, draft } = call;
    optionalChoice(fields, "KeyUsage", ["ENCRYPT_DECRYPT"]);
    optionalChoice(fields, "KeySpec", [ALGORITHM]);
    optionalChoice(fields, "CustomerMasterKeySpec", [ALGORITHM]);
    optionalChoice(fields, "Origin", ["AWS_KMS"]);
    const description = optionalText(fields, "Description", MAX_DESCRIPTION_LENGTH);
    const policyText = optionalText(fields, "Policy", MAX_POLICY_TEXT_LENGTH);
    const policy = policyText === undefined ? undefined : parseKeyPolicy(policyText);
    if (policy !== undefined) this.#checkLockout(call, policy, "*");
    const key = await this.#options.keys.create({ policy, description });
    draft.keyArn = key.arn;
    return { KeyMetadata: this.#metadata(key) };
  }

  #listKeys({ fields }: Call): AnswerBody {
    const limit = optionalNumber(fields, "Limit", { min: 1, max: PAGE.max }) ?? PAGE.usual;
    const marker = optionalText(fields, "Marker", MAX_KEY_ID_LENGTH);
    const { keys } = this.#options.keys;
    const before = marker === undefined ? -1 : keys.findIndex(({ id }) => id === marker);
    if (marker !== undefined && before === -1) {
      throw new KmsRefusal("InvalidMarkerException", "Could not deserialize marker");
    }
    const page = keys.slice(before + 1, before + 1 + limit);
    const last = page.at(-1);
    const truncated = before + 1 + limit < keys.length;
    return {
      Keys: page.map(({ id, arn }) => ({ KeyId: id, KeyArn: arn })),
      Truncated: truncated,
      ...(truncated && last !== undefined ? { NextMarker: last.id } : {}),
    };
  }

  #createAlias(call: Call): AnswerBody {
    const { fields, draft } = call;
    const key = this.#options.keys.find(text(fields, "TargetKeyId", MAX_KEY_ID_LENGTH));
    this.#authorise(call, key, {});
    this.#options.keys.addAlias(text(fields, "AliasName", MAX_ALIAS_LENGTH), key);
    draft.keyArn = key.arn;
    return {};
  }

  #listAliases({ fields }: Call): AnswerBody {
    const keyId = optionalText(fields, "KeyId", MAX_KEY_ID_LENGTH);
    const { keys } = this.#options;
    const of = keyId === undefined ? undefined : keys.find(keyId);
    const aliases = [...keys.aliases].filter(([, key]) => of === undefined || key === of);
    return {
      Aliases: aliases.map(([name, { id, arn, created }]) => ({
        AliasName: name,
        AliasArn: arn.replace(/:key\/.*$/, `:${name}`),
        TargetKeyId: id,
        CreationDate: created.getTime() / 1000,
      })),
      Truncated: false,
    };
  }

  #getKeyPolicy(call: Call): AnswerBody {
    checkPolicyName(call.fields);
    return { Policy: this.#authorisedKey(call).policy.text, PolicyName: "default" };
  }

  #putKeyPolicy(call: Call): AnswerBody {
    checkPolicyName(call.fields);
    const policyText = text(call.fields, "Policy", MAX_POLICY_TEXT_LENGTH);
    const key = this.#authorisedKey(call);
    const policy = parseKeyPolicy(policyText);
    this.#checkLockout(call, policy, key.arn);
    key.policy = policy;
    return {};
  }

  /** KMS refuses a policy that would not allow the caller to change it again. */
  #checkLockout(call: Call, policy: KeyPolicy, resource: string): void {
    if (flag(call.fields, "BypassPolicyLockoutSafetyCheck")) return;
    const { caller } = call.identity;
    const values = conditionValues(call, {});
    if (evaluatePolicy(policy, { caller, action: "kms:PutKeyPolicy", resource, values }).allowed) return;
    throw new KmsRefusal(
      "MalformedPolicyDocumentException",
      "The new key policy will not allow you to update the key policy in the future.",
    );
  }

  /** The key of a key management operation, after authorisation. */
  #authorisedKey(call: Call): KmsKey {
    const key = this.#options.keys.find(text(call.fields, "KeyId", MAX_KEY_ID_LENGTH));
    this.#authorise(call, key, {});
    return key;
  }

  async #readUse(
    { fields, draft }: Call,
  ): Promise<{ readonly context: EncryptionContext; readonly recipient: Recipient | undefined }> {
    const context = readContext(fields, draft);
    return { context, recipient: await this.#readRecipient(fields, draft) };
  }

  async #readRecipient(fields: Fields, draft: AuditDraft): Promise<Recipient | undefined> {
    const { root, now } = this.#options;
    const recipient = await readRecipient(fields, { root, now: now() });
    if (recipient !== undefined) draft.recipient = recipient;
    return recipient;
  }

  #authorise(call: Call, key: KmsKey, circumstances: Circumstances): void {
    const { draft, identity: { caller } } = call;
    const action = `kms:${draft.operation}`;
    draft.keyArn = key.arn;
    draft.parameters.keyId = key.arn;
    draft.decision = evaluatePolicy(key.policy, {
      caller,
      action,
      resource: key.arn,
      values: conditionValues(call, circumstances),
    });
    const { allowed, isExplicitDeny } = draft.decision;
    if (allowed) return;
    throw new KmsRefusal(
      "AccessDeniedException",
      `User: ${caller.arn} is not authorized to perform: ${action} on resource: ${key.arn} ${
        isExplicitDeny
          ? "with an explicit deny in a resource-based policy"
          : `because no resource-based policy allows the ${action} action`
      }`,
    );
  }

  #metadata({ arn, id, account, enabled, description, created }: KmsKey): AnswerBody {
    return {
      AWSAccountId: account,
      KeyId: id,
      Arn: arn,
      CreationDate: created.getTime() / 1000,
      Enabled: enabled,
      Description: description,
      KeyUsage: "ENCRYPT_DECRYPT",
      KeyState: enabled ? "Enabled" : "Disabled",
      Origin: "AWS_KMS",
      KeyManager: "CUSTOMER",
      CustomerMasterKeySpec: ALGORITHM,
      KeySpec: ALGORITHM,
      EncryptionAlgorithms: [ALGORITHM],
      MultiRegion: false,
    };
  }
}

function checkEnabled({ arn, enabled }: KmsKey): void {
  if (!enabled) throw new KmsRefusal("DisabledException", `${arn} is disabled.`);
}

function checkPolicyName(fields: Fields): void {
  const name = optionalText(fields, "PolicyName", 128);
  if (name !== undefined && name !== "default") {
    throw new KmsRefusal("NotFoundException", "No such policy exists");
  }
}

function readContext(fields: Fields, draft: AuditDraft): EncryptionContext {
  optionalChoice(fields, "EncryptionAlgorithm", [ALGORITHM]);
  const context = encryptionContext(fields);
  draft.parameters.encryptionAlgorithm = ALGORITHM;
  if (Object.keys(context).length > 0) draft.parameters.encryptionContext = context;
  return context;
}

/** The fields of a plaintext in a response: for an attested enclave, only an envelope. */
async function handOver(plaintext: SecretBytes, recipient: Recipient | undefined): Promise<AnswerBody> {
  if (recipient === undefined) return { Plaintext: encodeBase64(plaintext.expose()) };
  try {
    const envelope = await envelopData(recipient.publicKey, plaintext.expose());
    return { CiphertextForRecipient: encodeBase64(envelope) };
  } catch (thrown) {
    if (thrown instanceof CmsError) {
      throw invalid(`The attestation document's public key cannot be used: ${thrown.message}`, thrown);
    }
    throw thrown;
  }
}

/** The condition keys of a request, by their lower-case names. */
function conditionValues(
  { identity: { caller }, isSecure }: Call,
  { context = {}, recipient, usesAlgorithm = false }: Circumstances,
): ReadonlyMap<string, readonly string[]> {
  const values = new Map<string, string[]>([
    ["kms:calleraccount", [caller.account]],
    ["aws:principalarn", [caller.arn]],
    ["aws:principalaccount", [caller.account]],
    ["aws:securetransport", [String(isSecure)]],
  ]);
  if (usesAlgorithm) values.set("kms:encryptionalgorithm", [ALGORITHM]);
  const keys = Object.keys(context);
  if (keys.length > 0) values.set("kms:encryptioncontextkeys", keys);
  for (const [key, value] of Object.entries(context)) {
    const name = `kms:encryptioncontext:${foldCase(key)}`;
    // Keys that differ only in case are several values of one condition key.
    values.set(name, [...values.get(name) ?? [], value]);
  }
  if (recipient === undefined) return values;
  for (const [index, value] of recipient.document.pcrs) {
    values.set(`kms:recipientattestation:pcr${index}`, [value]);
  }
  values.set("kms:recipientattestation:imagesha384", [recipient.document.pcrs.get(0) ?? ""]);
  return values;
}
