/**
 * The local KMS, called in this process or by HTTP requests: authentication, the key policy's decision, the operation itself, the event.
 * Connections are handled elsewhere. Refuses to start where there is an NSM: needs read and write for its files, and `--allow-ffi` for libc.
 *
 * @module
 */
import { encodeBase64 } from "@std/encoding";
import { AWS_NITRO_ROOT } from "../../shared/attestation/root.ts";
import {
  type EncryptionContext,
  MAX_CIPHERTEXT_LENGTH,
  MAX_KEY_ID_LENGTH,
  MAX_RANDOM_LENGTH,
} from "../../shared/aws/kms_limits.ts";
import { isRegion } from "../../shared/aws/region.ts";
import { SecretBytes } from "../../shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../shared/errors.ts";
import { refuseInEnclave } from "../outside_enclave.ts";
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
import { KeyRing, type KmsKey } from "./keys.ts";
import { evaluatePolicy, type KeyPolicy, parseCaller, parseKeyPolicy } from "./policy.ts";
import { readRecipient, type Recipient } from "./recipient.ts";
import {
  type AccessKey,
  AccessKeys,
  type AwsService,
  type Identity,
  type SignedRequest,
} from "./signature.ts";
import { callerIdentity, isStsRequest, stsAction, stsError } from "./sts.ts";

/** A key policy, and its key by ARN or id; without a key, it applies to all keys. */
export interface PolicyFor {
  readonly key?: string | undefined;
  /** JSON. */
  readonly policy: string;
}

/** Options of {@link KmsService.open}. */
export interface KmsServiceOptions {
  /** us-east-1 by default. */
  readonly region?: string | undefined;
  /** The account of new keys, 12 digits; one that AWS does not assign by default. */
  readonly account?: string | undefined;
  /** Keys are kept here, mode 0600. Without it they exist only in memory. */
  readonly keysFile?: string | undefined;
  /** A later policy replaces an earlier one of the same key. KMS's default policy if none is given. */
  readonly policies?: readonly PolicyFor[] | undefined;
  /** Access keys to check signatures with; the service takes ownership. Without them, every caller is `caller`. */
  readonly accessKeys?: readonly AccessKey[] | undefined;
  /** ARN of the caller where signatures are not checked; the account's root by default. */
  readonly caller?: string | undefined;
  /** DER of the root of the attestation documents; AWS's by default. */
  readonly root?: Uint8Array | undefined;
  /** Receives each event. Must not throw. */
  readonly onEvent?: ((event: AuditEvent) => void) | undefined;
  /** Called with internal errors, which only the operator may see. Must not throw. */
  readonly onProblem?: ((what: string) => void) | undefined;
  /** For tests. */
  readonly now?: (() => Date) | undefined;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string | undefined;
}

type AnswerBody = Record<string, unknown>;

/** A request that was authenticated. */
interface Arrived {
  readonly identity: Identity;
  /** Whether nobody could read it on its way. */
  readonly isSecure: boolean;
  readonly readFields: () => Fields;
}

/** A request in progress. */
interface Call extends Pick<Arrived, "identity" | "isSecure"> {
  readonly fields: Fields;
  readonly draft: AuditDraft;
}

/** Values for the conditions, in addition to the caller. */
interface Circumstances {
  readonly context?: EncryptionContext;
  readonly recipient?: Recipient | undefined;
  readonly usesAlgorithm?: boolean;
}

const TARGET = /^TrentService\.([A-Za-z]{1,64})$/;
const DEFAULT_REGION = "us-east-1";
const DEFAULT_ACCOUNT = "000000000000";
const ALGORITHM = "SYMMETRIC_DEFAULT";
const MAX_PLAINTEXT_LENGTH = 4096;
const MAX_DATA_KEY_LENGTH = 1024;
const MAX_ALIAS_LENGTH = 256;
const MAX_DESCRIPTION_LENGTH = 8192;
const MAX_POLICY_TEXT_LENGTH = 131_072;
const KEY_LENGTHS = { AES_256: 32, AES_128: 16 } as const;

/** An error of the options. */
export function optionsError(what: string, hint: string): EnclaveError {
  return new EnclaveError(`Cannot start the local KMS: ${what}`, { code: "kms_emulator_options", hint });
}

/** The local KMS, in this process. Disposing wipes its keys. */
export class KmsService implements Disposable {
  #keys: KeyRing;
  #accessKeys: AccessKeys | undefined;
  #anybody: Identity;
  #options: KmsServiceOptions;
  #now: () => Date;
  /** Where KMS's keys are. */
  readonly region: string;
  #operations: Readonly<Record<string, (call: Call) => AnswerBody | Promise<AnswerBody>>> = {
    CreateAlias: (call) => this.#createAlias(call),
    CreateKey: (call) => this.#createKey(call),
    Decrypt: (call) => this.#decrypt(call),
    DescribeKey: (call) => ({ KeyMetadata: metadata(this.#authorisedKey(call)) }),
    DisableKey: (call) => (this.#authorisedKey(call).enabled = false, {}),
    EnableKey: (call) => (this.#authorisedKey(call).enabled = true, {}),
    EnableKeyRotation: (call) => (this.#authorisedKey(call), {}),
    Encrypt: (call) => this.#encrypt(call),
    GenerateDataKey: (call) => this.#generateDataKey(call),
    GenerateRandom: (call) => this.#generateRandom(call),
    GetKeyPolicy: (call) => this.#getKeyPolicy(call),
    ListAliases: (call) => this.#listAliases(call),
    // CreateGrant is not supported, so a key has no grants.
    ListGrants: (call) => (this.#authorisedKey(call), { Grants: [], Truncated: false }),
    ListKeys: () => ({
      Keys: this.#keys.keys.map(({ id, arn }) => ({ KeyId: id, KeyArn: arn })),
      Truncated: false,
    }),
    PutKeyPolicy: (call) => this.#putKeyPolicy(call),
  };

  private constructor(
    { now, region, options }: {
      readonly now: () => Date;
      readonly region: string;
      readonly options: KmsServiceOptions;
    },
    keys: KeyRing,
    access: { readonly keys: AccessKeys | undefined; readonly anybody: Identity },
  ) {
    this.#now = now;
    this.region = region;
    this.#options = options;
    this.#keys = keys;
    this.#accessKeys = access.keys;
    this.#anybody = access.anybody;
  }

  /**
   * Opens it with the keys of the file. Without any keys, makes one.
   *
   * @throws {EnclaveError} `local_kms_refused` in an enclave, `local_kms_file`, `kms_emulator_options`
   * @throws {KmsRefusal} on an invalid policy or caller
   */
  static async open(options: KmsServiceOptions = {}): Promise<KmsService> {
    const { region = DEFAULT_REGION, account = DEFAULT_ACCOUNT, now = () => new Date() } = options;
    using stack = new DisposableStack();
    // Comes first, so that the keys are wiped if anything fails.
    const accessKeys = options.accessKeys && stack.use(new AccessKeys(options.accessKeys, { region, now }));
    refuseInEnclave({
      name: "local KMS",
      code: "local_kms_refused",
      why: "It releases keys to any caller.",
      nsmDevice: options.nsmDevice,
    });
    if (!isRegion(region)) {
      throw optionsError("the region is not valid", "Give a region's name such as us-west-2.");
    }
    if (!/^[0-9]{12}$/.test(account)) {
      throw optionsError("the account is not valid", "An account has 12 digits.");
    }
    const caller = parseCaller(options.caller ?? `arn:aws:iam::${account}:root`);
    const keys = stack.use(await KeyRing.open({ region, account, now, file: options.keysFile }));
    for (const { key, policy } of options.policies ?? []) {
      const parsed = parseKeyPolicy(policy);
      for (const found of key === undefined ? keys.keys : [keys.find(key)]) found.policy = parsed;
    }
    stack.move();
    return new KmsService({ now, region, options }, keys, {
      keys: accessKeys,
      anybody: { caller, accessKeyId: "" },
    });
  }

  /** The keys' ARNs, oldest first. */
  get keyArns(): readonly string[] {
    return this.#keys.keys.map(({ arn }) => arn);
  }

  /** As PutKeyPolicy, but without an authorisation check. @throws {KmsRefusal} */
  putPolicy(key: string, policy: string): void {
    this.#keys.find(key).policy = parseKeyPolicy(policy);
  }

  /** Does an operation for the `caller` of the options. @param fields KMS's parameters, with bytes in base64; @throws {KmsRefusal} */
  async call(operation: string, fields: Fields): Promise<AnswerBody> {
    const draft: AuditDraft = { operation, requestId: crypto.randomUUID(), parameters: {} };
    const arrived = { identity: this.#anybody, isSecure: true, readFields: () => fields };
    const answer = await this.#audited(draft, () => Promise.resolve(arrived));
    if (answer instanceof KmsRefusal) throw answer;
    return answer;
  }

  /** Answers an HTTP request. Errors are answers too. @param isSecure whether it came over TLS */
  async answer(request: SignedRequest, isSecure: boolean): Promise<Response> {
    const requestId = crypto.randomUUID();
    const respond = (refusal: KmsRefusal | undefined, type: string, body: string) =>
      new Response(body, {
        status: refusal?.status ?? 200,
        headers: { "content-type": type, "x-amzn-requestid": requestId },
      });
    if (isStsRequest(request)) {
      const answer = await this.#answerSts(request, requestId);
      return answer instanceof KmsRefusal
        ? respond(answer, "text/xml", stsError(answer, requestId))
        : respond(undefined, "text/xml", answer);
    }
    const [, operation = "Unknown"] = TARGET.exec(request.headers.get("x-amz-target") ?? "") ?? [];
    const answer = await this.#audited({ operation, requestId, parameters: {} }, async () => ({
      identity: await this.#identify(request, "kms"),
      isSecure,
      readFields: () => parseFields(request.body),
    }));
    const refusal = answer instanceof KmsRefusal ? answer : undefined;
    const body = refusal === undefined ? answer : { __type: refusal.kms.name, message: refusal.kms.message };
    return respond(refusal, "application/x-amz-json-1.1", JSON.stringify(body));
  }

  async #identify(request: SignedRequest, service: AwsService): Promise<Identity> {
    return await this.#accessKeys?.identify(request, service) ?? this.#anybody;
  }

  /** Does an operation and reports its event. Whatever fails is a refusal. */
  async #audited(draft: AuditDraft, arrive: () => Promise<Arrived>): Promise<AnswerBody | KmsRefusal> {
    let refusal: KmsRefusal | undefined;
    try {
      const { identity, isSecure, readFields } = await arrive();
      draft.identity = identity;
      return await this.#run({ fields: readFields(), draft, identity, isSecure });
    } catch (thrown) {
      return refusal = thrown instanceof KmsRefusal ? thrown : this.#fault(draft.operation, thrown);
    } finally {
      this.#options.onEvent?.(auditEvent(draft, { time: this.#now(), region: this.region, refusal }));
    }
  }

  async #answerSts(request: SignedRequest, requestId: string): Promise<string | KmsRefusal> {
    try {
      const { caller } = await this.#identify(request, "sts");
      if (stsAction(request) === "GetCallerIdentity") return callerIdentity(caller, requestId);
      return new KmsRefusal(
        "InvalidAction",
        "The emulator serves GetCallerIdentity of STS, and nothing else",
      );
    } catch (thrown) {
      return thrown instanceof KmsRefusal ? thrown : this.#fault("GetCallerIdentity", thrown);
    }
  }

  #fault(operation: string, thrown: unknown): KmsRefusal {
    // The message of another error may quote its input.
    const what = thrown instanceof EnclaveError
      ? thrown.message
      : thrown instanceof Error
      ? thrown.name
      : "unknown";
    this.#options.onProblem?.(`${operation} failed: ${what}`);
    return new KmsRefusal("KMSInternalException", "The local KMS failed", { cause: thrown });
  }

  async #run(call: Call): Promise<AnswerBody> {
    const { operation } = call.draft;
    const run = Object.hasOwn(this.#operations, operation) ? this.#operations[operation] : undefined;
    if (run !== undefined) return await run(call);
    throw new KmsRefusal("UnknownOperationException", "The local KMS does not support this operation");
  }

  async #decrypt(call: Call): Promise<AnswerBody> {
    const { fields } = call;
    const ciphertext = bytes(fields, "CiphertextBlob", MAX_CIPHERTEXT_LENGTH);
    const keyId = optionalText(fields, "KeyId", MAX_KEY_ID_LENGTH);
    const { context, recipient } = await this.#readUse(call);
    const maker = this.#keys.makerOf(ciphertext);
    const named = keyId === undefined ? maker : this.#keys.find(keyId);
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
    using plaintext = this.#keys.decrypt(named, ciphertext, context);
    return {
      KeyId: named.arn,
      EncryptionAlgorithm: ALGORITHM,
      ...await handOver(plaintext, recipient),
    };
  }

  #encrypt(call: Call): AnswerBody {
    const { fields, draft } = call;
    using plaintext = new SecretBytes(bytes(fields, "Plaintext", MAX_PLAINTEXT_LENGTH));
    const key = this.#keys.find(text(fields, "KeyId", MAX_KEY_ID_LENGTH));
    const context = readContext(fields, draft);
    this.#authorise(call, key, { context, usesAlgorithm: true });
    checkEnabled(key);
    const ciphertext = this.#keys.encrypt(key, plaintext.expose(), context);
    return { KeyId: key.arn, EncryptionAlgorithm: ALGORITHM, CiphertextBlob: encodeBase64(ciphertext) };
  }

  async #generateDataKey(call: Call): Promise<AnswerBody> {
    const { fields, draft } = call;
    const key = this.#keys.find(text(fields, "KeyId", MAX_KEY_ID_LENGTH));
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
    const ciphertext = this.#keys.encrypt(key, plaintext.expose(), context);
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
    const key = await this.#keys.create({ policy, description });
    draft.keyArn = key.arn;
    return { KeyMetadata: metadata(key) };
  }

  #createAlias(call: Call): AnswerBody {
    const { fields, draft } = call;
    const key = this.#keys.find(text(fields, "TargetKeyId", MAX_KEY_ID_LENGTH));
    this.#authorise(call, key, {});
    this.#keys.addAlias(text(fields, "AliasName", MAX_ALIAS_LENGTH), key);
    draft.keyArn = key.arn;
    return {};
  }

  #listAliases({ fields }: Call): AnswerBody {
    const keyId = optionalText(fields, "KeyId", MAX_KEY_ID_LENGTH);
    const keys = this.#keys;
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
    const key = this.#keys.find(text(call.fields, "KeyId", MAX_KEY_ID_LENGTH));
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
    const { root = AWS_NITRO_ROOT } = this.#options;
    const recipient = await readRecipient(fields, { root, now: this.#now() });
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

  [Symbol.dispose](): void {
    this.#keys[Symbol.dispose]();
    this.#accessKeys?.[Symbol.dispose]();
  }
}

function metadata({ arn, id, account, enabled, description, created }: KmsKey): AnswerBody {
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
