/**
 * A Nitro Security Module inside this process, for tests and dry runs: PCRs that its maker chooses, and real COSE_Sign1 documents in the shape of the
 * hypervisor's, under a root made on the spot. Production code has no way to trust that root: AWS's is pinned in `document.ts`, and this module,
 * like `verify.ts`, is behind an import wall. It refuses to start where there is an NSM.
 *
 * Permission: FFI on the C library's paths, to look for the device.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { encode } from "cborg";
import { pathExists } from "../../ffi/libc.ts";
import { NSM_DEVICE } from "../../ffi/nsm.ts";
import { EnclaveError } from "../errors.ts";
import { signSign1 } from "./cose.ts";
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "./deps/x509.ts";
import {
  type AttestRequest,
  checkAttestRequest,
  checkPcrData,
  checkPcrIndex,
  type Nsm,
  NSM_LIMITS,
  type NsmDescription,
  NsmError,
  type PcrState,
} from "./nsm.ts";
import { type AttestationDocument, PCR_LENGTH } from "./payload.ts";
import { type ExpectedAttestation, verifyDocumentUnder } from "./verify.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Options of {@link SimulatedNsm.start}. */
export interface SimulatedNsmOptions {
  /** Hex of 96 digits by index 0 to 31. PCRs 0 to 2 that are not given are those of an image that nobody built, 4 is that of the module's instance. */
  readonly pcrs?: Readonly<Record<number, string>> | undefined;
  /** `<instance id>-enc<enclave id>`; made up, unless given. */
  readonly moduleId?: string | undefined;
  /** A module whose root is this one's too: another image, or another instance, under the same hypervisor. */
  readonly sibling?: SimulatedNsm | undefined;
  /** The root; made on the spot, unless given. */
  readonly root?: SimulatedRoot | undefined;
  /** The hypervisor's clock. */
  readonly now?: (() => Date) | undefined;
  /** The device whose presence means an enclave; for tests. */
  readonly nsmDevice?: string | undefined;
}

const ES384 = { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" } as const;
/** From here on a PCR is the enclave's own, to extend and to lock. */
const FIRST_FREE_PCR = 16;
const RANDOM_LENGTH = 256;
const HOUR_MS = 3_600_000;
const CA_MS = 365 * 24 * HOUR_MS;
/** As the hypervisor's: three hours, and a new one in good time. */
const LEAF_MS = 3 * HOUR_MS;
const LEAF_RENEWED_MS = HOUR_MS;
/** A verifier's clock may be behind this one. */
const BACKDATED_MS = 60_000;
const ROOT_NAME = "CN=simulated.nitro-enclaves, OU=Simulated, O=denclave";
const INSTANCE_NAME = "CN=instance.simulated.nitro-enclaves, OU=Simulated, O=denclave";
/** Fields go out in the hypervisor's order. */
const IN_ORDER = { mapSorter: () => 0 } as const;

/** A private key and the certificate of its public half. */
interface Holder {
  readonly certificate: X509Certificate;
  readonly privateKey: CryptoKey;
}

/** The root of simulated modules. */
export type SimulatedRoot = Holder;

/** What a certificate is made from. */
interface Issue {
  readonly subject: string;
  readonly issuer: Holder | undefined;
  readonly from: Date;
  readonly lifeMs: number;
  readonly usages: number;
  /** CA certificates that may come below it; undefined for the certificate that signs documents. */
  readonly pathLength: number | undefined;
  /** Whether the private key can be exported. */
  readonly extractable?: boolean;
}

async function issue(
  { subject, issuer, from, lifeMs, usages, pathLength, extractable = false }: Issue,
): Promise<Holder> {
  const keys = await crypto.subtle.generateKey(ES384, extractable, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject,
    issuer: issuer?.certificate.subject ?? subject,
    notBefore: new Date(from.getTime() - BACKDATED_MS),
    notAfter: new Date(from.getTime() + lifeMs),
    signingAlgorithm: ES384,
    publicKey: keys.publicKey,
    signingKey: (issuer ?? keys).privateKey,
    extensions: [
      new BasicConstraintsExtension(pathLength !== undefined, pathLength, true),
      new KeyUsagesExtension(usages, true),
    ],
  });
  return { certificate, privateKey: keys.privateKey };
}

const CA = { usages: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign } as const;

/** Makes a root that is valid for a year. @param options.extractable whether its key can be kept */
export function makeSimulatedRoot(
  { from, extractable = false }: { readonly from: Date; readonly extractable?: boolean },
): Promise<SimulatedRoot> {
  return issue({
    ...CA,
    from,
    lifeMs: CA_MS,
    subject: ROOT_NAME,
    issuer: undefined,
    pathLength: 1,
    extractable,
  });
}

const derOf = ({ certificate }: Holder): Bytes => new Uint8Array(certificate.rawData);

/** SHA-384(48 zero bytes ‖ data): how a PCR comes to its first value. */
async function measured(data: Uint8Array): Promise<Bytes> {
  return await extended(new Uint8Array(PCR_LENGTH), data);
}

async function extended(value: Uint8Array, data: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-384", new Uint8Array([...value, ...data])));
}

async function firstPcrs({ pcrs = {} }: SimulatedNsmOptions, moduleId: string): Promise<Bytes[]> {
  const values = Array.from({ length: NSM_LIMITS.pcrs }, () => new Uint8Array(PCR_LENGTH));
  const text = (words: string) => measured(new TextEncoder().encode(words));
  for (const index of [0, 1, 2]) values[index] = await text(`simulated PCR${index}`);
  values[4] = await text(moduleId.replace(/-enc.*$/, ""));
  for (const [key, hex] of Object.entries(pcrs)) {
    checkPcrIndex(Number(key));
    const value = decodeHex(hex);
    if (value.length !== PCR_LENGTH) {
      throw new RangeError(`Cannot set PCR ${key} to ${value.length} bytes: it has ${PCR_LENGTH}`);
    }
    values[Number(key)] = value;
  }
  return values;
}

function madeUpModuleId(): string {
  const hex = (length: number) =>
    Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => (byte & 15).toString(16)).join("");
  return `i-${hex(17)}-enc${hex(17)}`;
}

/** The simulated module. */
export class SimulatedNsm implements Nsm {
  /** `<instance id>-enc<enclave id>`. */
  readonly moduleId: string;
  #root: Holder;
  #instance: Holder;
  #leaf: Holder;
  #pcrs: Bytes[];
  #locked = new Set(Array.from({ length: FIRST_FREE_PCR }, (_, index) => index));
  #now: () => Date;
  #disposed = false;

  private constructor(
    options: SimulatedNsmOptions,
    made: {
      readonly moduleId: string;
      readonly root: Holder;
      readonly instance: Holder;
      readonly leaf: Holder;
      readonly pcrs: Bytes[];
    },
  ) {
    this.moduleId = made.moduleId;
    this.#root = made.root;
    this.#instance = made.instance;
    this.#leaf = made.leaf;
    this.#pcrs = made.pcrs;
    this.#now = options.now ?? (() => new Date());
  }

  /**
   * Makes a module with keys of its own.
   *
   * @throws {EnclaveError} `simulated_nsm_refused` where there is an NSM.
   * @throws {RangeError | TypeError} on PCRs that are none.
   */
  static async start(options: SimulatedNsmOptions = {}): Promise<SimulatedNsm> {
    refuseInEnclave(options.nsmDevice ?? NSM_DEVICE);
    const moduleId = options.moduleId ?? madeUpModuleId();
    const pcrs = await firstPcrs(options, moduleId);
    const from = options.now?.() ?? new Date();
    const { sibling } = options;
    const root = options.root ?? (sibling === undefined ? await makeSimulatedRoot({ from }) : sibling.#root);
    const instance = await issue({
      ...CA,
      // No longer than the root, which may be from an earlier run.
      lifeMs: Math.min(CA_MS, root.certificate.notAfter.getTime() - from.getTime()),
      from,
      subject: INSTANCE_NAME,
      issuer: root,
      pathLength: 0,
    });
    const leaf = await issueLeaf(moduleId, instance, from);
    return new SimulatedNsm(options, { moduleId, root, instance, leaf, pcrs });
  }

  /** DER of its root certificate: what a verifier has to be given, since nobody trusts it by itself. */
  get root(): Bytes {
    return derOf(this.#root);
  }

  /** Verifies a document under this module's root, as `verifyDocument` does under AWS's. @throws {AttestationError} */
  verify(document: Uint8Array, expected: ExpectedAttestation = {}): Promise<AttestationDocument> {
    return verifyDocumentUnder(this.root, document, expected);
  }

  async attest(request: AttestRequest = {}): Promise<Bytes> {
    this.#checkLife();
    checkAttestRequest(request);
    const { userData = null, nonce = null, publicKey = null } = request;
    const now = this.#now();
    if (now.getTime() > this.#leaf.certificate.notAfter.getTime() - LEAF_RENEWED_MS) {
      this.#leaf = await issueLeaf(this.moduleId, this.#instance, now);
    }
    const leaf = this.#leaf;
    const locked = this.#lockedPcrs();
    const payload = new Map<string, unknown>([
      ["module_id", this.moduleId],
      ["digest", "SHA384"],
      ["timestamp", now.getTime()],
      ["pcrs", new Map(locked.map((index) => [index, this.#pcr(index)]))],
      ["certificate", derOf(leaf)],
      ["cabundle", [this.root, derOf(this.#instance)]],
      ["public_key", publicKey],
      ["user_data", userData],
      ["nonce", nonce],
    ]);
    return await signSign1(new Uint8Array(encode(payload, IN_ORDER)), leaf.privateKey);
  }

  describe(): Promise<NsmDescription> {
    return this.#answer(() => ({
      version: [1, 0, 0],
      moduleId: this.moduleId,
      maxPcrs: NSM_LIMITS.pcrs,
      lockedPcrs: this.#lockedPcrs(),
      digest: "SHA384",
    }));
  }

  describePcr(index: number): Promise<PcrState> {
    return this.#answer(() => {
      checkPcrIndex(index);
      return { locked: this.#locked.has(index), value: this.#pcr(index) };
    });
  }

  random(): Promise<Bytes> {
    return this.#answer(() => crypto.getRandomValues(new Uint8Array(RANDOM_LENGTH)));
  }

  async extendPcr(index: number, data: Uint8Array): Promise<Bytes> {
    this.#checkLife();
    checkPcrIndex(index);
    checkPcrData(data);
    this.#checkUnlocked("ExtendPCR", index);
    this.#pcrs[index] = await extended(this.#pcr(index), data);
    return this.#pcr(index);
  }

  lockPcr(index: number): Promise<void> {
    return this.#answer(() => {
      checkPcrIndex(index);
      this.#checkUnlocked("LockPCR", index);
      this.#locked.add(index);
    });
  }

  #pcr(index: number): Bytes {
    return new Uint8Array(this.#pcrs[index] ?? new Uint8Array(PCR_LENGTH));
  }

  #lockedPcrs(): number[] {
    return [...this.#locked].sort((a, b) => a - b);
  }

  #checkUnlocked(request: string, index: number): void {
    if (this.#locked.has(index)) {
      throw new NsmError(`The NSM refused ${request}: "ReadOnlyIndex"`, "ReadOnlyIndex");
    }
  }

  #checkLife(): void {
    if (this.#disposed) throw new TypeError("Cannot use the simulated NSM: it was closed");
  }

  // Async, so that what it throws comes as a rejection, as the device's does.
  // deno-lint-ignore require-await
  async #answer<T>(make: () => T): Promise<T> {
    this.#checkLife();
    return make();
  }

  /** It answers nothing more. Its keys cannot be exported, and go with it. */
  [Symbol.dispose](): void {
    this.#disposed = true;
  }
}

function issueLeaf(moduleId: string, issuer: Holder, from: Date): Promise<Holder> {
  return issue({
    subject: `CN=${moduleId}.simulated, OU=Simulated, O=denclave`,
    issuer,
    from,
    lifeMs: LEAF_MS,
    usages: KeyUsageFlags.digitalSignature | KeyUsageFlags.nonRepudiation,
    pathLength: undefined,
  });
}

function refuseInEnclave(device: string): void {
  if (Deno.build.os !== "linux" || !pathExists(device)) return;
  throw new EnclaveError(`The simulated NSM refuses to start: ${device} exists, so this is an enclave`, {
    code: "simulated_nsm_refused",
    hint: "Use the enclave's own module: openNsm() of lib/attestation/nsm.ts.",
  });
}
