/** Signatures as the emulator checks them: of requests as AWS's clients send them, signed here from AWS's description of the algorithm. */
import { assertEquals, assertRejects } from "@std/assert";
import { createHash, createHmac } from "node:crypto";
import { KmsRefusal } from "../../../../lib/dev/kms_emulator/errors.ts";
import {
  AccessKeys,
  parseAccessKeys,
  type SignedRequest,
} from "../../../../lib/dev/kms_emulator/signature.ts";
import { accessKeysFile, KEYS_FILE, REGION, ROLE, SESSION } from "../../../helpers/kms_place.ts";

const NOW = new Date("2026-06-01T12:00:00Z");
const STAMP = "20260601T120000Z";
const BODY = '{"NumberOfBytes":32}';
const hash = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");

/** Signature Version 4 once more, from AWS's description. */
function sign(
  headers: Readonly<Record<string, string>>,
  { secret = SESSION.secretAccessKey, service = "kms" } = {},
): SignedRequest {
  const names = Object.keys(headers).sort().join(";");
  const canonical = names.split(";").map((name) => `${name}:${headers[name]}\n`).join("");
  const request = ["POST", "/", "", canonical, names, hash(BODY)].join("\n");
  const scope = `20260601/${REGION}/${service}/aws4_request`;
  const hmac = (key: string | Uint8Array, text: string) => createHmac("sha256", key).update(text).digest();
  let key: Uint8Array = hmac(`AWS4${secret}`, "20260601");
  for (const part of [REGION, service, "aws4_request"]) key = hmac(key, part);
  const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hash(request)].join("\n");
  const signature = createHmac("sha256", key).update(text).digest("hex");
  const authorization =
    `AWS4-HMAC-SHA256 Credential=${SESSION.accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  return {
    method: "POST",
    url: `http://${headers["host"]}/`,
    headers: new Headers({ ...headers, authorization, accept: "*/*" }),
    body: new TextEncoder().encode(BODY),
  };
}

const COMMON = {
  "content-type": "application/x-amz-json-1.1",
  host: "localhost:4599",
  "x-amz-date": STAMP,
  "x-amz-security-token": SESSION.sessionToken,
  "x-amz-target": "TrentService.GenerateRandom",
};
/** What each client signs. */
const CLIENTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "AWS's C library in the enclave": { ...COMMON, "content-length": String(BODY.length) },
  "aws4fetch, boto3": COMMON,
  "the AWS SDK for JavaScript": {
    ...COMMON,
    "amz-sdk-invocation-id": "1b671a64-40d5-491e-99b0-da01ff1f3341",
    "amz-sdk-request": "attempt=1; max=3",
    "content-length": String(BODY.length),
    "x-amz-content-sha256": hash(BODY),
    "x-amz-user-agent": "aws-sdk-js/3.0.0",
  },
};

interface Server {
  readonly file?: string;
  readonly region?: string;
  readonly now?: Date;
}
const identify = async (
  request: SignedRequest,
  { file = KEYS_FILE, region = REGION, now = NOW }: Server = {},
) => {
  using keys = new AccessKeys(parseAccessKeys(file), { region, now: () => now });
  return await keys.identify(request, "kms");
};
const refusal = async (request: SignedRequest, server?: Server) =>
  (await assertRejects(() => identify(request, server), KmsRefusal)).kms.name;

/** The request with another body. */
const withBody = (request: SignedRequest, body: string) => ({
  ...request,
  body: new TextEncoder().encode(body),
});
/** The request with another header. */
const withHeader = (request: SignedRequest, name: string, value: string) => {
  const headers = new Headers(request.headers);
  headers.set(name, value);
  return { ...request, headers };
};

for (const [client, headers] of Object.entries(CLIENTS)) {
  Deno.test(`a request as signed by ${client} is accepted, and refused if anything signed was altered`, async () => {
    const request = sign(headers);
    const { caller, accessKeyId } = await identify(request);
    assertEquals([caller.arn, accessKeyId], [ROLE, SESSION.accessKeyId]);
    const altered = [
      withBody(request, BODY.replace("32", "33")),
      { ...request, method: "PUT" },
      { ...request, url: "http://localhost:4600/" },
      { ...request, url: "http://localhost:4599/other" },
      { ...request, url: "http://localhost:4599/?a=b" },
      withHeader(request, "x-amz-more", "1"),
      ...Object.keys(headers).filter((name) => !/^(host|x-amz-(date|security-token))$/.test(name)).map((
        name,
      ) => withHeader(request, name, `${headers[name]}1`)),
      withHeader(request, "x-amz-date", "20260601T120001Z"),
      sign(headers, { secret: "secret-of-the-sessiom" }),
      sign(headers, { service: "sts" }),
    ];
    for (const [index, changed] of altered.entries()) {
      assertEquals(await refusal(changed), "InvalidSignatureException", String(index));
    }
    assertEquals(
      await refusal(withHeader(request, "x-amz-security-token", "token-of-the-sessiom")),
      "UnrecognizedClientException",
    );
  });
}

Deno.test("a body with the hash of another one is refused, although that hash is signed", async () => {
  const request = sign({ ...COMMON, "x-amz-content-sha256": hash(BODY) });
  assertEquals((await identify(request)).caller.arn, ROLE);
  assertEquals(await refusal(withBody(request, "{}")), "InvalidSignatureException");
});

Deno.test("a signature for another region is refused, and one of a clock that is more than five minutes off", async () => {
  const request = sign(COMMON);
  assertEquals(await refusal(request, { region: "us-west-2" }), "InvalidSignatureException");
  for (const [seconds, words] of [[301, "expired"], [-301, "not yet current"]] as const) {
    const now = new Date(NOW.getTime() + seconds * 1000);
    await assertRejects(() => identify(request, { now }), KmsRefusal, words);
  }
  assertEquals((await identify(request, { now: new Date(NOW.getTime() + 300_000) })).caller.arn, ROLE);
});

Deno.test("an expired session is refused by its name", async () => {
  const file = accessKeysFile({ ...SESSION, expires: "2026-06-01T12:00:00Z" });
  assertEquals(await refusal(sign(COMMON), { file }), "ExpiredTokenException");
});

Deno.test("a request without a signature, or with half of one, is refused before it is read", async () => {
  const request = sign(COMMON);
  const headers = new Headers(request.headers);
  headers.delete("authorization");
  assertEquals(await refusal({ ...request, headers }), "MissingAuthenticationTokenException");
  for (
    const authorization of [
      "Bearer a",
      "AWS4-HMAC-SHA256 Credential=a/20260601/us-east-1/kms/aws4_request",
      request.headers.get("authorization")?.replace("/20260601/", "/20260602/") ?? "",
    ]
  ) {
    const half = withHeader(request, "authorization", authorization);
    assertEquals(await refusal(half), "IncompleteSignatureException", authorization);
  }
});
