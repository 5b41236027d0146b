/**
 * `denclave.yaml`: what runs on a parent instance. It names the policy file and the gateway's configuration,
 * and repeats nothing of them.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { type Address, parseAddress } from "../../shared/wire/address.ts";
import { type BridgeListen, parseBridgeListen } from "../bridge/bridge.ts";
import { enclaveCid } from "../config/config.ts";
import { parseYaml } from "../config/document.ts";
import { ConfigError, type ConfigProblem } from "../config/errors.ts";
import { attempt, Mismatch, type Parser, Section, text, whole } from "../config/section.ts";
import { MIN_MEMORY_MIB } from "../nitro/memory.ts";

/** An enclave that is to run. Paths are absolute. */
export interface UpEnclave {
  readonly name: string;
  /** The EIF. */
  readonly image: string;
  /** The EIF's measurements. */
  readonly measurements: string;
  readonly cpus: number;
  readonly memoryMib: number;
  /** Undefined: nitro-cli chooses one at each start. */
  readonly cid: number | undefined;
  /** The service's vsock port. */
  readonly port: number;
  /** For development: where the service is, when it is not in an enclave. */
  readonly connect: Address | undefined;
  readonly sessionKey: { readonly wrapped: string; readonly epoch: number | undefined } | undefined;
  /** Where clients reach it. */
  readonly listen: readonly BridgeListen[];
  /** Undefined: no restarts on a schedule. */
  readonly restartHours: number | undefined;
}

/** The vsock-proxy that is to run. */
export interface UpProxy {
  readonly port: number;
  /** Undefined: KMS in the region of the policy file's key. */
  readonly remote: string | undefined;
  readonly workers: number;
  /** The allow-list. */
  readonly config: string;
}

/** Times, milliseconds. */
export interface UpLimits {
  /** Between two questions about the health of an enclave. */
  readonly healthMs: number;
  /** From the start of an enclave to its service's first reply. */
  readonly startMs: number;
  /** A request to an enclave, KMS calls included. */
  readonly requestMs: number;
  /** The first pause between two attempts; it doubles. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** After this long in health, the next pause is the first one again. */
  readonly steadyMs: number;
}

/** The parsed and checked file. Paths are absolute. */
export interface UpConfig {
  /** `denclave-policy.yaml`: the KMS key and the builds. */
  readonly policy: string;
  /** One at least; names, CIDs and listeners differ. */
  readonly enclaves: readonly UpEnclave[];
  /** Undefined: another program runs one. */
  readonly proxy: UpProxy | undefined;
  /**
   * The gateway's configuration file, and measurements of builds that made keys, beside the policy file's.
   */
  readonly masterKeys: { readonly gateway: string; readonly builds: readonly string[] } | undefined;
  readonly metrics: Extract<Address, { transport: "tcp" }>;
  /** For development: the root certificate of a simulated NSM. */
  readonly root: string | undefined;
  readonly limits: UpLimits;
}

const MAX_ENCLAVES = 8;
const MAX_PATH = 4096;
const MAX_PORT = 0xffff_fffe;
const MAX_MS = 86_400_000;
const MAX_HOURS = 8_760;
const DEFAULT_METRICS: UpConfig["metrics"] = { transport: "tcp", hostname: "127.0.0.1", port: 9464 };
const HINT = "denclavectl up --init writes a file; docs/operations.md has every field.";

const enclaveName: Parser<string> = (value) =>
  typeof value === "string" && /^[a-z][a-z0-9-]{0,31}$/.test(value)
    ? value
    : new Mismatch("must be a name of small letters, digits and hyphens, at most 32");

const cidOrAuto: Parser<number | undefined> = (value) => value === "auto" ? undefined : enclaveCid(value);

const hostName: Parser<string | undefined> = (value) =>
  typeof value === "string" && /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(value)
    ? value
    : new Mismatch("must be a host name, such as kms.us-east-1.amazonaws.com");

const bridgeListen: Parser<BridgeListen> = (value) =>
  attempt(() => parseBridgeListen(String(value), parseAddress));

const tcpAddress: Parser<UpConfig["metrics"]> = (value) => {
  const address = attempt(() => parseAddress(`tcp:${value}`));
  return address instanceof Mismatch || address.transport !== "tcp"
    ? new Mismatch("must be <host>:<port>, such as 127.0.0.1:9464")
    : address;
};

/**
 * Parses the file.
 *
 * @param file its path; paths in it are relative to its folder
 * @throws {ConfigError} with every problem, its line and column.
 */
export function parseUpConfig(source: string, file: string): UpConfig {
  const problems: ConfigProblem[] = [];
  const root = Section.open(parseYaml(source, file), {
    path: "",
    known: ["policy", "enclaves", "proxy", "master_keys", "metrics", "root", "limits"],
    problems,
  });
  const path: Parser<string> = (value) => {
    const given = text(MAX_PATH)(value);
    return given instanceof Mismatch ? given : resolve(dirname(file), given);
  };
  const config: UpConfig = {
    policy: root.required("policy", path, "").value,
    enclaves: readEnclaves(root, path),
    proxy: root.has("proxy")
      ? readProxy(root.section("proxy", ["port", "remote", "workers", "config"]), path)
      : undefined,
    masterKeys: readMasterKeys(root, path),
    metrics: root.optional<UpConfig["metrics"]>("metrics", tcpAddress, DEFAULT_METRICS).value,
    root: root.optional<string | undefined>("root", path, undefined).value,
    limits: readLimits(root),
  };
  if (problems.length > 0) throw new ConfigError(file, problems, HINT);
  return config;
}

function readEnclaves(root: Section, path: Parser<string>): readonly UpEnclave[] {
  const sections = root.sections("enclaves", [
    ...["name", "image", "measurements", "cpus", "memory", "cid", "port", "connect"],
    ...["session_key", "listen", "restart_hours"],
  ]);
  const list = { at: sections[0]?.at ?? root.at, path: "enclaves" };
  if (!root.has("enclaves")) root.refuse(list, "is missing");
  if (sections.length > MAX_ENCLAVES) {
    root.refuse(list, `has ${sections.length} enclaves, at most ${MAX_ENCLAVES} are taken`);
  }
  const taken = new Map<string, string>();
  const once = (
    section: Section,
    field: { at: Section["at"]; path: string },
    what: string,
    value: string,
  ) => {
    const by = taken.get(`${what} ${value}`);
    if (by !== undefined) section.refuse(field, `must differ from that of ${by}`);
    taken.set(`${what} ${value}`, section.path);
  };
  return sections.slice(0, MAX_ENCLAVES).map((section) => {
    const name = section.required("name", enclaveName, "");
    if (name.value !== "") once(section, name, "name", name.value);
    const cid = section.required<number | undefined>("cid", cidOrAuto, undefined);
    if (cid.value !== undefined) once(section, cid, "cid", String(cid.value));
    const listen = section.texts("listen", bridgeListen);
    for (const field of listen) once(section, field, "listen", JSON.stringify(field.value));
    return {
      name: name.value,
      image: section.required("image", path, "").value,
      measurements: section.required("measurements", path, "").value,
      cpus: section.optional("cpus", whole(1, 4_096), 2).value,
      memoryMib: section.optional("memory", whole(MIN_MEMORY_MIB, 16_777_216), 2_048).value,
      cid: cid.value,
      port: section.optional("port", whole(1, MAX_PORT), 5_000).value,
      connect: section.optional<Address | undefined>(
        "connect",
        (value) => attempt(() => parseAddress(String(value))),
        undefined,
      ).value,
      sessionKey: readSessionKey(section, path),
      listen: listen.map(({ value }) => value),
      restartHours:
        section.optional<number | undefined>("restart_hours", whole(1, MAX_HOURS), undefined).value,
    };
  });
}

function readSessionKey(enclave: Section, path: Parser<string>): UpEnclave["sessionKey"] {
  if (!enclave.has("session_key")) return undefined;
  const section = enclave.section("session_key", ["wrapped", "epoch"]);
  return {
    wrapped: section.required("wrapped", path, "").value,
    epoch: section.optional<number | undefined>("epoch", whole(0, Number.MAX_SAFE_INTEGER), undefined).value,
  };
}

function readProxy(section: Section, path: Parser<string>): UpProxy {
  return {
    port: section.optional("port", whole(1, MAX_PORT), 8_000).value,
    remote: section.optional("remote", hostName, undefined).value,
    workers: section.optional("workers", whole(1, 10_000), 20).value,
    config: section.optional("config", path, "/etc/nitro_enclaves/vsock-proxy.yaml").value,
  };
}

function readMasterKeys(root: Section, path: Parser<string>): UpConfig["masterKeys"] {
  if (!root.has("master_keys")) return undefined;
  const section = root.section("master_keys", ["gateway", "builds"]);
  return {
    gateway: section.required("gateway", path, "").value,
    builds: section.texts("builds", path).map(({ value }) => value),
  };
}

function readLimits(root: Section): UpLimits {
  const names = ["health_ms", "start_ms", "request_ms", "first_pause_ms", "longest_pause_ms", "steady_ms"];
  const limits = root.section("limits", names);
  const ms = (name: string, missing: number) => limits.optional(name, whole(10, MAX_MS), missing).value;
  return {
    healthMs: ms("health_ms", 5_000),
    startMs: ms("start_ms", 120_000),
    requestMs: ms("request_ms", 65_000),
    firstPauseMs: ms("first_pause_ms", 1_000),
    longestPauseMs: ms("longest_pause_ms", 300_000),
    steadyMs: ms("steady_ms", 600_000),
  };
}

/** The file that `up --init` writes. {@link parseUpConfig} reads it. */
export const FIRST_CONFIG =
  `# What runs on this parent instance: denclavectl up reads it. Paths are relative to this file's folder.
policy: denclave-policy.yaml        # names the KMS key and the builds: denclavectl policy init writes it

enclaves:
  - name: main
    image: build/enclave.eif
    measurements: build/enclave.json  # the only build that gets keys: denclavectl eif describe --json
    cpus: 2
    memory: 2048                      # MiB, at least ${MIN_MEMORY_MIB}
    cid: 16                           # or auto
    port: 5000
    session_key:                      # leave it out if the image has no session key service
      wrapped: tsk.wrapped            # what denclavectl tsk create prints
      # epoch: 1                      # for an image with a least epoch: raise it with each new key
    listen:                           # where programs of this instance reach the enclave
      - tcp:127.0.0.1:5001            # any user of this instance can connect
      # - unix:/run/denclave/main.sock  # its owner alone
      # - http://127.0.0.1:8080
    # restart_hours: 20               # restart it on a schedule, one enclave at a time

# AWS's vsock-proxy; leave it out if another program runs it.
proxy:
  port: 8000
  # remote: vpce-0123456789abcdef0-abcdefgh.kms.us-east-1.vpce.amazonaws.com   # by default KMS in the key's region
  config: /etc/nitro_enclaves/vsock-proxy.yaml

# Master keys, by the gateway's configuration file; builds that made keys and left the policy file, for their origin.
# master_keys:
#   gateway: config/production.yaml
#   builds: [build/old.json]

metrics: 127.0.0.1:9464             # /metrics, /healthz, /livez, /status
`;
