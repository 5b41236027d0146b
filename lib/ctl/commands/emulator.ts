/**
 * `denclavectl emulator serve`: the local KMS emulator, for development. The entry point gives the server: the commands import nothing simulated.
 *
 * @module
 */
import { UsageError } from "../../shared/cli/options.ts";
import type { Command } from "../terminal/command.ts";
import { REGION_OPTION, ROOT_OPTION } from "../terminal/options.ts";

/** `emulator serve` */
export const EMULATOR_SERVE: Command = {
  path: "emulator serve",
  summary: "run a local KMS emulator for development, with attestation",
  usage: "[options]",
  about:
    `A local KMS emulator, for development: Decrypt, Encrypt, GenerateDataKey, GenerateRandom, CreateKey, DescribeKey, ListKeys,
EnableKey, DisableKey, EnableKeyRotation, GetKeyPolicy, PutKeyPolicy, CreateAlias, ListAliases, ListGrants, and STS
GetCallerIdentity. Attestation documents are verified, key policies are evaluated against them, and attested answers are
encrypted to the enclave. Writes one JSON line for each request, as CloudTrail would show it.
Not for secrets: who can read its files or its memory has the keys. deno task rehearse starts it with services that attest.

An access keys file: {"version":1,"accessKeys":[{"accessKeyId":"AKIA...","secretAccessKey":"...",
"arn":"arn:aws:iam::<account>:role/<name>"}]}; for a session add "sessionToken" and "expires" (2026-01-01T00:00:00Z).`,
  options: [
    { name: "listen", value: "ADDRESS", default: "tcp:127.0.0.1:4599", help: "tcp:<host>:<port>" },
    { ...REGION_OPTION, default: "us-east-1" },
    { name: "account", value: "ID", default: "000000000000", help: "AWS account of new keys" },
    {
      name: "tls-dir",
      value: "DIR",
      help: "use TLS, with a CA in this folder: ca.pem, which clients must trust, and ca.key",
    },
    {
      name: "tls-name",
      value: "NAME",
      multiple: true,
      help: "an additional host name or address in the certificate; repeat for more",
    },
    {
      name: "keys-file",
      value: "FILE",
      help: "store keys in this file, mode 0600; without it they are kept in memory",
    },
    {
      name: "policy",
      value: "[KEY=]FILE",
      multiple: true,
      help: "a key policy, for one key or for all keys that exist at the start; repeat for more",
    },
    {
      name: "access-keys",
      value: "FILE",
      help: "check signatures against these access keys: JSON, mode 0600",
    },
    {
      name: "caller",
      value: "ARN",
      help: "the identity of every caller if there are no --access-keys; the default is the account's root",
    },
    ROOT_OPTION,
  ],
  run: async (options, io) => {
    if (io.loadEmulator === undefined) throw new UsageError("This program has no emulator");
    return await (await io.loadEmulator()).serveEmulator(options, io);
  },
};
