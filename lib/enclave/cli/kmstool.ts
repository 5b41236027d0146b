/**
 * `decrypt`, `genkey` and `genrandom` with the options, output lines and exit codes of AWS's `kmstool_enclave_cli`, so that a caller of
 * that program can switch by changing a path. Unlike that program, it prints the reason of a failure on stderr.
 *
 * @module
 */
import { decodeBase64, encodeBase64 } from "@std/encoding";
import type { NitroSdk } from "../../../ffi/sdk.ts";
import type { KmsCall } from "../kms/aws_ne/calls.ts";
import { kmsCall } from "../kms/aws_ne/one_shot.ts";
import { Credentials } from "../../shared/aws/credentials.ts";
import { KMSTOOL_COMMANDS } from "../../shared/cli/serve_options.ts";
import { EnclaveError } from "../../shared/errors.ts";
import {
  helpLines,
  type Options,
  type OptionSpec,
  parseOptions,
  UsageError,
} from "../../shared/cli/options.ts";

export type KmstoolCommand = typeof KMSTOOL_COMMANDS[number];

/** The process's functions that the drop-in uses. */
export interface KmstoolIo {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Opens the SDK; called only after the options were checked. */
  readonly openSdk: () => NitroSdk;
}

/** Seeds the kernel's pool, as the original does before its first TLS handshake. */
const SEED_LENGTH = 1024;
/** The original returns -1 from main after a failure, so the shell sees 255. */
const EXIT = { ok: 0, usage: 1, failed: 255 } as const;

const SHARED: readonly OptionSpec[] = [
  { name: "region", short: "r", value: "REGION", default: "us-east-1", help: "AWS region to use for KMS" },
  {
    name: "proxy-port",
    short: "x",
    value: "PORT",
    default: "8000",
    help: "port of the parent's vsock-proxy",
  },
  { name: "aws-access-key-id", short: "k", value: "ID", help: "AWS access key id" },
  { name: "aws-secret-access-key", short: "s", value: "SECRET", help: "AWS secret access key" },
  { name: "aws-session-token", short: "t", value: "TOKEN", help: "session token that goes with them" },
];
const HELP: OptionSpec = { name: "help", short: "h", help: "show this and end" };

const KEY_ID = { name: "key-id", short: "K", value: "KEY" } as const;

/** The options of each command. */
export const KMSTOOL_OPTIONS: Readonly<Record<KmstoolCommand, readonly OptionSpec[]>> = {
  decrypt: [
    ...SHARED,
    { name: "ciphertext", short: "c", value: "BASE64", help: "KMS's CiphertextBlob" },
    { ...KEY_ID, help: "the key that must have made it; needs --encryption-algorithm" },
    { name: "encryption-algorithm", short: "a", value: "NAME", help: "such as SYMMETRIC_DEFAULT" },
    HELP,
  ],
  genkey: [
    ...SHARED,
    { ...KEY_ID, help: "the KMS key that wraps the data key" },
    { name: "key-spec", short: "p", value: "SPEC", help: "AES-256 or AES-128" },
    HELP,
  ],
  genrandom: [...SHARED, { name: "length", short: "l", value: "BYTES", help: "1 to 1024" }, HELP],
};

function required(options: Options, name: string): string {
  const value = options.text(name);
  if (value === undefined) throw new UsageError(`--${name} must be set`);
  return value;
}

/** The call that the options describe, checked before the SDK is opened. */
function parseCall(command: KmstoolCommand, options: Options): KmsCall {
  switch (command) {
    case "decrypt": {
      const ciphertext = base64(required(options, "ciphertext"));
      const keyId = options.text("key-id");
      const algorithm = options.text("encryption-algorithm");
      if (keyId !== undefined && algorithm === undefined) {
        const hint = "For a symmetric key: SYMMETRIC_DEFAULT.";
        throw new UsageError("--encryption-algorithm must be set with --key-id", hint);
      }
      return { kind: "decrypt", ciphertext, keyId, algorithm: keyId && algorithm };
    }
    case "genkey": {
      const keyId = required(options, "key-id");
      const spec = required(options, "key-spec");
      if (spec !== "AES-256" && spec !== "AES-128") {
        throw new UsageError(`Unknown key spec: ${spec}`, "Use AES-256 or AES-128.");
      }
      return { kind: "generateDataKey", keyId, keySpec: spec === "AES-256" ? "AES_256" : "AES_128" };
    }
    case "genrandom":
      required(options, "length");
      return { kind: "generateRandom", length: options.number("length", { min: 1, max: 1024 }) };
    default:
      return command satisfies never;
  }
}

function base64(text: string): Uint8Array<ArrayBuffer> {
  try {
    return decodeBase64(text);
  } catch {
    throw new UsageError("--ciphertext is not a base64 string");
  }
}

/**
 * Runs a command.
 *
 * @returns the exit code: 0, 1 for usage, 255 for a failure at run time
 */
export function runKmstool(command: KmstoolCommand, argv: readonly string[], io: KmstoolIo): number {
  const specs = KMSTOOL_OPTIONS[command];
  try {
    const options = parseOptions(specs, argv);
    if (options.on("help")) {
      io.stderr(`usage: denclave ${command} [options]\n\n${helpLines(specs)}\n`);
      return EXIT.usage;
    }
    using credentials = Credentials.fromStrings({
      accessKeyId: required(options, "aws-access-key-id"),
      secretAccessKey: required(options, "aws-secret-access-key"),
      sessionToken: required(options, "aws-session-token"),
    });
    const proxyPort = options.number("proxy-port", { min: 1, max: 65_535 });
    const call = parseCall(command, options);
    const { plaintext, ciphertext } = kmsCall(required(options, "region"), credentials, call, {
      sdk: io.openSdk(),
      proxyPort,
      seedBytes: SEED_LENGTH,
      // This process ends after its call. Destroying the client could crash it before it has printed the result.
      leaveOpen: true,
    });
    using secret = plaintext;
    const wrapped = ciphertext === undefined ? "" : `CIPHERTEXT: ${encodeBase64(ciphertext)}\n`;
    io.stdout(`${wrapped}PLAINTEXT: ${encodeBase64(secret.expose())}\n`);
    return EXIT.ok;
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError)) throw thrown;
    io.stderr(`${thrown.message}\n${thrown.hint === undefined ? "" : `${thrown.hint}\n`}`);
    return thrown instanceof UsageError || thrown.code === "invalid_argument" ? EXIT.usage : EXIT.failed;
  }
}
