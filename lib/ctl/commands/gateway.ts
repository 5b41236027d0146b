/**
 * `denclavectl gateway init|status|sign|rewrap|restore|verify`.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import { EXIT, type Options, type OptionSpec, UsageError } from "../../shared/cli/options.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { formatAddress } from "../../shared/wire/address.ts";
import type { CredentialSource } from "../aws/credential_source.ts";
import { Client } from "../client/client.ts";
import { type Config, type EnclaveConfig, readConfigFile } from "../config/mod.ts";
import { enclaveMasterKey } from "../gateway/enclave.ts";
import { GatewayError } from "../gateway/errors.ts";
import {
  type GatewayTools,
  initMasterKey,
  masterKeyStatus,
  restoreMasterKey,
  rewrapMasterKey,
  signWithMasterKey,
  verifyMasterKey,
} from "../gateway/gateway.ts";
import { type MasterKeyStore, openMasterKeyStore } from "../gateway/master_key_store.ts";
import { type Origin, type OriginPolicy, originWords } from "../gateway/origin.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { type Command, printResult, required } from "../terminal/command.ts";
import { awsCredentials } from "../terminal/io.ts";
import { EXPECT_OPTIONS, JSON_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { expectedEnclave, namesEnclave } from "./attestation_options.ts";

/** Every command verifies where a key comes from. */
const SHARED_OPTIONS: readonly OptionSpec[] = [
  {
    name: "config",
    env: "DENCLAVE_CONFIG",
    value: "FILE",
    default: "config/development.yaml",
    help: "the configuration file: KMS, enclaves, database",
  },
  {
    name: "enclave",
    value: "ID",
    multiple: true,
    help: "only this enclave of the configuration file (default all)",
  },
  ...EXPECT_OPTIONS,
  {
    name: "accept-unproven-origin",
    value: "ID",
    multiple: true,
    help:
      "accept this enclave's key without proof that an enclave made it; repeat it or separate with commas for more",
  },
  JSON_OPTION,
];

/** The result for one enclave, printed as one line. */
interface Line {
  readonly enclave: number;
  readonly ok: boolean;
  readonly outcome: string;
  readonly fields?: Readonly<Record<string, string | number>>;
  /** Whether it could not be reached. */
  readonly away?: boolean;
}

/** Codes that mean that something is missing or unreachable, as opposed to refused. */
const AWAY: readonly string[] = ["connect_failed", "no_reply", "no_credentials"];

function enclavesOf(config: Config, options: Options): readonly EnclaveConfig[] {
  if (options.text("enclave") === undefined) return config.enclaves;
  return [...new Set(options.list("enclave"))].map((id) => {
    const found = config.enclaves.find(({ enclaveId }) => String(enclaveId) === id);
    if (found !== undefined) return found;
    throw new UsageError(
      `There is no enclave ${JSON.stringify(id)} in ${options.text("config")}`,
      `It has ${config.enclaves.map(({ enclaveId }) => enclaveId).join(", ")}.`,
    );
  });
}

type Outcome = Omit<Line, "enclave">;
/** What a command does with one enclave. */
type Work = (tools: GatewayTools, enclaveId: number) => Promise<Outcome>;

/** For programs. */
function originFields(origin: Origin): Readonly<Record<string, string>> {
  return origin.proven
    ? { origin: "generated", generated_at: origin.generatedAt.toISOString(), origin_pcr0: origin.pcr0 }
    : { origin: "unproven", origin_problem: origin.why };
}

function short(bytes: Uint8Array): string {
  return `${encodeHex(bytes).slice(0, 16)}…`;
}

async function init(
  tools: GatewayTools,
  id: number,
  how: { readonly keyId: string | undefined; readonly allowNew: boolean },
): Promise<Outcome> {
  const { keyId } = how;
  const made = await initMasterKey(tools, id, how);
  const { row, kept, origin } = made;
  const still = kept === 0 ? "" : `; ${kept} replaced row${kept === 1 ? "" : "s"} kept until a restart`;
  const other = keyId?.startsWith("arn:") === true && keyId !== row.kmsKeyId
    ? `; it is under ${row.kmsKeyId}, not the configuration's key (gateway rewrap moves it)`
    : "";
  const publicKey = encodeHex(row.publicKey);
  return {
    ok: true,
    outcome: `${made.how}, epoch ${row.keyEpoch}, public key ${publicKey}${still}${other}; ${
      originWords(origin)
    }`,
    fields: {
      how: made.how,
      key_epoch: row.keyEpoch,
      public_key: publicKey,
      kms_key_id: row.kmsKeyId,
      ...originFields(origin),
    },
  };
}

async function status(tools: GatewayTools, id: number): Promise<Outcome> {
  const { stored, held, kept, ok, origin, words } = await masterKeyStatus(tools, id);
  const row = stored === undefined
    ? "no key stored"
    : `stored: epoch ${stored.keyEpoch}, ${short(stored.publicKey)}, under ${stored.kmsKeyId}`;
  return {
    ok,
    outcome: `${row}${kept === 0 ? "" : ` (${kept} replaced, kept)`}; enclave ${words}${
      origin === undefined ? "" : `; ${originWords(origin)}`
    }`,
    fields: {
      boot_id: held?.boot ?? "",
      held_epoch: held?.keyEpoch ?? 0,
      held_public_key: held === undefined ? "" : encodeHex(held.publicKey),
      stored_epoch: stored?.keyEpoch ?? 0,
      stored_public_key: stored === undefined ? "" : encodeHex(stored.publicKey),
      replaced: kept,
      ...(origin === undefined ? {} : originFields(origin)),
    },
  };
}

function signer(options: Options): Work {
  const digest = options.text("digest") ?? "";
  if (!/^(0x)?[0-9a-fA-F]{64}$/.test(digest)) {
    throw new UsageError(`Cannot use ${JSON.stringify(digest)} for --digest`, "Give 32 bytes, hex.");
  }
  const scheme = options.choice("scheme", ["ecdsa", "schnorr"]);
  return async (tools, id) => {
    const { signature, publicKey } = await signWithMasterKey(tools, id, {
      digest: decodeHex(digest.slice(-64)),
      scheme,
    });
    const fields = { scheme, signature: encodeHex(signature), public_key: encodeHex(publicKey) };
    return { ok: true, outcome: formatFields(fields), fields };
  };
}

/** Runs the command for one enclave. An error becomes its line, and the other enclaves continue. */
async function runOne(
  { enclaveId, address }: EnclaveConfig,
  { config, store, credentials, origin, work }: {
    readonly config: Config;
    readonly store: MasterKeyStore;
    readonly credentials: CredentialSource;
    readonly origin: OriginPolicy;
    readonly work: Work;
  },
): Promise<Line> {
  try {
    const { limits: { connectMs, requestMs } } = config;
    using client = await Client.connect(address, { connectMs, timeoutMs: requestMs });
    const enclave = enclaveMasterKey(enclaveId, client, credentials);
    if (config.kms.enableAttestation && !await enclave.isAttested()) {
      throw new GatewayError(`The service at ${formatAddress(address)} uses a KMS without attestation`, {
        code: "not_attested",
        hint:
          "The configuration requires attestation, but this is a development service: it must neither receive nor create keys.",
      });
    }
    return { enclave: enclaveId, ...await work({ store, enclave, origin }, enclaveId) };
  } catch (thrown) {
    const hint = thrown instanceof EnclaveError && thrown.hint !== undefined ? ` ${thrown.hint}` : "";
    const away = thrown instanceof EnclaveError && AWAY.includes(thrown.code);
    return { enclave: enclaveId, ok: false, away, outcome: `${messageOf(thrown)}.${hint}` };
  }
}

/** How a command differs from the others. */
interface Variant {
  readonly name: string;
  readonly summary: string;
  readonly about: string;
  readonly usage?: string;
  readonly options?: readonly OptionSpec[];
  /** Reads what its own options say. @throws {UsageError} */
  readonly work: (options: Options, config: Config) => Work;
  /** Whether it checks the database as well. */
  readonly checksStore?: boolean;
  /** Whether it is for one enclave, and prints its outcome alone. */
  readonly isSingle?: boolean;
}

async function run(variant: Variant, options: Options, io: CtlIo): Promise<number> {
  const config = await readConfigFile(options.text("config") ?? "");
  const enclaves = enclavesOf(config, options);
  if (variant.isSingle === true && enclaves.length !== 1) {
    throw new UsageError("Which enclave signs?", "Give --enclave.");
  }
  const work = variant.work(options, config);
  const accepted = options.list("accept-unproven-origin");
  const expected = namesEnclave(options) || options.on("insecure-skip-pcrs")
    ? await expectedEnclave(options, io)
    : undefined;
  using store = openMasterKeyStore(config.database.path, {
    create: options.on("new"),
    busyMs: config.limits.databaseMs,
  });
  const credentials = awsCredentials(config.kms.region, io, { deadlineMs: config.limits.credentialsMs });
  const lines: Line[] = [];
  for (const enclave of enclaves) {
    const origin = { expected, acceptUnproven: accepted.includes(String(enclave.enclaveId)) };
    lines.push(await runOne(enclave, { config, store, credentials, origin, work }));
  }
  const problems = variant.checksStore === true ? store.problems() : [];
  const ok = lines.every((line) => line.ok) && problems.length === 0;
  const [only] = lines;
  if (variant.isSingle === true && only?.ok === false && !options.on("json")) {
    io.stderr(`${oneLine(only.outcome)}\n`);
  } else {
    printResult(options, io, {
      json: {
        ok,
        enclaves: lines.map(({ enclave, ok, outcome, fields }) => ({
          enclave_id: enclave,
          ok,
          ...(fields ?? { outcome }),
        })),
        ...(variant.checksStore === true ? { problems } : {}),
      },
      text: variant.isSingle === true ? only?.outcome ?? "" : tableOf(lines, enclaves),
    });
    if (!options.on("json")) {
      for (const problem of problems) io.stderr(`${config.database.path}: ${oneLine(problem)}\n`);
    }
  }
  if (ok) return EXIT.ok;
  const onlyAway = problems.length === 0 && lines.every((line) => line.ok || line.away === true);
  return onlyAway ? EXIT.unavailable : EXIT.failed;
}

function tableOf(lines: readonly Line[], enclaves: readonly EnclaveConfig[]): string {
  const rows = lines.map(({ enclave, ok, outcome }) => {
    const found = enclaves.find(({ enclaveId }) => enclaveId === enclave);
    const address = found === undefined ? "" : formatAddress(found.address);
    return [String(enclave), address, ok ? "ok" : "FAIL", outcome];
  });
  return formatTable(["ENCLAVE", "ADDRESS", "", "OUTCOME"], rows);
}

const VARIANTS: readonly Variant[] = [
  {
    name: "init",
    summary: "send the stored master keys to the enclaves; --new makes them",
    usage: "[--new] -m FILE [options]",
    about:
      `Sends each enclave its stored key; with --new, creates and stores a key for each enclave without one. A key is
accepted if its attestation document shows that a build of -m or --pcr made it. Name old builds too.`,
    options: [{ name: "new", help: "create the database, and a key for each enclave without one" }],
    work: (options, { kms: { keyId } }) => (tools, id) =>
      init(tools, id, { keyId, allowNew: options.on("new") }),
  },
  {
    name: "status",
    summary: "show which keys are stored and which the enclaves hold",
    about:
      "Shows the stored keys, their origin, and the keys that the enclaves hold. Changes nothing and does not call KMS.",
    work: () => status,
  },
  {
    name: "sign",
    summary: "sign a digest with a master key",
    usage: "--enclave ID --digest HEX [options]",
    about: "Has an enclave sign a digest. The signature is verified before it is shown.",
    options: [
      { name: "digest", value: "HEX", help: "sign these 32 bytes" },
      { name: "scheme", value: "NAME", default: "ecdsa", help: "ecdsa (low s) or schnorr (BIP-340)" },
    ],
    work: signer,
    isSingle: true,
  },
  {
    name: "rewrap",
    summary: "move a master key to another KMS key",
    usage: "--to KEY [options]",
    about:
      `Moves a key to another KMS key. The public key stays the same and the epoch increases by one. The old row is kept until the new
one has been opened and has signed after a restart of the enclave (gateway init).`,
    options: [{ name: "to", value: "KEY", help: "the new KMS key, which the enclave must allow" }],
    work: (options) => {
      const to = required(options, "to", "It names the KMS key that should wrap it.");
      return async (tools, id) => {
        const { row: { keyEpoch, kmsKeyId } } = await rewrapMasterKey(tools, id, to);
        return {
          ok: true,
          outcome: `epoch ${keyEpoch}, under ${kmsKeyId}; the old row is kept`,
          fields: { key_epoch: keyEpoch, kms_key_id: kmsKeyId },
        };
      };
    },
  },
  {
    name: "restore",
    summary: "go back to the row before a rewrap",
    about:
      "Goes back to the row before a rewrap, if the new row does not open. The new row is kept in the history.",
    work: () => async (tools, id) => {
      const { keyEpoch, kmsKeyId } = await restoreMasterKey(tools, id);
      return {
        ok: true,
        outcome: `back at epoch ${keyEpoch}, under ${kmsKeyId}`,
        fields: { key_epoch: keyEpoch, kms_key_id: kmsKeyId },
      };
    },
  },
  {
    name: "verify",
    summary: "open every row, sign with every key, check the database",
    about:
      "Verifies the stored documents, opens every row through KMS, signs with every key, and checks the database.",
    work: () => async (tools, id) => {
      const { words, origin } = await verifyMasterKey(tools, id);
      return { ok: true, outcome: `${words}; ${originWords(origin)}` };
    },
    checksStore: true,
  },
];

/** The commands of the group. */
export const GATEWAY_COMMANDS: readonly Command[] = VARIANTS.map((variant) => ({
  path: `gateway ${variant.name}`,
  summary: variant.summary,
  usage: variant.usage ?? "[options]",
  about: variant.about,
  options: [...variant.options ?? [], ...SHARED_OPTIONS],
  run: (options, io) => run(variant, options, io),
}));
