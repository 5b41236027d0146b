/**
 * The local KMS with a simulated module whose root it trusts, and policies as the parent's tools write them.
 *
 * @module
 */
import { assert, assertRejects } from "@std/assert";
import { SimulatedNsm, type SimulatedNsmOptions } from "../../lib/dev/nsm/simulated.ts";
import { Credentials } from "../../lib/enclave/kms/aws_ne/mod.ts";
import { EnclaveError } from "../../lib/shared/errors.ts";
import { openAwsKms } from "../../lib/dev/kms/https_api.ts";
import type { JsonKms } from "../../lib/dev/kms/json_kms.ts";
import { type DataKey, type Kms, type KmsAccess, kmsErrorName } from "../../lib/enclave/kms/kms.ts";
import type { AuditEvent } from "../../lib/dev/kms_emulator/audit.ts";
import {
  type KmsEmulator,
  type KmsEmulatorOptions,
  startKmsEmulator,
} from "../../lib/dev/kms_emulator/server.ts";
import { within } from "./deadline.ts";

/** Of the server. */
export const REGION = "us-east-1";
/** Of its keys. */
export const ACCOUNT = "111122223333";
/** The enclave's parent. */
export const ROLE = `arn:aws:iam::${ACCOUNT}:role/enclave`;
/** Who may put policies. */
export const ADMIN = `arn:aws:iam::${ACCOUNT}:role/admin`;
/** The role's own key. */
export const STRINGS = {
  accessKeyId: "AKIATESTROLE",
  secretAccessKey: "secret-of-the-role",
  sessionToken: "",
};
/** An EncryptionContext. */
export const CONTEXT = { app: "denclave", purpose: "wallet" };
/** PCR 0 of two images. */
export const BUILD = { old: "0a".repeat(48), new: "0b".repeat(48) } as const;
/** A PCR in debug mode. */
export const ZERO = "00".repeat(48);

/** Of JSON. */
export type Fields = Readonly<Record<string, unknown>>;

/** What the tools of the parent render: an Allow for the builds, a guarding Deny, an administrator. */
export function policyFor(builds: readonly string[], more: readonly Fields[] = []): string {
  const attested = ["kms:Decrypt", "kms:GenerateDataKey"];
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "Builds",
        Effect: "Allow",
        Principal: { AWS: ROLE },
        Action: attested,
        Resource: "*",
        Condition: { StringEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": builds } },
      },
      {
        Sid: "Guard",
        Effect: "Deny",
        Principal: "*",
        Action: attested,
        Resource: "*",
        Condition: { StringNotEqualsIgnoreCase: { "kms:RecipientAttestation:PCR0": builds } },
      },
      {
        Sid: "Administrator",
        Effect: "Allow",
        Principal: { AWS: ADMIN },
        Action: [
          "kms:PutKeyPolicy",
          "kms:GetKeyPolicy",
          "kms:DescribeKey",
          "kms:EnableKey",
          "kms:DisableKey",
        ],
        Resource: "*",
      },
      ...more,
    ],
  });
}

/** A server, modules, and what it told. */
export class KmsPlace implements AsyncDisposable {
  readonly events: AuditEvent[] = [];
  readonly problems: string[] = [];
  #stack = new AsyncDisposableStack();
  #credentials = this.#stack.use(Credentials.fromStrings(STRINGS));
  #root: Uint8Array;
  #server: KmsEmulator | undefined;

  private constructor(root: Uint8Array) {
    this.#root = root;
  }

  /** With a server whose root is that of a module with these PCRs. */
  static async open(
    pcr0: string,
    options: KmsEmulatorOptions = {},
    nsmOptions: SimulatedNsmOptions = {},
  ): Promise<{ readonly place: KmsPlace; readonly kms: JsonKms; readonly nsm: SimulatedNsm }> {
    const nsm = await SimulatedNsm.start({ ...nsmOptions, pcrs: { 0: pcr0 } });
    const place = new KmsPlace(nsm.root);
    place.#stack.use(nsm);
    place.#server = place.#stack.use(
      await startKmsEmulator({
        account: ACCOUNT,
        root: place.#root,
        caller: ROLE,
        onEvent: (event) => void place.events.push(event),
        onProblem: (what) => void place.problems.push(what),
        ...options,
      }),
    );
    return { place, nsm, kms: await place.attested(nsm) };
  }

  get server(): KmsEmulator {
    assert(this.#server !== undefined);
    return this.#server;
  }

  get keyArn(): string {
    return this.server.kms.keyArns[0] ?? "";
  }

  get access(): KmsAccess {
    return { region: REGION, credentials: this.#credentials };
  }

  async attested(nsm: Pick<SimulatedNsm, "attest">): Promise<JsonKms> {
    const { url, ca } = this.server;
    return this.#stack.use(await openAwsKms({ nsm, endpoint: url, ca }));
  }

  async plain(): Promise<JsonKms> {
    return this.#stack.use(await openAwsKms({ endpoint: this.server.url, ca: this.server.ca }));
  }

  dataKey(kms: Kms, context: Readonly<Record<string, string>> = CONTEXT): Promise<DataKey> {
    return kms.generateDataKey(this.access, { keyId: this.keyArn, keySpec: "AES_256", context });
  }

  decrypt(kms: Kms, { ciphertext }: DataKey, context: Readonly<Record<string, string>> = CONTEXT) {
    return kms.decrypt(this.access, { ciphertext, keyId: this.keyArn, context });
  }

  /** KMS's name for a refusal. */
  async refusal(run: () => Promise<unknown>): Promise<string | undefined> {
    return kmsErrorName(await within(assertRejects(run, EnclaveError), "the refusal"));
  }

  /** An unsigned request, sent unchanged. */
  async ask(
    operation: string,
    fields: unknown,
  ): Promise<{ readonly status: number; readonly answer: Fields }> {
    const response = await fetch(this.server.url, {
      method: "POST",
      headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `TrentService.${operation}` },
      body: typeof fields === "string" ? fields : JSON.stringify(fields),
    });
    return { status: response.status, answer: await response.json() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** A session of the role's. */
export const SESSION = {
  accessKeyId: "ASIATESTSESSION",
  secretAccessKey: "secret-of-the-session",
  sessionToken: "token-of-the-session",
  arn: ROLE,
};
/** A file of access keys. */
export const accessKeysFile = (...keys: readonly Fields[]) =>
  JSON.stringify({ version: 1, accessKeys: keys });
/** The role, its session, the administrator. */
export const KEYS_FILE = accessKeysFile(
  { accessKeyId: STRINGS.accessKeyId, secretAccessKey: STRINGS.secretAccessKey, arn: ROLE },
  { accessKeyId: "AKIATESTADMIN", secretAccessKey: "secret-of-the-admin", arn: ADMIN },
  { ...SESSION, expires: "2999-01-01T00:00:00Z" },
);
