/** `deno task ctl client` as a person runs it: unsealed requests, and what it requires before it seals. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { devLaunch, runCtl } from "../helpers/ctl_process.ts";
import { Folder } from "../helpers/folder.ts";
import { ServiceProcess } from "../helpers/service_process.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const PCR0 = `0=${"ab".repeat(48)}`;
const ZERO_PCR0 = `0=${"00".repeat(48)}`;
const DER = new Uint8Array([
  ...[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20],
  ...new Uint8Array(32).fill(7),
]);
const PEM = `-----BEGIN PRIVATE KEY-----\n${encodeBase64(DER)}\n-----END PRIVATE KEY-----\n`;

const runClient = (args: readonly string[], address: string) =>
  runCtl(["client", ...args], { env: { DENCLAVE_CONNECT: address } });

const CASES: readonly (readonly [string, readonly string[], number, string])[] = [
  ["a ping is answered", ["ping", "--json"], 0, "pong"],
  ["where there is no NSM there is no document", ["attest", "--pcr", PCR0], 1, "attestation_unavailable"],
  ["nothing attests without a PCR", ["attest"], 2, "--pcr"],
  ["PCR4 alone identifies no enclave", ["attest", "--pcr", PCR0.replace("0=", "4=")], 2, "PCR8"],
  [
    "a document may be kept unverified, by name",
    ["attest", "--insecure-skip-verification"],
    1,
    "attestation_unavailable",
  ],
  ["sealing does not trust a PCR0 of zeros", ["ping", "--sealed", "--pcr", ZERO_PCR0], 2, "debug mode"],
  ["and nothing can be sealed", ["ping", "--sealed", "--pcr", PCR0], 1, "attestation_unavailable"],
  [
    "a client's key is read before that",
    ["ping", "--sealed", "--pcr", PCR0, "--client-key-file", "KEY"],
    1,
    "attestation_unavailable",
  ],
  ["sealing needs a PCR", ["ping", "--sealed"], 2, "--pcr"],
  ["a PCR goes with sealing", ["ping", "--pcr", PCR0], 2, "--sealed"],
  ["a client's key goes with sealing", ["ping", "--client-key-file", "KEY"], 2, "--sealed"],
  ["a nonce is base64", ["attest", "--pcr", PCR0, "--nonce", "%"], 2, "--nonce"],
  [
    "a client's key is a key",
    ["ping", "--sealed", "--pcr", PCR0, "--client-key-file", `${ROOT}deno.json`],
    2,
    "private key",
  ],
];

Deno.test("the client reports what it did, or what is missing and which side is at fault", async () => {
  await using folder = await Folder.make({ "key.pem": PEM });
  const { path } = folder;
  await using service = await ServiceProcess.start(devLaunch(["--kms-local-file", `${path}/keys.json`]));
  for (const [what, args, code, words] of CASES) {
    const file = args.map((arg) => arg.replace(/^KEY$/, `${path}/key.pem`));
    const result = await runClient(file, formatAddress(service.address));
    assertEquals(result.code, code, `${what}: ${result.stderr}`);
    assert((code === 0 ? result.stdout : result.stderr).includes(words), `${what}: ${result.stderr}`);
  }
});
