/**
 * The HTTP bridge (`denclavectl bridge --listen http://…`) as a stream in raw framing: each write is one
 * POST, and what is read is its reply. Runs in browsers.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { field } from "../../shared/json.ts";
import type { Stream } from "../../shared/wire/address.ts";
import { readPieces } from "./streams.ts";

/**
 * The bridge cannot be reached, or refused a request itself: `code` and `hint` are the bridge's. The request
 * was not carried out, unless the code is `no_reply`.
 */
export class BridgeError extends EnclaveError {
  /** The class. */
  override name = "BridgeError";
}

/** The bridge's refusals are shorter. Bytes. */
const MAX_REFUSAL = 16 * 1024;

/** `fetch` says only that it failed; its cause may say why. */
function whyNot(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  return (cause instanceof Error && cause.message) || messageOf(thrown);
}

async function refusal(url: string, response: Response): Promise<BridgeError> {
  const body = response.body?.getReader();
  const read = readPieces(async () => await body?.read() ?? { done: true });
  const bytes = new Uint8Array(MAX_REFUSAL);
  let error: unknown;
  try {
    let at = 0;
    for (let length; (length = await read(bytes.subarray(at))) !== null && length > 0;) at += length;
    error = field(JSON.parse(new TextDecoder().decode(bytes.subarray(0, at))), "error");
  } catch {
    // Something else than the bridge answered.
  }
  const textOf = (name: string) => {
    const value = field(error, name);
    return typeof value === "string" ? value : undefined;
  };
  const [given, said, hint] = [textOf("code"), textOf("message"), textOf("hint")];
  const message = `${url} refused with status ${response.status}: ${said ?? "it is not a bridge"}`;
  return new BridgeError(message, { code: given ?? "connect_failed", hint });
}

/** A stream to an HTTP bridge. */
export function httpStream(url: string): Stream {
  const closing = new AbortController();
  let reply: Promise<ReadableStreamDefaultReader<Uint8Array> | undefined> = Promise.resolve(undefined);
  const post = async (body: BodyInit) => {
    const request = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: closing.signal,
    };
    const response = await fetch(url, request).catch((thrown) => {
      throw new BridgeError(`Cannot connect to ${url}: ${whyNot(thrown)}`, {
        code: "connect_failed",
        hint: "Check that the bridge runs, and that its --allow-origin names the page's origin.",
        cause: thrown,
      });
    });
    if (!response.ok) throw await refusal(url, response);
    return response.body?.getReader();
  };
  return {
    write: (bytes) => (reply = post(bytes.slice())).then(() => bytes.length),
    read: readPieces(async () => await (await reply)?.read() ?? { done: true }),
    close: () => closing.abort(),
  };
}
