/**
 * The enclave's checks of itself: the NSM, debug mode, the clock, random numbers, CA certificates, libraries, memory.
 * `health` shows it, and `denclave self-test` prints it.
 *
 * @module
 */
import type { NitroSdk } from "../../../ffi/sdk.ts";
import { type Aead, NODE_AEAD } from "../../shared/crypto/aead.ts";
import { encodeHex } from "@std/encoding";
import { decode } from "cborg";
import { asBytes } from "../../shared/bytes.ts";
import type { Nsm } from "./nsm.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Measurements } from "../kms/observed.ts";
import { NSM_GENERATOR } from "../server/entropy.ts";

/** One check. */
export interface SelfCheck {
  readonly check: string;
  readonly state: "ok" | "warn" | "fail" | "skipped";
  /** The finding, and what to do about it. */
  readonly seen: string;
}

/** A module, and this machine's clocks. */
export interface Clocks {
  readonly nsm: Pick<Nsm, "attest">;
  readonly now: () => Date;
  /** Milliseconds. */
  readonly monotonic: () => number;
}

/** What the checks look at. */
export interface SelfTestSeams extends Omit<Clocks, "nsm"> {
  readonly nsm: Nsm | undefined;
  readonly kernelGenerator: string | undefined;
  /** A small file's text; undefined when it does not exist. */
  readonly readText: (path: string) => string | undefined;
  readonly exists: (path: string) => boolean;
}

/** The results of the self-test. */
export interface SelfTest {
  readonly checks: readonly SelfCheck[];
  readonly measurements: Measurements | undefined;
}

/** Where the SDK looks for CA certificates (s2n and its build for Amazon Linux and Debian). */
const TRUST_STORES = ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"];
/** Milliseconds by which the clock may be off. KMS allows five minutes. */
const SKEW = { warn: 60_000, fail: 240_000 } as const;
/** After a longer call it is not known when the module read its clock. Milliseconds. */
const MAX_CALL_MS = 250;
/** Below this, the next large message may exhaust the memory. MiB. */
const MEMORY_WARN_MIB = 64;
function checked(check: string, state: SelfCheck["state"], seen: string): SelfCheck {
  return { check, state, seen };
}

const MAX_DOCUMENT_LENGTH = 16 * 1024;
/** COSE_Sign1's. */
const TAG = 18;
const PCR_LENGTH = 48;

/**
 * What a document of this enclave's own module says. It needs no verification: the module is local.
 *
 * @returns with the milliseconds by which this machine's clock is ahead; undefined after a call of more than
 * {@link MAX_CALL_MS}
 * @throws {Error} when it is no document.
 */
export async function readOwnDocument(
  { nsm, now, monotonic }: Clocks,
): Promise<Measurements & { readonly ahead: number | undefined }> {
  const begun = monotonic();
  const document = await nsm.attest();
  const [took, time] = [monotonic() - begun, now().getTime()];
  const parts: unknown = decode(document, { useMaps: true, tags: { [TAG]: (content) => content() } });
  const payload = asBytes(Array.isArray(parts) ? parts[2] : undefined, 1, MAX_DOCUMENT_LENGTH);
  const fields: unknown = payload && decode(payload, { useMaps: true });
  const [timestamp, pcrs] = fields instanceof Map ? [fields.get("timestamp"), fields.get("pcrs")] : [];
  const values: ReadonlyMap<unknown, unknown> = pcrs instanceof Map ? pcrs : new Map();
  const [pcr0, pcr1, pcr2] = [0, 1, 2].map((index) => asBytes(values.get(index), PCR_LENGTH, PCR_LENGTH));
  if (typeof timestamp !== "number" || pcr0 === undefined || pcr1 === undefined || pcr2 === undefined) {
    throw new SyntaxError("The NSM's attestation document lacks its timestamp or PCR 0, 1 or 2");
  }
  return {
    ahead: took > MAX_CALL_MS ? undefined : Math.round(time - timestamp - took / 2),
    pcrs: [encodeHex(pcr0), encodeHex(pcr1), encodeHex(pcr2)],
    // In debug mode they are zero.
    debug: [pcr0, pcr1, pcr2].some((value) => value.every((byte) => byte === 0)),
  };
}

function debugCheck({ debug, pcrs }: Measurements): SelfCheck {
  if (!debug) return checked("debug mode", "ok", `off; PCR0 ${pcrs[0].slice(0, 16)}…`);
  const seen = "PCRs are zeros: its memory can be read, and no sound key policy knows it";
  return checked("debug mode", "fail", `${seen}. Run it without --debug-mode.`);
}

function clockCheck(ahead: number | undefined): SelfCheck {
  if (ahead === undefined) return checked("clock", "skipped", `the NSM took more than ${MAX_CALL_MS} ms`);
  const off = Math.abs(ahead);
  const state = off >= SKEW.fail ? "fail" : off >= SKEW.warn ? "warn" : "ok";
  const remedy = state === "ok" ? "" : ": KMS allows five minutes; use --clock nsm, and look at logs";
  return checked("clock", state, `${off} ms ${ahead < 0 ? "behind" : "ahead of"} the NSM's${remedy}`);
}

async function nsmChecks({ nsm, now, monotonic }: SelfTestSeams): Promise<SelfTest> {
  const without = (check: SelfCheck): SelfTest => ({ measurements: undefined, checks: [check] });
  if (nsm === undefined) return without(checked("NSM", "skipped", "no /dev/nsm: this is not an enclave"));
  try {
    const { moduleId, version } = await nsm.describe();
    const { ahead, ...measurements } = await readOwnDocument({ nsm, now, monotonic });
    const device = checked("NSM", "ok", `${moduleId}, version ${version.join(".")}`);
    return { measurements, checks: [device, debugCheck(measurements), clockCheck(ahead)] };
  } catch (thrown) {
    return without(checked("NSM", "fail", messageOf(thrown)));
  }
}

function entropyCheck(kernelGenerator = "none"): SelfCheck {
  const seen = `the kernel's generator is ${kernelGenerator}`;
  if (kernelGenerator === NSM_GENERATOR) return checked("random numbers", "ok", seen);
  const needed = "keys are made only if the SDK seeded the pool (health, kms.entropy_seeded)";
  return checked("random numbers", "warn", `${seen}: ${needed}`);
}

function trustStoreCheck(exists: SelfTestSeams["exists"]): SelfCheck {
  const found = TRUST_STORES.find((path) => exists(path));
  const seen = found ?? `none of ${TRUST_STORES.join(", ")}: TLS to KMS cannot work`;
  return checked("CA certificates", found === undefined ? "fail" : "ok", seen);
}

/** The machine's memory, or what is left of it. Bytes; undefined where the kernel does not say. */
export function memoryOf(
  readText: SelfTestSeams["readText"],
  name: "MemTotal" | "MemAvailable",
): number | undefined {
  const [, kib] = new RegExp(`^${name}:\\s+([0-9]+) kB$`, "m").exec(readText("/proc/meminfo") ?? "") ?? [];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

function memoryCheck(readText: SelfTestSeams["readText"]): SelfCheck {
  const available = memoryOf(readText, "MemAvailable");
  if (available === undefined) return checked("memory", "skipped", "/proc/meminfo does not say");
  const mib = (bytes: number) => Math.floor(bytes / 2 ** 20);
  const seen = `${mib(available)} of ${mib(memoryOf(readText, "MemTotal") ?? available)} MiB left`;
  if (mib(available) >= MEMORY_WARN_MIB) return checked("memory", "ok", seen);
  return checked("memory", "warn", `${seen}: give the enclave more (nitro-cli run-enclave --memory)`);
}

/** Runs the checks. Never throws. */
export async function runSelfTest(seams: SelfTestSeams): Promise<SelfTest> {
  const { measurements, checks } = await nsmChecks(seams);
  const { kernelGenerator, readText, exists } = seams;
  const others = [entropyCheck(kernelGenerator), trustStoreCheck(exists), memoryCheck(readText)];
  return { measurements, checks: [...checks, ...others] };
}

/** An NSM takes milliseconds to sign: more frequent requests get the last results. */
const RECHECK_MS = 1_000;

/** The checks, run again at each request, at most once a second. */
export function createSelfTest(seams: SelfTestSeams): () => Promise<SelfTest> {
  let last: { readonly at: number; readonly result: Promise<SelfTest> } | undefined;
  return () => {
    const at = seams.monotonic();
    if (last === undefined || at - last.at >= RECHECK_MS) last = { at, result: runSelfTest(seams) };
    return last.result;
  };
}

/**
 * Chooses the AES-256-GCM of a service.
 *
 * @param opened AWS-LC's, of the SDK's libraries; undefined where they do not export it
 */
export function chooseAead(opened: Aead | undefined): { readonly aead: Aead; readonly check: SelfCheck } {
  const seen = opened === undefined
    ? `${NODE_AEAD.name}, which is slow: the SDK's libraries do not export AWS-LC's EVP_AEAD functions`
    : `${opened.name}, of the SDK's libraries`;
  const state = opened === undefined ? "warn" : "ok";
  return { aead: opened ?? NODE_AEAD, check: checked("AES-256-GCM", state, seen) };
}

const SEED_LENGTH = 256;

/**
 * Opens the SDK, and has it seed the kernel's pool from the NSM. Not while a service runs in this process.
 *
 * @param open throws when the libraries are missing
 * @param openAead throws when they are missing, or give wrong results
 */
export function checkLibraries(
  open: () => NitroSdk,
  openAead: () => Aead | undefined,
): readonly SelfCheck[] {
  try {
    const sdk = open();
    const missing = sdk.missingForRequests();
    const requests = missing === undefined
      ? "attested requests; each client's layout is checked when it is made (health, kms.requests)"
      : `the SDK's blocking calls, which can hang on a closed connection: ${missing}`;
    using library = sdk.initLibrary();
    const isSeeded = library.seedEntropy(SEED_LENGTH);
    const seeding = isSeeded ? `${SEED_LENGTH} bytes from the NSM` : "it failed: it works only in an enclave";
    return [
      checked("libraries", "ok", sdk.directory),
      checked("KMS requests", missing === undefined ? "ok" : "warn", requests),
      checked("seeding by the SDK", isSeeded ? "ok" : "warn", seeding),
      chooseAead(openAead()).check,
    ];
  } catch (thrown) {
    return [checked("libraries", "fail", messageOf(thrown))];
  }
}

/** The checks as aligned lines. */
export function formatChecks(checks: readonly SelfCheck[]): string {
  const width = Math.max(...checks.map(({ check }) => check.length));
  const lines = checks.map(({ check, state, seen }) => state.padEnd(8) + check.padEnd(width + 2) + seen);
  return lines.join("\n");
}
