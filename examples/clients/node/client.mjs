/**
 * A client of denclave in Node 20, without packages: requests go to the HTTP bridge, one POST each, and data is sealed under the session key.
 *
 *     denclavectl bridge --listen http://127.0.0.1:8080 --connect vsock:16:5000
 *     node client.mjs http://127.0.0.1:8080 ping
 *     node client.mjs http://127.0.0.1:8080 process tsk.hex hello
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const TIMEOUT_MS = 65_000;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;

/** The service, or the bridge, answered with an error. `code` is stable. */
export class ServiceError extends Error {
  constructor(code, details) {
    super(`${code}: ${details}`);
    this.code = code;
  }
}

/** Sends a request to the bridge. @throws {ServiceError} */
export async function request(bridge, message) {
  const response = await fetch(bridge, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((problem) => {
    // fetch says only that it failed; its cause says why.
    const cause = problem.cause?.message || problem.cause?.code || problem.message;
    throw new Error(`cannot reach the bridge at ${bridge}: ${cause}`, { cause: problem });
  });
  const reply = await response.json();
  // A request that the bridge itself refuses has another status than 200.
  if (!response.ok) throw new ServiceError(reply.error.code, reply.error.message);
  if (reply.status !== "ok" && reply.apiResponse === undefined) {
    throw new ServiceError(reply.msg, reply.details);
  }
  if (reply.apiResponse === "errorResponse") throw new ServiceError(reply.msg, reply.details);
  return reply;
}

/** The additional data of a blob, 34 bytes. Direction: 1 request, 2 reply. */
function binding(direction, requestId) {
  return Buffer.concat([Buffer.from("denclave-process"), Buffer.from([1, direction]), requestId]);
}

function seal(key, data, additional) {
  const nonce = randomBytes(NONCE_LENGTH);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(additional);
  return Buffer.concat([nonce, cipher.update(data), cipher.final(), cipher.getAuthTag()]);
}

/** @throws {Error} when the blob is not the answer to this request. */
function open(key, blob, additional) {
  const options = { authTagLength: TAG_LENGTH };
  const decipher = createDecipheriv("aes-256-gcm", key, blob.subarray(0, NONCE_LENGTH), options);
  decipher.setAAD(additional).setAuthTag(blob.subarray(-TAG_LENGTH));
  return Buffer.concat([decipher.update(blob.subarray(NONCE_LENGTH, -TAG_LENGTH)), decipher.final()]);
}

/** Seals data under the session key (32 bytes), bound to this request, sends it, and opens the result. */
export async function processData(bridge, key, data) {
  const id = randomBytes(16);
  const { result } = await request(bridge, {
    type: "process",
    ciphertext: seal(key, data, binding(1, id)).toString("hex"),
    bind: true,
    request_id: id.toString("hex"),
  });
  return open(key, Buffer.from(result, "hex"), binding(2, id));
}

async function main([bridge, command, file, data = "", ...more]) {
  if (command === "ping" && file === undefined) return (await request(bridge, { type: "ping" })).msg;
  if (command === "process" && file !== undefined && more.length === 0) {
    const key = Buffer.from((await readFile(file, "ascii")).trim(), "hex");
    return (await processData(bridge, key, Buffer.from(data))).toString();
  }
  throw new Error("usage: client.mjs <bridge> ping | process <tsk file> <data>");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  try {
    console.log(await main(process.argv.slice(2)));
  } catch (problem) {
    console.error(`denclave: ${problem.message}`);
    process.exitCode = 1;
  }
}
