/**
 * All that the gold tests and their maker use of the product: when files move, only these imports change.
 *
 * @module
 */
import { parseKeyArn } from "../../../lib/shared/aws/key_arn.ts";
import { Random } from "../../../lib/shared/crypto/random.ts";
import { SecretBytes } from "../../../lib/shared/crypto/secret_bytes.ts";
import { LocalKms } from "../../../lib/dev/kms/local.ts";
import { Client } from "../../../lib/ctl/client/client.ts";
import type { AttestedSubject } from "../../../lib/ctl/client/key_origin.ts";
import type { Attester } from "../../../lib/enclave/server/feature.ts";
import type { WireObject } from "../../../lib/shared/wire/messages.ts";
import { Folder } from "../../helpers/folder.ts";
import { startTestService } from "../../helpers/test_service.ts";

export { SimulatedNsm } from "../../../lib/dev/nsm/simulated.ts";
export { verifyDocumentUnder } from "../../../lib/shared/attestation/verify.ts";
export { hashConfiguration } from "../../../lib/shared/attestation/statement.ts";
export { type KmstoolCommand, runKmstool } from "../../../lib/enclave/cli/kmstool.ts";
export { parseOptions } from "../../../lib/shared/cli/options.ts";
export {
  measuredConfiguration,
  NITRO_OPTIONS,
  readServeConfig,
  SERVE_OPTIONS,
} from "../../../lib/shared/cli/serve_options.ts";
export { buildEif, hashFile } from "../../../lib/ctl/eif/mod.ts";
export { verifyKeyDocument } from "../../../lib/ctl/client/key_origin.ts";
export { exportPublicKey, importPublicKey, keyPairOf } from "../../../lib/shared/sealed/hpke.ts";
export { hashPublicKey } from "../../../lib/shared/sealed/message.ts";
export { sealRequest } from "../../../lib/shared/sealed/seal_request.ts";
export { SealingKey } from "../../../lib/shared/crypto/sealing.ts";
export { ERROR_CODES } from "../../../lib/shared/wire/error_codes.ts";
export { REQUESTS, WALLET_REQUESTS } from "../../../lib/shared/wire/protocol.ts";
export { processBinding } from "../../../lib/shared/wire/process_binding.ts";
export { Folder, SecretBytes, type WireObject };
export { INPUTS as IMAGE_INPUTS } from "../../fixtures/image_inputs.ts";
export { MockSdk } from "../../helpers/mock_sdk.ts";
const GOLD = new URL("../../fixtures/gold/", import.meta.url);

/** The time of every service and document of the gold. */
export const NOW = new Date("2026-01-01T00:00:00Z");
/** In place of the configuration's hash. */
export const CONFIGURATION_HASH = new Uint8Array(32).fill(0xc0);
/** In place of random numbers. */
export const FIXED_FILL = (bytes: Uint8Array) => void bytes.fill(7);

/** How a service of the gold differs from the default. */
export interface Settings {
  readonly requireEpoch?: boolean;
  /** Expects session keys that were wrapped without a context. */
  readonly noContext?: boolean;
  /** Base64 of the only client key. */
  readonly clientKey?: string;
  /** Data keys are a constant, so that new rows are too. */
  readonly fixedDataKey?: boolean;
}

/** Opens the development KMS on a copy of the gold's key file. */
export async function openGoldKms(): Promise<LocalKms> {
  await using folder = await Folder.make();
  const file = `${folder.path}/keys.json`;
  await Deno.writeTextFile(file, await Deno.readTextFile(new URL("kms_keys.json", GOLD)), { mode: 0o600 });
  return await LocalKms.open({ region: "us-east-1", file });
}

const fixedDataKey = () =>
  Promise.resolve({
    plaintext: new SecretBytes(new Uint8Array(32).fill(0x33)),
    ciphertext: new Uint8Array(8).fill(0x44),
  });
/** Gives the user data in place of a document. */
const ECHO: Attester = { attest: ({ userData }) => Promise.resolve(userData) };

/** A service with fixed clock and random numbers on loopback, and a client of it. */
export async function startGold(
  settings: Settings,
  { attester = ECHO }: { readonly attester?: Attester } = {},
) {
  const kms = await openGoldKms();
  if (settings.fixedDataKey) kms.generateDataKey = fixedDataKey;
  const random = new Random({ kernel: FIXED_FILL, nsm: undefined, runtime: FIXED_FILL });
  const clientKeys = settings.clientKey === undefined ? [] : [Uint8Array.fromBase64(settings.clientKey)];
  const service = startTestService({
    kms,
    keys: kms.keyArns.map(parseKeyArn),
    context: settings.noContext ? undefined : { app: "denclave", purpose: "tsk" },
    requireEpoch: settings.requireEpoch ?? false,
    sealed: { required: false, clientKeys, maxAgeMs: 60_000 },
    entropy: { kernelGenerator: undefined, random },
    attester,
    configurationHash: CONFIGURATION_HASH,
    now: () => NOW,
    monotonic: () => 0,
  });
  const client = await Client.connect(service.address, { timeoutMs: 10_000 });
  return {
    ask: (request: WireObject): Promise<WireObject> => client.exchange(structuredClone(request)),
    [Symbol.asyncDispose]: () => {
      client[Symbol.dispose]();
      return service.stop(1_000);
    },
  };
}

/** One service, and what it was asked and answered. */
export interface Conversation {
  readonly title: string;
  readonly settings: Settings;
  readonly exchanges: readonly { readonly request: WireObject; readonly reply: WireObject }[];
}

/** A document about a key, and what it says. Bytes are base64. */
export interface KeyDocument {
  readonly title: string;
  readonly document: string;
  readonly nonce: string;
  readonly subject: Omit<AttestedSubject, "publicPart"> & { readonly publicPart: string };
  readonly previous: string | null;
  readonly origin: "generated" | "opened";
}

/** The contents of gold.json. Bytes are base64. */
export interface Gold {
  readonly commit: string;
  /** DER of the simulated root's certificate. */
  readonly root: string;
  readonly conversations: readonly Conversation[];
  readonly keyDocuments: readonly KeyDocument[];
  readonly attest: { readonly document: string; readonly nonce: string; readonly publicKey: string };
}

/** Reads a committed file. */
export async function readGold<T>(name: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(new URL(name, GOLD)));
}
