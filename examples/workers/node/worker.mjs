/**
 * Takes jobs from a folder, and has the enclave process them: worker.mjs <address> <folder> <wrapped key file> [--once]. Needs the npm package. Node has no vsock:
 * the address is of `denclavectl bridge`.
 */
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, ServiceError } from "@denclave/denclave/client";
import { CredentialSource, requestWithCredentials } from "@denclave/denclave/wallet";

const LATER = ["busy", "workflow_lost", "timeout"];
const LONGEST_WAIT_MS = 30_000;

const [address, folder, keyFile, once] = process.argv.slice(2);
const wrappedKey = (await readFile(keyFile, "utf8")).trim();
const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
const credentials = new CredentialSource(() =>
  Promise.resolve({
    accessKeyId: AWS_ACCESS_KEY_ID,
    secretAccessKey: AWS_SECRET_ACCESS_KEY,
    sessionToken: AWS_SESSION_TOKEN,
  })
);

let client;

async function configure() {
  try {
    await requestWithCredentials(client, credentials, { type: "configure", encrypted_tsk: wrappedKey });
  } catch (problem) {
    if (!(problem instanceof ServiceError) || LATER.includes(problem.code)) throw problem;
    // It is not the job's fault.
    console.error(`Cannot configure the enclave: ${problem.message}`);
    process.exit(1);
  }
}

async function send(job) {
  client ??= await Client.connect(address);
  const request = { type: "process", ...job };
  try {
    return await client.request(request);
  } catch (problem) {
    if (problem.code !== "not_configured") throw problem;
    await configure();
    return await client.request(request);
  }
}

/** The reply, however long that takes. @throws {ServiceError} when the enclave refuses the job. */
async function processJob(job) {
  for (let wait = 100;; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      return await send(job);
    } catch (problem) {
      const isForLater = problem instanceof ServiceError
        ? LATER.includes(problem.code)
        : ["connect_failed", "no_reply"].includes(problem.code);
      if (!isForLater) throw problem;
      console.error(problem.message);
      // After a reply of the service the connection is still good, unless the request took too long.
      if (!(problem instanceof ServiceError) || problem.code === "timeout") {
        client?.close();
        client = undefined;
      }
      await sleep(wait);
    }
  }
}

async function finish(name, ending, content) {
  const path = `${folder}/${name.replace(/\.job$/, "")}`;
  await writeFile(`${path}.tmp`, JSON.stringify(content));
  await rename(`${path}.tmp`, `${path}.${ending}`);
  await rm(`${path}.job`);
}

for (;;) {
  const jobs = (await readdir(folder)).filter((name) => name.endsWith(".job")).sort();
  for (const name of jobs) {
    const job = JSON.parse(await readFile(`${folder}/${name}`, "utf8"));
    try {
      const { result } = await processJob(job);
      await finish(name, "result", { result });
    } catch (problem) {
      if (!(problem instanceof ServiceError)) throw problem;
      await finish(name, "failed", { code: problem.code, details: problem.details });
    }
  }
  if (jobs.length === 0 && once === "--once") break;
  if (jobs.length === 0) await sleep(1_000);
}
client?.close();
