/**
 * What `up` is to do: `denclave.yaml` with all files that it names, read and checked before anything is
 * started.
 *
 * Permission: to read the files.
 *
 * @module
 */
import { verifyDocument, verifyDocumentOf } from "../../shared/attestation/document.ts";
import { expectationProblem, type ExpectedPcrs } from "../../shared/attestation/expectation.ts";
import { parseKeyArn } from "../../shared/aws/key_arn.ts";
import { kmsHost } from "../../shared/aws/partitions.ts";
import { decodeBase64 } from "@std/encoding";
import { dirname, resolve } from "node:path";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { type Address, formatAddress } from "../../shared/wire/address.ts";
import type { DocumentVerifier } from "../client/key_origin.ts";
import { readConfigText } from "../config/document.ts";
import { type Config, readConfigFile } from "../config/mod.ts";
import { parsePolicyIntent } from "../config/policy_intent.ts";
import { type Measurements, readMeasurements } from "../policy/measurements.ts";
import { readInput, readRoot } from "../terminal/io.ts";
import { parseUpConfig, type UpConfig, type UpEnclave, type UpProxy } from "./config.ts";

/** A session key to send. */
export interface SessionKeyPlan {
  /** Base64, as KMS wrapped it. */
  readonly wrapped: string;
  readonly epoch: number | undefined;
}

/** The master keys of an enclave. */
export interface MasterKeyPlan {
  /** The gateway's configuration. */
  readonly gateway: Config;
  readonly enclaveIds: readonly number[];
  /** Builds that may have made the keys. */
  readonly builds: readonly ExpectedPcrs[];
}

/** What one enclave is to be. */
export interface EnclavePlan {
  readonly enclave: UpEnclave;
  /** Of the only build that gets keys. */
  readonly pcrs: ExpectedPcrs & { readonly 0: string };
  readonly sessionKey: SessionKeyPlan | undefined;
  readonly masterKeys: MasterKeyPlan | undefined;
}

/** What all of it is to be. */
export interface UpPlan {
  readonly config: UpConfig;
  /** ARN of the KMS key. */
  readonly keyArn: string;
  readonly region: string;
  readonly enclaves: readonly EnclavePlan[];
  readonly proxy: (UpProxy & { readonly remote: string }) | undefined;
  /** Verifies documents: under AWS's root, unless the file names one for development. */
  readonly verify: DocumentVerifier;
  /** About settings that are for development. */
  readonly warnings: readonly string[];
}

const MAX_WRAPPED = 8_192;

function refuse(file: string, why: string, hint: string): EnclaveError {
  return new EnclaveError(`Cannot use ${file}: ${why}`, { code: "usage", hint });
}

/** The PCRs of measured images. @throws {EnclaveError} */
async function pcrsOf(file: string): Promise<readonly (ExpectedPcrs & { readonly 0: string })[]> {
  return readMeasurements(await readInput(file), file).map(({ pcr0, pcr1, pcr2, pcr8 }: Measurements) => ({
    0: pcr0,
    1: pcr1,
    2: pcr2,
    ...(pcr8 === undefined ? {} : { 8: pcr8 }),
  }));
}

async function pcrsOfOne(file: string): Promise<ExpectedPcrs & { readonly 0: string }> {
  const [build, ...more] = await pcrsOf(file);
  if (build === undefined || more.length > 0) {
    throw refuse(file, "it has the measurements of several images", "Name those of the one image that runs.");
  }
  const problem = expectationProblem(build);
  if (problem === undefined) return build;
  throw refuse(file, problem, "Measure the image with denclavectl eif describe --json.");
}

async function sessionKeyOf({ sessionKey }: UpEnclave): Promise<SessionKeyPlan | undefined> {
  if (sessionKey === undefined) return undefined;
  const text = (await readInput(sessionKey.wrapped)).trim();
  try {
    if (text.length <= MAX_WRAPPED && decodeBase64(text).length > 0) {
      return { wrapped: text, epoch: sessionKey.epoch };
    }
  } catch {
    // The error below reports it.
  }
  throw refuse(
    sessionKey.wrapped,
    "it is not a wrapped session key",
    "denclavectl tsk create prints one, base64.",
  );
}

/** Where the service of an enclave is, if that is known before it starts. */
export function knownAddress({ connect, cid, port }: UpEnclave): Address | undefined {
  return connect ?? (cid === undefined ? undefined : { transport: "vsock", cid, port });
}

async function masterKeysOf(config: UpConfig, own: readonly ExpectedPcrs[], policyBuilds: readonly string[]) {
  if (config.masterKeys === undefined) return () => undefined;
  const gateway = await readConfigFile(config.masterKeys.gateway);
  const named = await Promise.all([...config.masterKeys.builds, ...policyBuilds].map(pcrsOf));
  const builds = [...own, ...named.flat()];
  const idsOf = (enclave: UpEnclave): readonly number[] => {
    const address = knownAddress(enclave);
    const wanted = address === undefined ? "" : formatAddress(address);
    return gateway.enclaves.filter((one) => formatAddress(one.address) === wanted)
      .map(({ enclaveId }) => enclaveId);
  };
  if (config.enclaves.every((enclave) => idsOf(enclave).length === 0)) {
    throw refuse(
      config.masterKeys.gateway,
      "none of its enclaves has the address of an enclave of this file",
      "Give both files the same CID and port.",
    );
  }
  return (enclave: UpEnclave): MasterKeyPlan | undefined => {
    const enclaveIds = idsOf(enclave);
    return enclaveIds.length === 0 ? undefined : { gateway, enclaveIds, builds };
  };
}

/** Settings that are for development, as warnings. */
function warningsOf({ root, enclaves, metrics }: UpConfig): readonly string[] {
  const direct = enclaves.filter(({ connect }) => connect !== undefined).map(({ name }) => name);
  return [
    ...(root === undefined ? [] : [
      `root: documents are verified under ${root}, not under AWS's root: they do not prove a real enclave`,
    ]),
    ...(direct.length === 0 ? [] : [
      `connect: ${direct.join(", ")} may be no enclave at all: for development alone`,
    ]),
    ...(/^(127\.|localhost$|::1$)/.test(metrics.hostname) ? [] : [
      `metrics: other machines can read ${formatAddress(metrics)}, which has no TLS and asks for no password`,
    ]),
  ];
}

/**
 * Reads `denclave.yaml` and all that it names.
 *
 * @throws {EnclaveError} that names the file, and what is wrong with it.
 */
export async function readPlan(file: string): Promise<UpPlan> {
  const config = parseUpConfig(await readConfigText(file), file);
  const policy = parsePolicyIntent(await readConfigText(config.policy), config.policy);
  const policyBuilds = policy.builds.map((build) => resolve(dirname(config.policy), build));
  const { region } = parseKeyArn(policy.key);
  const pcrs = await Promise.all(config.enclaves.map(({ measurements }) => pcrsOfOne(measurements)));
  const masterKeys = await masterKeysOf(config, pcrs, policyBuilds);
  const enclaves = await Promise.all(config.enclaves.map(async (enclave, index): Promise<EnclavePlan> => ({
    enclave,
    pcrs: pcrs[index] ?? await pcrsOfOne(enclave.measurements),
    sessionKey: await sessionKeyOf(enclave),
    masterKeys: masterKeys(enclave),
  })));
  const root = config.root === undefined ? undefined : await readRoot(config.root);
  for (const { image } of config.enclaves) {
    await Deno.stat(image).catch((thrown) => {
      throw refuse(image, messageOf(thrown), "Build the image, or correct its path in the file.");
    });
  }
  return {
    config,
    keyArn: policy.key,
    region,
    enclaves,
    proxy: config.proxy === undefined
      ? undefined
      : { ...config.proxy, remote: config.proxy.remote ?? kmsHost(region) },
    verify: root === undefined
      ? verifyDocument
      : (document, expected) => verifyDocumentOf(root, document, expected),
    warnings: warningsOf(config),
  };
}
