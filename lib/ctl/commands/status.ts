/**
 * `denclavectl status`: what `denclavectl up` says of its enclaves.
 *
 * @module
 */
import { get, type IncomingMessage } from "node:http";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { isObject } from "../../shared/json.ts";
import { type Options, refuseValue } from "../../shared/cli/options.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { JSON_OPTION } from "../terminal/options.ts";
import type { CtlIo } from "../terminal/printing.ts";
import type { UpState } from "../up/state.ts";
import { statusTable } from "../up/status.ts";

/** `status` */
export const STATUS: Command = {
  path: "status",
  summary: "show the enclaves that denclavectl up runs",
  usage: "[--address HOST:PORT] [--json]",
  about: `Shows the enclaves that denclavectl up runs on this machine: the phase of each and its reason,
restarts, the session key's epoch and seals, the difference between its clock and this machine's.
Exits with 1 unless all serve.`,
  options: [
    {
      name: "address",
      value: "HOST:PORT",
      default: "127.0.0.1:9464",
      help: "the metrics address of denclavectl up",
    },
    JSON_OPTION,
  ],
  run: status,
};

const TIMEOUT_MS = 5_000;
const MAX_LENGTH = 16_777_216;

async function status(options: Options, io: CtlIo): Promise<number> {
  const address = options.text("address") ?? "";
  if (!/^[\w.-]+:\d{1,5}$|^\[[0-9a-fA-F:.]+\]:\d{1,5}$/.test(address) || !URL.canParse(`http://${address}`)) {
    refuseValue("address", address, "Give a host and a port, such as 127.0.0.1:9464.");
  }
  const url = `http://${address}/status`;
  let state: UpState;
  try {
    state = parseState(await fetchText(url));
  } catch (thrown) {
    throw new EnclaveError(`Cannot read ${url}: ${messageOf(thrown)}`, {
      code: "connect_failed",
      hint: "Check that denclavectl up runs on this machine, and the metrics address in its denclave.yaml.",
      cause: thrown,
    });
  }
  const ok = state.enclaves.every(({ phase }) => phase === "serving");
  return printResult(options, io, { json: state, text: statusTable(state), ok });
}

/** By node:http, since fetch asks the proxy of HTTP_PROXY for loopback too. */
async function fetchText(url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  get(url, { signal: AbortSignal.timeout(TIMEOUT_MS) }, resolve).on("error", reject);
  const response = await promise;
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) {
    text += chunk;
    if (text.length > MAX_LENGTH) throw new RangeError(`the answer is longer than ${MAX_LENGTH} characters`);
  }
  if (response.statusCode !== 200) throw new Error(`it answered ${response.statusCode}`);
  return text;
}

/** What `/status` of a {@link UpState} answers; unknown fields stay. @throws {Error} */
function parseState(text: string): UpState {
  const state: unknown = JSON.parse(text);
  const isState = isObject(state) && typeof state["startedAt"] === "number" &&
    isObject(state["proxy"] ?? {}) &&
    Array.isArray(state["enclaves"]) &&
    state["enclaves"].every((enclave: unknown) =>
      isObject(enclave) && isObject(enclave["restarts"]) && typeof enclave["since"] === "number" &&
      ["name", "phase", "reason"].every((name) => typeof enclave[name] === "string")
    );
  if (isState) return state as unknown as UpState;
  throw new TypeError("the answer is not the state of denclavectl up");
}
