/**
 * What the workers of examples/workers and the programs of docs/clients.md do: against a service that answers
 * what a test wants, and against the development service.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { decodeHex, encodeHex } from "@std/encoding";
import { HOST_RANDOM } from "../../lib/shared/crypto/host_random.ts";
import { SealingKey } from "../../lib/shared/crypto/sealing.ts";
import { SecretBytes } from "../../lib/shared/crypto/secret_bytes.ts";
import { errorReply, type WireObject } from "../../lib/shared/wire/messages.ts";
import { formatAddress } from "../../lib/shared/wire/address.ts";
import { processBinding } from "../../lib/shared/wire/process_binding.ts";
import { Folder } from "./folder.ts";
import { recordingService } from "./recording_service.ts";
import type { ToolResult } from "./tools.ts";
import { workflowRig } from "./workflow_rig.ts";

/** Runs a worker until its folder has no jobs: address, folder, file of the wrapped key. */
export type RunWorker = (
  args: readonly string[],
  env: Readonly<Record<string, string>>,
) => Promise<ToolResult>;

const ENV = { AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: "secret" };

async function filesOf(folder: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for await (const { name } of Deno.readDir(folder)) {
    found[name] = JSON.parse(await Deno.readTextFile(`${folder}/${name}`));
  }
  return found;
}

/** Backs off, configures, carries out one job, and puts the refused one aside. */
async function followsAnswers(run: RunWorker): Promise<void> {
  const answers: WireObject[] = [
    { ...errorReply("busy", "for a moment") },
    { ...errorReply("not_configured", "no key") },
    { status: "ok", msg: "configured" },
    { status: "ok", result: "02" },
    { ...errorReply("decrypt_failed", "the tag does not match") },
  ];
  await using service = recordingService(() => ({
    ...answers.shift() ?? errorReply("internal_error", "no more"),
  }));
  const jobs = { "queue/1.job": '{"ciphertext":"01"}', "queue/2.job": '{"ciphertext":"ff","bind":false}' };
  await using folder = await Folder.make({ ...jobs, "wrapped.b64": "d3JhcHBlZA==\n" });
  const queue = `${folder.path}/queue`;
  const { code, stderr } = await run([service.address, queue, `${folder.path}/wrapped.b64`, "--once"], ENV);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, "busy");
  const [first, second, configure, third, fourth, ...rest] = service.requests;
  for (const request of [first, second, third]) assertEquals(request, { type: "process", ciphertext: "01" });
  assertEquals(configure?.["encrypted_tsk"], "d3JhcHBlZA==");
  assertEquals((configure?.["credential"] as WireObject)["aws_access_key_id"], "AKID");
  assertEquals(fourth, { type: "process", ciphertext: "ff", bind: false });
  assertEquals(rest, []);
  assertEquals(await filesOf(queue), {
    "1.result": { result: "02" },
    "2.failed": { code: "decrypt_failed", details: "the tag does not match" },
  });
}

/** A key that KMS does not open is not a job's failure. */
async function keepsJobs(run: RunWorker): Promise<void> {
  const answers = [errorReply("not_configured", "no key"), errorReply("kms_decrypt_failed", "AccessDenied")];
  await using service = recordingService(() => ({ ...answers.shift() }));
  const job = { ciphertext: "01" };
  await using folder = await Folder.make({ "queue/1.job": JSON.stringify(job), "wrapped.b64": "AAAA" });
  const queue = `${folder.path}/queue`;
  const { code, stderr } = await run([service.address, queue, `${folder.path}/wrapped.b64`, "--once"], ENV);
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, "kms_decrypt_failed");
  assertEquals(await filesOf(queue), { "1.job": job });
}

/** Carries bound jobs of the data's owner to a real service, and their results back. */
async function carriesSealedJobs(run: RunWorker): Promise<void> {
  await using rig = await workflowRig({ entry: "scripts/dev.ts", flags: ["--bind-process"] });
  const raw = decodeHex((await Deno.readTextFile(rig.tskFile)).trim());
  using key = new SealingKey(new SecretBytes(raw), { random: HOST_RANDOM.fill });
  const id = crypto.getRandomValues(new Uint8Array(16));
  const data = new TextEncoder().encode("grüße".repeat(20_000));
  const blob = key.seal(data, processBinding("request", id));
  const job = { ciphertext: encodeHex(blob), bind: true, request_id: encodeHex(id) };
  await using folder = await Folder.make({ "queue/a.job": JSON.stringify(job), "wrapped.b64": "AAAA" });
  const args = [formatAddress(rig.service.address), `${folder.path}/queue`, `${folder.path}/wrapped.b64`];
  const { code, stderr } = await run([...args, "--once"], ENV);
  assertEquals(code, 0, stderr);
  const { "a.result": done, ...others } = await filesOf(`${folder.path}/queue`);
  assertEquals(others, {});
  const result = decodeHex(String((done as WireObject)["result"]));
  assertEquals(key.open(result, processBinding("reply", id)), data);
}

/** All that a worker does. */
export async function worksAsDescribed(run: RunWorker): Promise<void> {
  await followsAnswers(run);
  await keepsJobs(run);
  await carriesSealedJobs(run);
}

/** The first program of docs/clients.md in a language. */
async function documentedProgram(language: "ts" | "python" | "go"): Promise<string> {
  const document = await Deno.readTextFile(new URL("../../docs/clients.md", import.meta.url));
  const [, program = ""] = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "ms").exec(document) ?? [];
  return program;
}

/**
 * A program of docs/clients.md, in a folder with what it reads, does what the page says.
 *
 * @param run is given the folder, and the program with the service's address in place of the page's
 */
export async function documentedProgramWorks(
  language: "ts" | "python" | "go",
  run: (folder: string, program: string) => Promise<ToolResult>,
): Promise<void> {
  await using rig = await workflowRig({ entry: "scripts/dev.ts" });
  const text = await documentedProgram(language);
  const program = text.replace("tcp:127.0.0.1:5000", formatAddress(rig.service.address));
  assert(program !== text);
  await using folder = await Folder.make({
    "wrapped.b64": `${rig.configure.encrypted_tsk}\n`,
    "tsk.hex": await Deno.readTextFile(rig.tskFile),
  });
  const { code, stdout, stderr } = await run(folder.path, program);
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^hello\n0x[0-9a-f]{130}\n$/);
}
