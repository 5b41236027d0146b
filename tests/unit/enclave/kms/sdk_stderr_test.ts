/** Explanations of what the SDK prints. */
import { assert, assertEquals } from "@std/assert";
import { LastLines } from "../../../../lib/enclave/children/last_lines.ts";
import { explain, explainLoss, saysLost } from "../../../../lib/enclave/kms/sdk_process/stderr.ts";

const PROXY = { port: 8000, region: "eu-central-1" };
const failed = (error: string) => `Connection failed with error aws-c-io: ${error}, some words of its own.`;

const CASES: readonly (readonly [string, RegExp])[] = [
  [failed("AWS_IO_SOCKET_CONNECTION_REFUSED"), /^no vsock-proxy on port 8000$/],
  [failed("AWS_IO_SOCKET_NOT_CONNECTED"), /^no vsock-proxy on port 8000$/],
  [failed("AWS_IO_SOCKET_CLOSED"), /^no vsock-proxy on port 8000, or it closed the connection$/],
  [failed("AWS_IO_SOCKET_TIMEOUT"), /^no answer from the parent's port 8000/],
  [failed("AWS_IO_DNS_INVALID_NAME"), /^the name of KMS in eu-central-1 does not resolve$/],
  [failed("AWS_IO_TLS_NEGOTIATION_TIMEOUT"), /^TLS failed: .* did not answer the handshake$/],
  [
    failed("AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE"),
    /another region than eu-central-1, or its CA is not trusted, or it has expired$/,
  ],
  [
    failed("AWS_IO_TLS_ERROR_DEFAULT_TRUST_STORE_NOT_FOUND"),
    /the CA that signed KMS's certificate is not trusted$/,
  ],
  [
    failed("AWS_IO_TLS_CERTIFICATE_EXPIRED"),
    /^TLS failed: the certificate has expired by the enclave's clock/,
  ],
  [failed("AWS_IO_TLS_CERTIFICATE_NOT_YET_VALID"), /or is not valid yet$/],
  ["s2n: Certificate has expired", /^TLS failed: the certificate has expired/],
  [
    "Connection failed with error aws-c-common: AWS_ERROR_SYS_CALL_FAILURE, System call failure",
    /^the vsock-proxy on port 8000 reset the connection$/,
  ],
  [
    // A client that was replaced, and the one that is made.
    `Disconnected.; Connection failed with error aws-c-common: AWS_ERROR_SYS_CALL_FAILURE; ${
      failed("AWS_IO_SOCKET_CONNECTION_REFUSED")
    }`,
    /^no vsock-proxy on port 8000$/,
  ],
  ["s2n: Certificate is untrusted", /the CA that signed KMS's certificate is not trusted$/],
];
for (const [lines, words] of CASES) {
  Deno.test(`the SDK's output is explained: ${lines.slice(0, 90)}`, () => {
    const { cause } = explain(lines, PROXY);
    assert(cause !== undefined && words.test(cause.words), cause?.words);
    assert(cause.hint.length > 0 && !cause.hint.includes("--sdk-"), cause.hint);
  });
}

Deno.test("a hint names KMS's host as the SDK does in that region", () => {
  const hint = explain(failed("AWS_IO_SOCKET_CONNECTION_REFUSED"), { port: 8000, region: "eusc-de-east-1" })
    .cause?.hint;
  assert(hint?.includes("`vsock-proxy 8000 kms.eusc-de-east-1.amazonaws.eu 443`"), hint);
});

Deno.test("output that is unrelated to the connection is not explained", () => {
  for (const lines of ["", "Connected.", "Got non-200 answer from KMS: 400"]) {
    assertEquals(explain(lines, PROXY).cause, undefined);
  }
});

const BROKE =
  "Disconnected.; Connection failed with error aws-c-common: AWS_ERROR_SYS_CALL_FAILURE, System call failure";

for (const [lines, how] of [["Disconnected.", "closed"], ["", "closed"], [BROKE, "was reset"]] as const) {
  Deno.test(`a call is lost when its connection ${how}: ${JSON.stringify(lines.slice(0, 40))}`, () => {
    assertEquals(
      explainLoss(lines, PROXY).cause?.words,
      `the connection through the vsock-proxy on port 8000 ${how} before KMS answered`,
    );
  });
}

const SIGNS: readonly (readonly [string, "making a client" | "a call", boolean])[] = [
  [failed("AWS_IO_SOCKET_CONNECTION_REFUSED"), "making a client", true],
  [failed("AWS_IO_SOCKET_TIMEOUT"), "making a client", true],
  [
    "Connection failed with error aws-c-common: AWS_ERROR_SYS_CALL_FAILURE, System call failure",
    "making a client",
    true,
  ],
  // A client that was replaced.
  ["Disconnected.", "making a client", false],
  [BROKE, "making a client", false],
  // Two that were replaced, whose lines mix.
  [
    "Disconnected.; Disconnected.; Connection failed with error X; Connection failed with error X",
    "making a client",
    false,
  ],
  [`${BROKE}; ${failed("AWS_IO_SOCKET_CONNECTION_REFUSED")}`, "making a client", true],
  ["Connected.", "making a client", false],
  ["", "making a client", false],
  ["Disconnected.", "a call", true],
  [BROKE, "a call", true],
  [`${BROKE}; Connected.`, "a call", false],
  ["Connected.; Disconnected.", "a call", true],
  ["failed to create request.", "a call", true],
  ["Got non-200 answer from KMS: 400", "a call", false],
  ["", "a call", false],
];
for (const [lines, during, isLost] of SIGNS) {
  Deno.test(`${JSON.stringify(lines)} during ${during} is ${isLost ? "a" : "no"} sign of its end`, () => {
    assertEquals(saysLost(lines, during === "making a client"), isLost);
  });
}

Deno.test("lines are few and short, and what could be a key is taken out", () => {
  const lines = new LastLines();
  for (let line = 0; line < 100; line++) lines.add(`line ${line} ${"x ".repeat(300)}\n`);
  assert(lines.toString().length < 8 * 210, String(lines.toString().length));
  lines.clear();
  const token = "FwoGZXIvYXdzEBYaDJmQ3yFmZkNnTEXAMPLETOKEN==";
  lines.add(`half AKIAIOSFODNN7EXAMPLE a`);
  lines.add(`nd ${token}\nAWS_IO_TLS_ERROR_NEGOTIATION_FAILURE`);
  assertEquals(lines.toString(), "half [redacted] and [redacted]; AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE");
});

for (
  const [where, text] of [
    ["the end of a line", `${"so it is: ".repeat(18)}${"abcdefghij".repeat(6)}\n`],
    ["the start of what has no end yet", `${"abcdefghij".repeat(6)} ${"so it is: ".repeat(19)}`],
  ] as const
) {
  Deno.test(`a key that is cut at ${where} leaves no piece`, () => {
    const lines = new LastLines();
    lines.add(text);
    assertEquals(/[a-j]{5}/.test(lines.toString()), false);
  });
}
