/**
 * `host gateway init|status|sign|rewrap|verify`.
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
} from "../../lib/cli/options.ts";
import { COMMON_OPTIONS } from "../../lib/cli/serve.ts";
import { formatFields, formatTable } from "../../lib/cli/table.ts";
import { type Config, type EnclaveConfig, readConfigFile } from "../../lib/config/mod.ts";
import { EnclaveError, messageOf } from "../../lib/errors.ts";
import { Client } from "../../lib/host/client.ts";
import { CredentialSource } from "../../lib/host/credentials.ts";
import { enclaveMasterKey } from "../../lib/host/gateway/enclave.ts";
import { GatewayError } from "../../lib/host/gateway/errors.ts";
import {
  type GatewayTools,
  initMasterKey,
  rewrapMasterKey,
  signWithMasterKey,
  verifyMasterKey,
} from "../../lib/host/gateway/gateway.ts";
import { type MasterKeyStore, openMasterKeyStore } from "../../lib/host/gateway/master_key_store.ts";
import { formatAddress } from "../../lib/wire/address.ts";
import type { HostIo } from "./io.ts";

/** Commands of the group. */
export const GATEWAY_COMMANDS = ["init", "status", "sign", "rewrap", "verify"] as const;

const SHARED = [
  {
    name: "config",
    env: "CONFIG",
    value: "FILE",
    default: "config/development.yaml",
    help: "which KMS, which enclaves, where the database is",
  },
  {
    name: "enclave",
    short: "e",
    value: "ID",
    multiple: true,
    help: "these of the file's enclaves; by default all",
  },
  { name: "json", help: "print the result as JSON" },
  ...COMMON_OPTIONS,
] as const satisfies readonly OptionSpec[];

const SPECS = {
  init: SHARED,
  status: SHARED,
  verify: SHARED,
  sign: [
    { name: "digest", value: "HEX", help: "32 bytes" },
    { name: "scheme", value: "NAME", default: "ecdsa", help: "ecdsa (low s) or schnorr (BIP-340)" },
    ...SHARED,
  ],
  rewrap: [
    { name: "to", value: "KEY", help: "the KMS key to go to, one that the enclave allows" },
    ...SHARED,
  ],
} as const satisfies Record<(typeof GATEWAY_COMMANDS)[number], readonly OptionSpec[]>;

const ABOUT: Readonly<Record<(typeof GATEWAY_COMMANDS)[number], string>> = {
  init: "Puts each enclave's stored key into it; the first time, has one made and stores it.",
  status: "What is stored, and what the enclaves hold. Changes nothing, asks KMS nothing.",
  verify: "Opens every row by KMS, has every key sign, and checks the database.",
  sign: "Has an enclave sign a digest. The signature is verified before it is shown.",
  rewrap:
    "Moves a key under another KMS key: the same key, the epoch one more. The old row is kept until the new\n" +
    "one has been opened and has signed after a restart of the enclave (gateway init).",
};

/** One line of what came of an enclave. */
interface Line {
  readonly enclave: number;
  readonly ok: boolean;
  readonly outcome: string;
  readonly fields?: Readonly<Record<string, string | number>>;
}

function enclavesOf(config: Config, options: Options): readonly EnclaveConfig[] {
  if (options.text("enclave") === undefined) return config.enclaves;
  return options.list("enclave").map((id) => {
    const found = config.enclaves.find(({ enclaveId }) => String(enclaveId) === id);
    if (found !== undefined) return found;
    throw new GatewayError(`There is no enclave ${JSON.stringify(id)} in ${options.text("config")}`, {
      code: "unknown_enclave",
      hint: `It has ${config.enclaves.map(({ enclaveId }) => enclaveId).join(", ")}.`,
    });
  });
}

function credentialsOf(config: Config): CredentialSource {
  const { kms, limits } = config;
  // The embedded KMS asks nobody who they are.
  if (!kms.enabled) {
    return new CredentialSource(() => Promise.resolve({ accessKeyId: "local", secretAccessKey: "local" }));
  }
  let chain: ReturnType<typeof import("../../lib/host/provider_chain.ts").providerChain> | undefined;
  return new CredentialSource(async () => {
    const { providerChain } = await import("../../lib/host/provider_chain.ts");
    chain ??= providerChain(kms.region);
    return await chain();
  }, { deadlineMs: limits.credentialsMs });
}

/** What a command does with one enclave. */
type Work = (tools: GatewayTools, enclaveId: number) => Promise<Omit<Line, "enclave">>;

function short(bytes: Uint8Array): string {
  return `${encodeHex(bytes).slice(0, 16)}…`;
}

function workOf(command: (typeof GATEWAY_COMMANDS)[number], config: Config, options: Options): Work {
  switch (command) {
    case "init":
      return async (tools, id) => {
        const { how, row, kept } = await initMasterKey(tools, id, config.kms.keyId);
        const still = kept === 0 ? "" : `; ${kept} replaced row${kept === 1 ? "" : "s"} kept until a restart`;
        return {
          ok: true,
          outcome: `${how}, epoch ${row.keyEpoch}, public key ${encodeHex(row.publicKey)}${still}`,
          fields: {
            how,
            key_epoch: row.keyEpoch,
            public_key: encodeHex(row.publicKey),
            kms_key_id: row.kmsKeyId,
          },
        };
      };
    case "verify":
      return async (tools, id) => ({ ok: true, outcome: await verifyMasterKey(tools, id) });
    case "status":
      return async ({ store, enclave }, id) => {
        const row = store.get(id);
        const { initialised, key_epoch, boot_id } = await enclave.state();
        const stored = row === undefined
          ? "no key stored"
          : `stored: epoch ${row.keyEpoch}, ${short(row.publicKey)}, under ${row.kmsKeyId}`;
        const kept = store.history(id).length;
        return {
          ok: row !== undefined && initialised === true,
          outcome: `${stored}${kept === 0 ? "" : ` (${kept} replaced, kept)`}; enclave: ${
            initialised === true ? `holds epoch ${String(key_epoch)}` : "holds no key: gateway init"
          }`,
          fields: {
            boot_id: String(boot_id),
            held_epoch: Number(key_epoch ?? 0),
            stored_epoch: row?.keyEpoch ?? 0,
            replaced: kept,
          },
        };
      };
    case "rewrap": {
      const to = options.text("to");
      if (to === undefined) throw new UsageError("Rewrap under which KMS key?", "Give --to <key arn>.");
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

/** One enclave; what goes wrong with it is its line, and the others go on. */
async function runOne(
  { enclaveId, address }: EnclaveConfig,
  { config, store, credentials, work }: {
    readonly config: Config;
    readonly store: MasterKeyStore;
    readonly credentials: CredentialSource;
    readonly work: Work;
  },
): Promise<Line> {
  try {
    const { limits: { connectMs, requestMs } } = config;
    using client = await Client.connect(address, { connectMs, timeoutMs: requestMs });
    const enclave = enclaveMasterKey(enclaveId, client, credentials);
    return { enclave: enclaveId, ...await work({ store, enclave }, enclaveId) };
  } catch (thrown) {
    const hint = thrown instanceof EnclaveError && thrown.hint !== undefined ? ` ${thrown.hint}` : "";
    return { enclave: enclaveId, ok: false, outcome: `${messageOf(thrown)}.${hint}` };
  }
}

/** Runs a command of the group. */
export async function runGateway(command: string, argv: readonly string[], io: HostIo): Promise<number> {
  const known = GATEWAY_COMMANDS.find((each) => each === command);
  if (known === undefined) throw new UsageError(`Unknown command ${JSON.stringify(command)}`);
  const specs = SPECS[known];
  const options = parseOptions(specs, argv, io.env);
  if (options.on("help")) {
    const usage = `usage: deno task host gateway ${known} [options]\n\n${ABOUT[known]}\n\n`;
    return io.stdout(`${usage}${helpLines(specs)}\n`), EXIT.ok;
  }
  const config = await readConfigFile(options.text("config") ?? "");
  const enclaves = enclavesOf(config, options);
  if (known === "sign" && enclaves.length !== 1) {
    throw new UsageError("Which enclave signs?", "Give --enclave.");
  }
  const work = workOf(known, config, options);
  using store = openMasterKeyStore(config.database.path);
  const credentials = credentialsOf(config);
  const lines: Line[] = [];
  for (const enclave of enclaves) lines.push(await runOne(enclave, { config, store, credentials, work }));
  const problems = known === "verify" ? store.problems() : [];
  const ok = lines.every((line) => line.ok) && problems.length === 0;
  print({ command: known, lines, problems, config, ok }, options.on("json"), io);
  return ok ? EXIT.ok : EXIT.failed;
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
  io: HostIo,
): void {
  if (json) {
    const enclaves = lines.map(({ enclave, ok: fine, outcome, fields }) => ({
      enclave_id: enclave,
      ok: fine,
      ...(fine && fields !== undefined ? fields : { outcome }),
    }));
    io.stdout(
      `${JSON.stringify({ ok, enclaves, ...(command === "verify" ? { problems } : {}) }, null, 2)}\n`,
    );
    return;
  }
  const [only] = lines;
  if (command === "sign" && only !== undefined) {
    (only.ok ? io.stdout : io.stderr)(`${only.outcome}\n`);
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
  for (const problem of problems) io.stderr(`${config.database.path}: ${problem}\n`);
}
