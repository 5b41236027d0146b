/**
 * Generates the tables of docs/protocol.md, docs/protocol.schema.json and the clients' copies of the error
 * codes from the tables of `lib/shared/wire`. `deno task docs` writes them; a test checks that they are up to
 * date.
 *
 * @module
 */
import { ERROR_CODES } from "../lib/shared/wire/error_codes.ts";
import { CREDENTIAL_SPELLINGS } from "../lib/shared/wire/messages.ts";
import {
  type FieldSpec,
  type FieldSpecs,
  REQUESTS,
  type RequestSpec,
  WALLET_REQUESTS,
} from "../lib/shared/wire/protocol.ts";

type Json = Readonly<Record<string, unknown>>;

/** The files that are written, from the repository's root. */
export const PROTOCOL_FILES = { document: "docs/protocol.md", schema: "docs/protocol.schema.json" } as const;
/** Copies of the table of error codes, for the clients in other languages. */
export const ERROR_CODE_FILES = [
  "clients/python/denclave/error_codes.json",
  "clients/go/error_codes.json",
] as const;

const WALLET_RESPONSES: Readonly<Record<string, string>> = {
  generateAccount: "generateResponse",
  rewrapAccount: "rewrapResponse",
  sign: "signResponse",
};
const NAMES: readonly (readonly [string, RequestSpec, "type" | "apiRequest"])[] = [
  ...Object.entries(REQUESTS).map(([name, spec]) => [name, spec as RequestSpec, "type"] as const),
  ...Object.entries(WALLET_REQUESTS).map(([name, spec]) =>
    [name, spec as RequestSpec, "apiRequest"] as const
  ),
];

/** The minimum and maximum length of encoded bytes, in characters. Base64 may lack its padding. */
function charactersOf({ bytes, format }: FieldSpec): readonly [number, number] | undefined {
  if (bytes === undefined) return undefined;
  const [min, max] = typeof bytes === "number" ? [bytes, bytes] : bytes;
  if (format === "base64") return [Math.ceil(4 * min / 3), 4 * Math.ceil(max / 3)];
  return format === "0x-hex" ? [2 + 2 * min, 2 + 2 * max] : [2 * min, 2 * max];
}

const PATTERNS: Readonly<Record<string, string>> = {
  hex: "^([0-9a-fA-F]{2})*$",
  "0x-hex": "^0x([0-9a-fA-F]{2})*$",
  base64: "^[A-Za-z0-9+/]*={0,2}$",
};

function fieldSchema(field: FieldSpec): Json {
  const { type, format, values, items, means } = field;
  const [minLength, maxLength] = charactersOf(field) ?? [];
  const types: Readonly<Record<string, unknown>> = { id: ["string", "integer"], any: undefined };
  const jsonType = Object.hasOwn(types, type) ? types[type] : type;
  return {
    description: means,
    ...(jsonType === undefined ? {} : { type: jsonType }),
    ...(format === "date-time" ? { format } : {}),
    ...(format === undefined || PATTERNS[format] === undefined ? {} : { pattern: PATTERNS[format] }),
    ...(minLength === undefined ? {} : { minLength, maxLength }),
    ...(values === undefined ? {} : { enum: values }),
    ...(items === undefined ? {} : { items: { type: items } }),
  };
}

function objectSchema(fields: FieldSpecs, fixed: Json): Json {
  const required = Object.entries(fields).filter(([, { optional }]) => optional !== true).map(([name]) =>
    name
  );
  return {
    type: "object",
    properties: {
      ...fixed,
      ...Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
    },
    required: [...Object.keys(fixed), ...required],
  };
}

function credentialsSchema(): Json {
  const spellings = CREDENTIAL_SPELLINGS.map(([id, secret, token]) => ({
    type: "object",
    properties: {
      [id]: { type: "string", minLength: 1 },
      [secret]: { type: "string", minLength: 1 },
      [token]: { type: "string" },
    },
    required: [id, secret],
  }));
  return {
    description: "AWS credentials, in one of these spellings: at top level, or within `credential`.",
    anyOf: [
      ...spellings,
      { type: "object", properties: { credential: { anyOf: spellings } }, required: ["credential"] },
    ],
  };
}

function requestSchema(name: string, { means, credentials, request }: RequestSpec, by: string): Json {
  const object = { description: means, ...objectSchema(request, { [by]: { const: name } }) };
  return credentials ? { ...object, allOf: [{ $ref: "#/$defs/credentials" }] } : object;
}

function replySchema(name: string, { reply }: RequestSpec, by: string): Json {
  if (by === "type") return objectSchema(reply, { status: { const: "ok" } });
  return {
    type: "object",
    properties: { apiResponse: { const: WALLET_RESPONSES[name] }, content: objectSchema(reply, {}) },
    required: ["apiResponse", "content"],
  };
}

/** The JSON Schema of all requests and replies. */
function protocolSchema(): Json {
  const error = {
    type: "object",
    properties: {
      status: { const: "error" },
      msg: { $ref: "#/$defs/error_code" },
      details: { type: "string", description: "for people" },
      code: { type: "string", description: "with workflow_failed: the workflow's own code" },
      apiResponse: { const: "errorResponse", description: "of the wallet" },
    },
    required: ["status", "msg", "details"],
  };
  const definitions = NAMES.flatMap(([name, spec, by]) => [
    [`request.${name}`, requestSchema(name, spec, by)],
    [`reply.${name}`, replySchema(name, spec, by)],
  ]);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Requests and replies of denclave",
    description:
      "A document is a request; $defs has the reply to each. Further fields are ignored. Made from lib/shared/wire/protocol.ts by `deno task docs`.",
    oneOf: NAMES.map(([name]) => ({ $ref: `#/$defs/request.${name}` })),
    $defs: {
      ...Object.fromEntries(definitions),
      "reply.error": error,
      error_code: {
        oneOf: Object.entries(ERROR_CODES).map(([code, { means, remedy }]) => ({
          const: code,
          description: `${means} ${remedy}`,
        })),
      },
      credentials: credentialsSchema(),
    },
  };
}

function typeWords(field: FieldSpec): string {
  const { type, format, bytes, values, items } = field;
  if (values !== undefined) return values.map((value) => `\`${JSON.stringify(value)}\``).join(" or ");
  const length = bytes === undefined
    ? ""
    : ` of ${typeof bytes === "number" ? bytes : `${bytes[0]} to ${bytes[1]}`} bytes`;
  switch (format) {
    case "hex":
    case "base64":
      return `${format}${length}`;
    case "0x-hex":
      return `\`0x\` and hex${length}`;
    case "date-time":
      return "time, ISO 8601";
    case undefined:
      break;
    default:
      return format satisfies never;
  }
  if (type === "array") return `array of ${items === "string" ? "strings" : "objects"}`;
  if (type === "id") return "string or whole number";
  if (type === "any") return "string or object";
  return type === "integer" ? "whole number" : type;
}

function fieldTable(fields: FieldSpecs, of: string): string {
  const rows = Object.entries(fields).map(([name, field]) =>
    `| \`${name}\`${field.optional ? "?" : ""} | ${typeWords(field)} | ${field.means} |`
  );
  return [`| ${of} | type | |`, "|---|---|---|", ...rows].join("\n");
}

function requestSection([name, spec, by]: typeof NAMES[number]): string {
  const { means, credentials, request, reply } = spec;
  const shown = `{"${by}":"${name}"${Object.keys(request).length > 0 || credentials ? ",…" : ""}}`;
  const answer = by === "type"
    ? '{"status":"ok",…}'
    : `{"apiResponse":"${WALLET_RESPONSES[name]}","content":{…}}`;
  return [
    `### \`${name}\``,
    means,
    `Request \`${shown}\`${credentials ? ", with [credentials](#credentials)" : ""}; reply \`${answer}\`.`,
    ...(Object.keys(request).length === 0 ? [] : [fieldTable(request, "request")]),
    fieldTable(reply, by === "type" ? "reply" : "in `content`"),
  ].join("\n\n");
}

/** The text between the marks of docs/protocol.md, by the mark's name. */
function protocolTables(): Readonly<Record<string, string>> {
  return {
    requests: NAMES.map(requestSection).join("\n\n"),
    errors: [
      "| `msg` | means | do |",
      "|---|---|---|",
      ...Object.entries(ERROR_CODES).map(([code, { means, remedy }]) =>
        `| \`${code}\` | ${means} | ${remedy} |`
      ),
    ].join("\n"),
    credentials: [
      "| access key id | secret access key | session token |",
      "|---|---|---|",
      ...CREDENTIAL_SPELLINGS.map((names) => `| ${names.map((name) => `\`${name}\``).join(" | ")} |`),
    ].join("\n"),
  };
}

/** The document with regenerated tables. @throws {TypeError} when a mark is missing. */
export function withTables(document: string): string {
  let text = document;
  for (const [name, table] of Object.entries(protocolTables())) {
    const [begin, end] = [`<!-- made by deno task docs: ${name} -->`, `<!-- end: ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new TypeError(`${PROTOCOL_FILES.document} lacks the marks of ${name}`);
    text = `${text.slice(0, from + begin.length)}\n\n${table}\n\n${text.slice(to)}`;
  }
  return text;
}

/** The schema's file. */
export function schemaText(): string {
  return `${JSON.stringify(protocolSchema(), null, 2)}\n`;
}

/** The table of error codes as the clients in other languages have it: without Markdown. */
export function errorCodesText(): string {
  const plain = (text: string) => text.replaceAll("`", "");
  const codes = Object.entries(ERROR_CODES).map(([code, { means, remedy }]) =>
    [code, { means: plain(means), do: plain(remedy) }] as const
  );
  return `${JSON.stringify(Object.fromEntries(codes), null, 2)}\n`;
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url);
  const document = new URL(PROTOCOL_FILES.document, root);
  await Deno.writeTextFile(document, withTables(await Deno.readTextFile(document)));
  await Deno.writeTextFile(new URL(PROTOCOL_FILES.schema, root), schemaText());
  for (const file of ERROR_CODE_FILES) await Deno.writeTextFile(new URL(file, root), errorCodesText());
}
