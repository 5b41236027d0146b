/**
 * What a web page can do to a TCP port of its visitor's machine: `fetch(url, {mode: "no-cors", method:
 * "POST", body})` sends any body without asking, and cannot read the answer.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Client } from "../../lib/ctl/client/client.ts";
import type { Address } from "../../lib/shared/wire/address.ts";
import { within } from "./deadline.ts";

const WAIT_MS = 15_000;
const REQUESTS = 23;

/**
 * Sends such a POST in one write, as a browser does, and gives the replies, up to the end of the connection
 * or one for each request.
 */
async function post(address: Address, body: string): Promise<readonly string[]> {
  assert(address.transport === "tcp");
  const { hostname, port } = address;
  const connection = await Deno.connect({ hostname, port });
  const head = [
    "POST / HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Connection: keep-alive",
    `Content-Length: ${body.length}`,
    "Content-Type: text/plain;charset=UTF-8",
    "Accept: */*",
    "Origin: https://page.example",
  ];
  await connection.write(new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n${body}`));
  const replies = async () => {
    let text = "";
    for await (const piece of connection.readable.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.split("\n").length > REQUESTS) break;
    }
    return text.trim().split("\n");
  };
  return await within(replies(), "the end of the connection", WAIT_MS);
}

/**
 * Posts 23 requests to a port, and requires that none is carried out and that the only reply names HTTP.
 *
 * @param service where the service itself can be asked
 */
export async function assertPostCarriesOutNothing(
  address: Address,
  service: Address = address,
): Promise<void> {
  const account = (index: number) =>
    JSON.stringify({
      apiRequest: "generateAccount",
      name: `page-${index}`,
      aws_access_key_id: "AKID",
      aws_secret_access_key: "secret",
    });
  const body = Array.from({ length: REQUESTS }, (_, index) => account(index)).join("\n");
  const replies = await post(address, body);
  assertEquals(replies.map((reply) => JSON.parse(reply)["msg"]), ["invalid_json"]);
  assertStringIncludes(replies[0] ?? "", "does not speak HTTP");
  using client = await Client.connect(service, { timeoutMs: WAIT_MS });
  const { requests } = await client.request({ type: "metrics" });
  assertEquals(Object.keys(requests), ["broken"]);
}
