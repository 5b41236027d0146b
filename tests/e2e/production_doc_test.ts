/**
 * docs/production.md, run command by command: from no key to a configured enclave and a healthy doctor. KMS is the project's emulator, with the
 * identities of three roles and the policy that the document renders. Stand-ins: `nitro-cli` and `vsock-proxy` (scripts), the SDK's libraries
 * (tests/native), AWS's kernel and init (files with the right first bytes), and the enclave, which is the service over TCP with a simulated NSM
 * that has the measurements of the image that the document builds.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { SimulatedNsm } from "../../lib/dev/nsm/simulated.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { startKmsEmulator } from "../../lib/dev/kms_emulator/server.ts";
import { openAwsKms } from "../../lib/dev/kms/https_api.ts";
import { parseAccessKeys } from "../../lib/dev/kms_emulator/signature.ts";
import { readMeasurements } from "../../lib/ctl/policy/measurements.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { compiledBinary, elfFile, kernelFile, moduleFile } from "../fixtures/elf.ts";
import { LOADER, NEEDED } from "../fixtures/image_inputs.ts";
import {
  type BlockResult,
  commandBlocks,
  freeAddress,
  installCommands,
  runBlock,
  startBlock,
} from "../helpers/documented.ts";
import { Folder } from "../helpers/folder.ts";
import { accessKeysFile } from "../helpers/kms_place.ts";
import { createMotoKey } from "../helpers/moto_kms.ts";
import { hasMoto, startMoto } from "../helpers/peers.ts";
import { startTestService } from "../helpers/test_service.ts";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";

const DOCUMENT = "docs/production.md";
const ROOT = new URL("../../", import.meta.url).pathname;
const LIBRARIES = `${ROOT}tests/native/build`;
const REGION = "us-east-1";
const ACCOUNT = "111122223333";
const arnOf = (name: string) => `arn:aws:iam::${ACCOUNT}:role/${name}`;
/** Who runs the commands below a heading; a build machine has no credentials. */
const ROLES = { administrator: "Admin", parent: "Parent", issuer: "Issuer" } as const;

/** A stand-in that writes down how it was called. */
function standIn(name: string, body: string): string {
  return `#!/bin/bash\n# A stand-in for ${name}, made by tests/e2e/production_doc_test.ts.\nprintf '%s\\n' "${name} $*" >>"\${0%/*}/calls"\n${body}\n`;
}

/** What the packages of a distribution would have put there. */
async function prepare(folder: Folder): Promise<Readonly<Record<string, string>>> {
  await folder.write("blobs/bzImage", kernelFile());
  await folder.write(
    "blobs/bzImage.config",
    "#\n# made\n# Linux/x86_64 4.14.256-209.484.amzn2.x86_64 Kernel Configuration\n",
  );
  await folder.write("blobs/init", elfFile());
  await folder.write("blobs/nsm.ko", moduleFile());
  await folder.write("blobs/cmdline", "reboot=k panic=30\n");
  await folder.write("build/denclave", compiledBinary({ interpreter: LOADER, needed: NEEDED }));
  const enclave = `"EnclaveName":"main","EnclaveID":"i-0-enc1","EnclaveCID":16`;
  const started = `"\${0%/*}/started"`;
  const programs = {
    "nitro-cli": standIn(
      "nitro-cli",
      `case $1 in
  run-enclave) touch ${started}; echo '{${enclave}}' ;;
  terminate-enclave) rm ${started} ;;
  *) [[ ! -e ${started} ]] && echo '[]' || echo '[{${enclave},"State":"RUNNING","Flags":"NONE"}]' ;;
esac`,
    ),
    "vsock-proxy": standIn("vsock-proxy", "sleep infinity"),
    // There is no vsock here: its address is that of the service on TCP.
    denclavectl: standIn(
      "denclavectl",
      `exec "\${0%/*}/../.bin/denclavectl" "\${@/#vsock:16:5000/$DENCLAVE_CONNECT}"`,
    ),
  };
  for (const [name, text] of Object.entries(programs)) {
    await folder.write(`stand-ins/${name}`, text);
    await Deno.chmod(`${folder.path}/stand-ins/${name}`, 0o755);
  }
  const bin = await installCommands(folder.path);
  return {
    PATH: `${folder.path}/stand-ins:${bin}:${Deno.env.get("PATH") ?? ""}`,
    NITRO_CLI_BLOBS: `${folder.path}/blobs`,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CONFIG_FILE: "/nonexistent/config",
    AWS_SHARED_CREDENTIALS_FILE: "/nonexistent/credentials",
    // The environment of a person who works in another region: it changes nothing.
    AWS_REGION: "eu-central-1",
  };
}

function credentialsOf(heading: string): Readonly<Record<string, string>> {
  const [, who = ""] = /\((.*)\)$/.exec(heading) ?? [];
  if (!Object.hasOwn(ROLES, who)) return {};
  const name = ROLES[who as keyof typeof ROLES];
  return { AWS_ACCESS_KEY_ID: `AKIA${name.toUpperCase()}`, AWS_SECRET_ACCESS_KEY: `secret-of-${name}` };
}

/** What a reader of the document has, and what changes on the way. */
interface Reader {
  readonly folder: Folder;
  readonly placeholders: Record<string, string>;
  readonly env: Record<string, string>;
}

async function readerOf(folder: Folder, url: string, admin: string): Promise<Reader> {
  return {
    folder,
    placeholders: {
      "<region>": REGION,
      "<parent role arn>": admin.replace(/:[a-z]+(?:\/.*)?$/, ":role/Parent"),
      "<admin role arn>": admin,
      "<issuer role arn>": admin.replace(/:[a-z]+(?:\/.*)?$/, ":role/Issuer"),
      "<sdk libraries>": LIBRARIES,
      "<ca bundle>": "/etc/ssl/certs/ca-certificates.crt",
    },
    env: { ...await prepare(folder), AWS_ENDPOINT_URL: url },
  };
}

/** Runs the document's blocks in order; each must succeed. */
async function follow(
  { folder, placeholders, env }: Reader,
  onDone: (commands: string) => Promise<void>,
): Promise<(command: string) => string> {
  const results: BlockResult[] = [];
  await using servers = new AsyncDisposableStack();
  for (const block of await commandBlocks(DOCUMENT)) {
    if (block.norun !== undefined) continue;
    const reader = { cwd: folder.path, placeholders, env: { ...env, ...credentialsOf(block.heading) } };
    if (block.background === true) {
      servers.use(await startBlock(block, reader));
      continue;
    }
    const result = await runBlock(block, reader);
    assertEquals(result.code, 0, `${DOCUMENT}:${block.line}\n${result.stdout}${result.stderr}`);
    results.push(result);
    const [, key] = /^key +(arn:\S+)$/m.exec(result.stdout) ?? [];
    if (key !== undefined) placeholders["<key arn>"] = key;
    await onDone(block.commands);
  }
  return (command) => {
    const found = results.find(({ block }) => block.commands.includes(command));
    assert(found !== undefined, command);
    return found.stdout;
  };
}

// The AWS SDK's sockets in a server's process end a moment later.
const unsanitized = { sanitizeOps: false, sanitizeResources: false } as const;

Deno.test({
  name:
    "the production page works as written, from no key to a configured enclave and a doctor that finds no fault",
  ...unsanitized,
  fn: async () => {
    await using stack = new AsyncDisposableStack();
    const folder = stack.use(await Folder.make());
    const hypervisor = stack.use(await SimulatedNsm.start());
    const accessKeys = Object.values(ROLES).map((name) => ({
      accessKeyId: `AKIA${name.toUpperCase()}`,
      secretAccessKey: `secret-of-${name}`,
      arn: arnOf(name),
    }));
    const emulator = stack.use(
      await startKmsEmulator({
        region: REGION,
        account: ACCOUNT,
        root: hypervisor.root,
        accessKeys: parseAccessKeys(accessKeysFile(...accessKeys)),
      }),
    );
    const reader = await readerOf(folder, emulator.url, arnOf("Admin"));
    const { env, placeholders } = reader;

    /** The enclave that an image would be, by its measurements. */
    const boot = async (pcr0?: string) => {
      const [image] = readMeasurements(await Deno.readTextFile(`${folder.path}/build/enclave.json`));
      assert(image !== undefined);
      const pcrs = { 0: pcr0 ?? image.pcr0, 1: image.pcr1, 2: image.pcr2 };
      const nsm = stack.use(await SimulatedNsm.start({ pcrs, sibling: hypervisor }));
      const kms = stack.use(await openAwsKms({ nsm, endpoint: emulator.url }));
      const keys = [parseKeyArn(placeholders["<key arn>"] ?? "")];
      const service = stack.use(
        startTestService({
          kms,
          attester: nsm,
          entropy: { kernelGenerator: "nsm-hwrng", random: HOST_RANDOM },
          keys,
          context: TSK_CONTEXT,
        }),
      );
      return formatAddress(service.address);
    };

    const printed = await follow(reader, async (commands) => {
      if (commands.includes("eif describe")) env["DENCLAVE_CONNECT"] = await boot();
      if (!commands.includes("up --init")) return;
      // There is no vsock here, and other tests may have the ports of the document.
      const [listen, metrics] = [freeAddress(), freeAddress()];
      placeholders["tcp:127.0.0.1:5001"] = `tcp:${listen}`;
      placeholders["denclavectl status"] = `denclavectl status --address ${metrics}`;
      await Deno.writeFile(`${folder.path}/nsm-root.der`, hypervisor.root);
      const file = `${folder.path}/denclave.yaml`;
      const text = (await Deno.readTextFile(file)).replace("127.0.0.1:5001", listen).replace(
        "127.0.0.1:9464",
        metrics,
      )
        .replace("    port: 5000", `    port: 5000\n    connect: ${env["DENCLAVE_CONNECT"]}`);
      await Deno.writeTextFile(file, `${text}root: nsm-root.der\n`);
    });
    assertMatch(printed("policy apply"), /^ok: 0 failed/m);
    assertStringIncludes(printed("policy apply"), "The key has the new policy.");
    assertEquals(((await Deno.stat(`${folder.path}/tsk.hex`)).mode ?? 0) & 0o777, 0o600);
    assertMatch(printed("up --check"), /denclave\.yaml can be used: main$/m);
    assertMatch(printed("denclavectl status"), /^serving .* main +16 /m);
    assertEquals(printed("client process").trim(), "hello");
    const doctor = printed("denclavectl doctor");
    for (const check of ["service", "region", "clock", "credentials", "key", "key-policy", "pcrs"]) {
      assertMatch(doctor, new RegExp(`^ok +${check} `, "m"), doctor);
    }
    const calls = await Deno.readTextFile(`${folder.path}/stand-ins/calls`);
    assertMatch(
      calls,
      /^nitro-cli run-enclave --eif-path \S+\/build\/enclave\.eif --cpu-count 2 --memory 2048 --enclave-name main --enclave-cid 16$/m,
    );
    assertMatch(
      calls,
      /^vsock-proxy --num_workers 20 --config \S+\/vsock-proxy\.yaml 8000 kms\.us-east-1\.amazonaws\.com 443$/m,
    );

    // Another image gets no key, and the parent's role cannot wrap one: so it was the document's policy that let this image in.
    const by = async (heading: string, commands: string, more: Readonly<Record<string, string>> = {}) =>
      await runBlock({ heading, line: 0, norun: undefined, commands }, {
        cwd: folder.path,
        placeholders,
        env: { ...env, ...credentialsOf(heading), ...more },
      });
    const other = await by(
      "(parent)",
      'denclavectl client configure --connect vsock:16:5000 --encrypted-tsk "$(cat tsk.wrapped)"',
      { DENCLAVE_CONNECT: await boot("ab".repeat(48)) },
    );
    assertEquals(other.code, 1);
    assertMatch(other.stderr, /kms_decrypt_failed.*AccessDenied/s);
    const wrapped = await by("(parent)", "denclavectl tsk wrap -k <key arn> --tsk-file tsk.hex");
    assertEquals([wrapped.code === 0, wrapped.stderr.includes("AccessDenied")], [false, true]);
  },
});

Deno.test({
  name: "the README's production section works as written, against moto",
  ignore: !hasMoto(),
  ...unsanitized,
  fn: async () => {
    await using folder = await Folder.make();
    await using moto = await startMoto();
    const { env, placeholders } = await readerOf(folder, moto.url, "arn:aws:iam::123456789012:root");
    const blocks = (await commandBlocks("README.md")).filter(({ heading }) => heading === "In production");
    assertEquals(blocks.length, 1);
    const reader = {
      cwd: folder.path,
      placeholders: { ...placeholders, "<key arn>": await createMotoKey(moto.url) },
      env: { ...env, AWS_ACCESS_KEY_ID: "made-for-tests", AWS_SECRET_ACCESS_KEY: "made-for-tests" },
    };
    for (const block of blocks) {
      const { code, stdout, stderr } = await runBlock(block, reader);
      assertEquals(code, 0, stdout + stderr);
      assertStringIncludes(stdout, "The key has the new policy.");
    }
    assertMatch(await Deno.readTextFile(`${folder.path}/tsk.wrapped`), /^[A-Za-z0-9+/=]{100,}\n$/);
  },
});
