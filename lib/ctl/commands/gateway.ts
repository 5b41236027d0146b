/**
 * `denclavectl gateway init|status|sign|rewrap|restore|verify`.
 *
 * @module
 */
import { decodeHex, encodeHex } from "@std/encoding";
import {
  EXIT,
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";
import { COMMON_OPTIONS } from "../../shared/cli/options.ts";
import { formatFields, formatTable } from "../terminal/columns.ts";
import { type Config, type EnclaveConfig, readConfigFile } from "../config/mod.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { Client } from "../client/client.ts";
import { CredentialSource } from "../aws/credential_source.ts";
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
import { formatAddress } from "../../shared/wire/address.ts";
import { EXPECT_OPTIONS, expectedEnclave, namesEnclave } from "./attestation_options.ts";
import type { CtlIo } from "../terminal/io.ts";
import { oneLine } from "../terminal/printing.ts";

/** Commands of the group. */
export const GATEWAY_COMMANDS = ["init", "status", "sign", "rewrap", "restore", "verify"] as const;

const SHARED = [
  {
    name: "config",
    env: "DENCLAVE_CONFIG",
    value: "FILE",
    default: "config/development.yaml",
    help: "the configuration file: KMS, enclaves, database",
  },
  {
    name: "enclave",
    short: "e",
    value: "ID",
    multiple: true,
    help: "only this enclave of the configuration file (default all)",
  },
  // Every command verifies where a key comes from.
  ...EXPECT_OPTIONS,
  {
    name: "accept-unproven-origin",
    value: "ID",
    multiple: true,
    help:
      "accept this enclave's key without proof that an enclave made it; repeat it or separate with commas for more",
  },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const SPECS = {
  init: [
    { name: "new", help: "create the database, and a key for each enclave without one" },
    ...SHARED,
  ],
  status: SHARED,
  restore: SHARED,
  verify: SHARED,
  sign: [
    { name: "digest", value: "HEX", help: "32 bytes" },
    { name: "scheme", value: "NAME", default: "ecdsa", help: "ecdsa (low s) or schnorr (BIP-340)" },
    ...SHARED,
  ],
  rewrap: [
    { name: "to", value: "KEY", help: "the new KMS key, which the enclave must allow" },
    ...SHARED,
  ],
} as const satisfies Record<(typeof GATEWAY_COMMANDS)[number], readonly OptionSpec[]>;

const ABOUT: Readonly<Record<(typeof GATEWAY_COMMANDS)[number], string>> = {
  init:
    "Sends each enclave its stored key; with --new, creates and stores a key for each enclave without one. A key is\n" +
    "accepted if its attestation document shows that a build of -m or --pcr made it. Name old builds too.",
  restore:
    "Goes back to the row before a rewrap, if the new row does not open. The new row is kept in the history.",
  status:
    "Shows the stored keys, their origin, and the keys that the enclaves hold. Changes nothing and does not call KMS.",
  verify:
    "Verifies the stored documents, opens every row through KMS, signs with every key, and checks the database.",
  sign: "Has an enclave sign a digest. The signature is verified before it is shown.",
  rewrap:
    "Moves a key to another KMS key. The public key stays the same and the epoch increases by one. The old row is kept until the new\n" +
    "one has been opened and has signed after a restart of the enclave (gateway init).",
};

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

function credentialsOf(config: Config, io: CtlIo): CredentialSource {
  const { kms, limits } = config;
  let chain: ReturnType<typeof import("../aws/provider_chain.ts").providerChain> | undefined;
  return new CredentialSource(async () => {
    const { providerChain } = await import("../aws/provider_chain.ts");
    chain ??= providerChain(kms.region);
    return await chain();
  }, { deadlineMs: limits.credentialsMs, profile: io.env("AWS_PROFILE") || undefined });
}

/** What a command does with one enclave. */
type Work = (tools: GatewayTools, enclaveId: number) => Promise<Omit<Line, "enclave">>;

/** For programs. */
function originFields(origin: Origin): Readonly<Record<string, string>> {
  return origin.proven
    ? { origin: "generated", generated_at: origin.generatedAt.toISOString(), origin_pcr0: origin.pcr0 }
    : { origin: "unproven", origin_problem: origin.why };
}

function short(bytes: Uint8Array): string {
  return `${encodeHex(bytes).slice(0, 16)}…`;
}

function workOf(command: (typeof GATEWAY_COMMANDS)[number], config: Config, options: Options): Work {
  switch (command) {
    case "init":
      return async (tools, id) => {
        const { keyId } = config.kms;
        const { how, row, kept, origin } = await initMasterKey(tools, id, {
          keyId,
          allowNew: options.on("new"),
        });
        const still = kept === 0 ? "" : `; ${kept} replaced row${kept === 1 ? "" : "s"} kept until a restart`;
        const other = keyId?.startsWith("arn:") === true && keyId !== row.kmsKeyId
          ? `; it is under ${row.kmsKeyId}, not the configuration's key (gateway rewrap moves it)`
          : "";
        return {
          ok: true,
          outcome: `${how}, epoch ${row.keyEpoch}, public key ${encodeHex(row.publicKey)}${still}${other}; ${
            originWords(origin)
          }`,
          fields: {
            how,
            key_epoch: row.keyEpoch,
            public_key: encodeHex(row.publicKey),
            kms_key_id: row.kmsKeyId,
            ...originFields(origin),
          },
        };
      };
    case "restore":
      return async (tools, id) => {
        const row = await restoreMasterKey(tools, id);
        return {
          ok: true,
          outcome: `back at epoch ${row.keyEpoch}, under ${row.kmsKeyId}`,
          fields: { key_epoch: row.keyEpoch, kms_key_id: row.kmsKeyId },
        };
      };
    case "verify":
      return async (tools, id) => {
        const { words, origin } = await verifyMasterKey(tools, id);
        return { ok: true, outcome: `${words}; ${originWords(origin)}` };
      };
    case "status":
      return async (tools, id) => {
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
      };
    case "rewrap": {
      const to = options.text("to");
      if (to === undefined) throw new UsageError("Which KMS key should wrap it?", "Give --to <key arn>.");
      return async (tools, id) => {
        const { row } = await rewrapMasterKey(tools, id, to);
        return {
          ok: true,
          outcome: `epoch ${row.keyEpoch}, under ${row.kmsKeyId}; the old row is kept`,
          fields: { key_epoch: row.keyEpoch, kms_key_id: row.kmsKeyId },
        };
      };
    }
    case "sign": {
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
    default:
      return command satisfies never;
  }
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

/** Runs a command of the group. */
export async function runGateway(command: string, argv: readonly string[], io: CtlIo): Promise<number> {
  const known = GATEWAY_COMMANDS.find((each) => each === command);
  if (known === undefined) throw new UsageError(`Unknown command ${JSON.stringify(command)}`);
  const specs = SPECS[known];
  const options = parseOptions(specs, argv, io.env);
  if (options.on("help")) {
    const usage = `usage: denclavectl gateway ${known} [options]\n\n${ABOUT[known]}\n\n`;
    return io.stdout(`${usage}${helpLines(specs)}\n`), EXIT.ok;
  }
  const config = await readConfigFile(options.text("config") ?? "");
  const enclaves = enclavesOf(config, options);
  if (known === "sign" && enclaves.length !== 1) {
    throw new UsageError("Which enclave signs?", "Give --enclave.");
  }
  const work = workOf(known, config, options);
  const accepted = options.list("accept-unproven-origin");
  const expected = namesEnclave(options) || options.on("insecure-skip-pcrs")
    ? await expectedEnclave(options, io)
    : undefined;
  const create = known === "init" && options.on("new");
  using store = openMasterKeyStore(config.database.path, { create, busyMs: config.limits.databaseMs });
  const credentials = credentialsOf(config, io);
  const lines: Line[] = [];
  for (const enclave of enclaves) {
    const origin = { expected, acceptUnproven: accepted.includes(String(enclave.enclaveId)) };
    lines.push(await runOne(enclave, { config, store, credentials, origin, work }));
  }
  const problems = known === "verify" ? store.problems() : [];
  const ok = lines.every((line) => line.ok) && problems.length === 0;
  print({ command: known, lines, problems, config, ok }, options.on("json"), io);
  if (ok) return EXIT.ok;
  const onlyAway = problems.length === 0 && lines.every((line) => line.ok || line.away === true);
  return onlyAway ? EXIT.unavailable : EXIT.failed;
}

function print(
  { command, lines, problems, config, ok }: {
    readonly command: string;
    readonly lines: readonly Line[];
    readonly problems: readonly string[];
    readonly config: Config;
    readonly ok: boolean;
  },
  json: boolean,
  io: CtlIo,
): void {
  if (json) {
    const enclaves = lines.map(({ enclave, ok: fine, outcome, fields }) => ({
      enclave_id: enclave,
      ok: fine,
      ...(fields ?? { outcome }),
    }));
    io.stdout(
      `${JSON.stringify({ ok, enclaves, ...(command === "verify" ? { problems } : {}) }, null, 2)}\n`,
    );
    return;
  }
  const [only] = lines;
  if (command === "sign" && only !== undefined) {
    if (only.ok) io.stdout(`${only.outcome}\n`);
    else io.stderr(`${oneLine(only.outcome)}\n`);
    return;
  }
  const address = (id: number) => {
    const found = config.enclaves.find(({ enclaveId }) => enclaveId === id);
    return found === undefined ? "" : formatAddress(found.address);
  };
  io.stdout(`${
    formatTable(
      ["ENCLAVE", "ADDRESS", "", "OUTCOME"],
      lines.map((
        line,
      ) => [String(line.enclave), address(line.enclave), line.ok ? "ok" : "FAIL", line.outcome]),
    )
  }\n`);
  for (const problem of problems) io.stderr(`${config.database.path}: ${oneLine(problem)}\n`);
}
