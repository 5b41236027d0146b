/**
 * A server that answers as a test scripts, and records its requests.
 *
 * @module
 */

/** A request as it arrived. */
export interface SeenRequest {
  readonly headers: Headers;
  readonly body: string;
}

/** How a request is answered; the index counts from 0. */
export type Answering = (request: SeenRequest, index: number, raw: Request) => Response | Promise<Response>;

/** A server that runs. */
export interface ScriptedKms extends AsyncDisposable {
  readonly url: string;
  readonly seen: readonly SeenRequest[];
}

/** An answer in KMS's form. */
export function jsonAnswer(
  fields: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(JSON.stringify(fields), {
    status,
    headers: { "content-type": "application/x-amz-json-1.1", ...headers },
  });
}

/** A refusal in KMS's form. */
export function kmsRefusal(name: string, status = 400, message = "words of KMS"): Response {
  return jsonAnswer({ __type: `com.amazonaws.kms#${name}`, message }, status);
}

/** Starts it on a port of its own. */
export function startScriptedKms(answer: Answering): ScriptedKms {
  const seen: SeenRequest[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (raw) => {
    const request = { headers: raw.headers, body: await raw.text() };
    seen.push(request);
    return await answer(request, seen.length - 1, raw);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    seen,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
