/** Configuration files: what is taken, and what is refused with line, column, field and reason. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EXIT } from "../../../../lib/shared/cli/options.ts";
import { failureLines } from "../../../../lib/shared/cli/failure.ts";
import { type Config, ConfigError, parseConfig, readConfigFile } from "../../../../lib/ctl/config/mod.ts";
import { Folder } from "../../../helpers/folder.ts";

const ARN = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const SHIPPED = new URL("../../../../config/", import.meta.url).pathname;

const PRODUCTION = `environment: production
kms:
  region: us-west-2
  # In production the full ARN.
  key_id: ${ARN}
  enable_attestation: true
enclaves:
  - enclave_id: 1
    transport: vsock
    cid: 16
    port: 5000
  - enclave_id: 2
    transport: vsock
    cid: 17
    port: 5000
database:
  path: /var/lib/gateway.sqlite
limits:
  request_ms: 1000
`;
const DEVELOPMENT = `environment: development
kms:
  region: us-east-1
  # In development an alias will do.
  key_id: alias/mine
  enable_attestation: false
enclaves:
  - enclave_id: 0
    transport: tcp
    host: 127.0.0.1
    port: 5000
  - enclave_id: 2147483647
    transport: unix
    path: /run/denclave.sock
database:
  path: ":memory:"
`;

const LIMITS = { connectMs: 5_000, requestMs: 65_000, databaseMs: 5_000, credentialsMs: 15_000 };

Deno.test("a production configuration is read into its type", () => {
  assertEquals<Config>(parseConfig(PRODUCTION, "p.yaml"), {
    environment: "production",
    kms: {
      keyId: ARN,
      enableAttestation: true,
      region: "us-west-2",
    },
    enclaves: [
      { enclaveId: 1, address: { transport: "vsock", cid: 16, port: 5000 } },
      { enclaveId: 2, address: { transport: "vsock", cid: 17, port: 5000 } },
    ],
    database: { path: "/var/lib/gateway.sqlite" },
    limits: { ...LIMITS, requestMs: 1_000 },
  });
});

Deno.test("a development configuration may have an alias and other transports", () => {
  assertEquals<Config>(parseConfig(DEVELOPMENT, "d.yaml"), {
    environment: "development",
    kms: {
      keyId: "alias/mine",
      enableAttestation: false,
      region: "us-east-1",
    },
    enclaves: [
      { enclaveId: 0, address: { transport: "tcp", hostname: "127.0.0.1", port: 5000 } },
      { enclaveId: 2147483647, address: { transport: "unix", path: "/run/denclave.sock" } },
    ],
    database: { path: ":memory:" },
    limits: LIMITS,
  });
});

Deno.test("JSON is YAML, and comments, quotes and CRLF change nothing", () => {
  const config = parseConfig(PRODUCTION, "p.yaml");
  const json = JSON.stringify({
    environment: "production",
    kms: { key_id: ARN },
    enclaves: [1, 2].map((id) => ({ enclave_id: id, transport: "vsock", cid: 15 + id, port: 5000 })),
    database: { path: "/var/lib/gateway.sqlite" },
    limits: { request_ms: 1000 },
  });
  assertEquals(parseConfig(json, "p.json"), config);
  assertEquals(parseConfig(PRODUCTION.replaceAll("\n", " # why\r\n"), "p.yaml"), config);
});

Deno.test("a region is the ARN's, or the one that is named beside an alias", () => {
  const aliased = DEVELOPMENT.replace("region: us-east-1", "region: eu-west-1");
  assertEquals(parseConfig(aliased, "d.yaml").kms.region, "eu-west-1");
  assertEquals(
    parseConfig(DEVELOPMENT.replace("region: us-east-1", "").replace("alias/mine", ARN), "d.yaml").kms.region,
    "us-west-2",
  );
});

Deno.test("the shipped development.yaml is taken as it is; production.yaml once the key is filled in, and not before", async () => {
  assertEquals((await readConfigFile(`${SHIPPED}development.yaml`)).environment, "development");
  const file = `${SHIPPED}production.yaml`;
  const error = await assertRejects(() => readConfigFile(file), ConfigError);
  assertEquals(error.problems.map(({ line, column, field }) => [line, column, field]), [[
    5,
    11,
    "kms.key_id",
  ]]);
  const source = (await Deno.readTextFile(file)).replace(/"arn:.*"/, ARN);
  assertEquals(parseConfig(source, file).environment, "production");
});

/** What is changed in a good file: text, and what stands there instead. Beside it, how the message begins. */
type Change = readonly [string, string];

const PRODUCTION_REFUSES: readonly (readonly [Change, string])[] = [
  [["enable_attestation: true", "enable_attestation: false"], "6:23: kms.enable_attestation: must be true"],
  [[`key_id: ${ARN}`, "key_id: alias/mine"], "5:11: kms.key_id: must be the key's full ARN in production:"],
  [["111122223333", "000000000000"], "5:11: kms.key_id: must be a key of AWS in production: account"],
  [[`  key_id: ${ARN}\n`, ""], "3:3: kms.key_id: is missing"],
  [
    ["transport: vsock\n    cid: 16", "transport: tcp\n    host: localhost"],
    "9:16: enclaves[0].transport: must be vsock in production: an enclave cannot be reached in another way",
  ],
  [["/var/lib/gateway.sqlite", '":memory:"'], "17:9: database.path: must be a file in production: what is"],
];

const EITHER_REFUSES: readonly (readonly [Change, string])[] = [
  [["environment: production", "environment: prod"], "1:14: environment: must be one of development,"],
  [["environment: production\n", ""], "1:1: environment: is missing"],
  [["region: us-west-2", "regio: us-west-2"], "3:3: kms.regio: there is no such field: did you mean"],
  [["region: us-west-2", "enabled: false"], "3:12: kms.enabled: must be true: the enclave always uses a"],
  [["region: us-west-2", 'endpoint_url: "http://localhost:4566"'], "3:17: kms.endpoint_url: must be null"],
  [["request_ms", "wait"], "19:3: limits.wait: there is no such field: connect_ms, request_ms,"],
  [
    ["  port: 5000\n  -", "  ports: 5000\n  -"],
    "8:5: enclaves[0].port: is missing\np.yaml:11:5: enclaves[0].ports: there is no such field: did you mean port?",
  ],
  [["region: us-west-2", "region: us-west-2\n  region: us-west-2"], "4:3: kms.region: it is given twice"],
  [["region: us-west-2", "region: [us-west-2]"], "3:11: kms.region: must be one value, not a list or a"],
  [["region: us-west-2", "region: eu-west-1"], "3:11: kms.region: must be us-west-2, as the key's ARN says"],
  [["enclave_id: 2", "enclave_id: 1"], "12:17: enclaves[1].enclave_id: must differ from that of"],
  [["cid: 17", "cid: 16"], "12:5: enclaves[1]: has the address of enclaves[0]"],
  [["cid: 16", "cid: 2"], "10:10: enclaves[0].cid: must be 4 or more: 0 to 2 are reserved by vsock, and 3"],
  [["    cid: 16\n", ""], "8:5: enclaves[0].cid: is missing"],
  [["cid: 16", "cid: 16\n    host: a"], "11:11: enclaves[0].host: does not go with transport vsock: that"],
  [["path: /var/lib/gateway.sqlite", "path: data/gateway.sqlite"], "17:9: database.path: must be absolute"],
  [["path: /var/lib/gateway.sqlite", "path: 'file::memory:?cache=shared'"], "17:9: database.path: must be"],
  [["database:\n  path: /var/lib/gateway.sqlite\n", ""], "1:1: database: is missing"],
  [["database:\n  path: /var/lib/gateway.sqlite", "database: here"], "16:11: database: must have fields:"],
  [["request_ms: 1000", "request_ms: 9"], "19:15: limits.request_ms: must be a whole number from 10 to"],
  // What YAML has, and a configuration does not need.
  [["path: /var/lib/gateway.sqlite", "path: &a data"], "17:12: database.path: anchors (&name) are not"],
  [["region: us-west-2", "region: *a"], "3:11: kms.region: aliases (*name) are not taken: write the value"],
  [["region: us-west-2", "<<: { region: us-west-2 }"], "3:3: kms: merges (<<) are not taken"],
  [["region: us-west-2", "region: !!str 'us-west-2'"], "3:17: kms.region: tags (!name) are not taken"],
  [["environment:", "%YAML 1.1\n---\nenvironment:"], "1:1: YAML directives are not taken"],
  [["database:", "---\ndatabase:"], "16:1: a second document begins here"],
  [["/var/lib/gateway.sqlite", "'data"], "20:1: it is not valid YAML: Missing closing 'quote"],
  [
    ["/var/lib/gateway.sqlite", "[".repeat(5) + "{a: ".repeat(5) + "}".repeat(5) + "]".repeat(5)],
    "17:22: database.path[0][0][0][0][0].a.a: it is nested too deeply",
  ],
];

function changed(source: string, [text, instead]: Change): string {
  const at = source.indexOf(text);
  if (at < 0) throw new Error(`The file has no ${text}`);
  return source.slice(0, at) + instead + source.slice(at + text.length);
}

for (const [change, expected] of [...PRODUCTION_REFUSES, ...EITHER_REFUSES]) {
  const shown = change.map((text) => JSON.stringify(text.slice(0, 60))).join(" as ");
  Deno.test(`${shown} is refused`, () => {
    const error = assertThrows(() => parseConfig(changed(PRODUCTION, change), "p.yaml"), ConfigError);
    if (/^[0-9]/.test(expected)) {
      assertEquals(error.message.startsWith(`p.yaml:${expected}`), true, error.message);
    } else assertEquals(error.message.endsWith(`: ${expected}`), true, error.message.slice(0, 200));
    assertEquals([error.code, error.message.includes("hunter2")], ["invalid_config", false]);
  });
}

/** Sections that name the endpoint and that KMS is used, which other gateways' files have. */
const SECTIONS: readonly (readonly [string, string, string])[] = [
  [
    "development",
    DEVELOPMENT,
    `kms:
  enabled: true
  endpoint_url: "http://localhost:4566"
  key_id: "alias/master-key"
  enable_attestation: false
`,
  ],
  [
    "production",
    PRODUCTION,
    `kms:
  enabled: true
  endpoint_url: null
  key_id: "${ARN}"
  enable_attestation: true
`,
  ],
];
for (const [environment, source, section] of SECTIONS) {
  Deno.test(`a section kms with enabled, endpoint_url and no region is taken in ${environment}`, () => {
    const { kms } = parseConfig(source.replace(/kms:\n(?: .*\n)+/, section), "a.yaml");
    assertEquals(kms.keyId, /key_id: "(.*)"/.exec(section)?.[1]);
    assertEquals(kms.region, environment === "production" ? "us-west-2" : "us-east-1");
  });
}

const DEVELOPMENT_REFUSES: readonly (readonly [Change, string])[] = [
  [["key_id: alias/mine", "key_id: mine"], "5:11: kms.key_id: must be a key's ARN or id, or an alias such"],
  [["enable_attestation: false", "enable_attestation: true"], "5:11: kms.key_id: must be the key's full"],
  [["port: 5000", "port: 65536"], "11:11: enclaves[0].port: must be a whole number from 1 to 65535"],
  [["path: /run/denclave.sock", `path: /${"a".repeat(107)}`], "14:11: enclaves[1].path: must be a text of"],
];
for (const [change, expected] of DEVELOPMENT_REFUSES) {
  const shown = change.map((text) => JSON.stringify(text.slice(0, 60))).join(" as ");
  Deno.test(`${shown} is refused in development too`, () => {
    const error = assertThrows(() => parseConfig(changed(DEVELOPMENT, change), "d.yaml"), ConfigError);
    assertEquals(error.message.startsWith(`d.yaml:${expected}`), true, error.message);
  });
}

Deno.test("every problem is reported, in the file's order", () => {
  const source = changed(changed(PRODUCTION, ["cid: 16", "cid: x"]), [
    "region: us-west-2",
    "region: 1\n  more: 2",
  ]);
  const error = assertThrows(() => parseConfig(source, "p.yaml"), ConfigError);
  assertEquals(error.problems.map(({ line, field }) => [line, field]), [
    [3, "kms.region"],
    [4, "kms.more"],
    [11, "enclaves[0].cid"],
  ]);
});

Deno.test("an empty file, a list and too many enclaves are refused", () => {
  const many = Array.from(
    { length: 65 },
    (_, id) => `  - {enclave_id: ${id}, transport: vsock, cid: ${id + 4}, port: 1}\n`,
  );
  const crowded = PRODUCTION.replace(/enclaves:\n[^]*database:/, `enclaves:\n${many.join("")}database:`);
  const none = PRODUCTION.replace(/enclaves:\n[^]*database:/, "enclaves: []\ndatabase:");
  const cases = [
    ["", "p.yaml:1:1: must have fields: environment, kms, enclaves, database, limits"],
    ["- a", "p.yaml:1:1: must have fields: environment, kms, enclaves, database, limits"],
    [crowded, "p.yaml:8:5: enclaves: has 65 enclaves, at most 64 are taken"],
    [none, "p.yaml:7:11: enclaves: must have one entry at least"],
  ] as const;
  for (const [source, expected] of cases) {
    assertEquals(assertThrows(() => parseConfig(source, "p.yaml"), ConfigError).message, expected);
  }
});

Deno.test("a file that is too long, no text, or not there is refused by its name", async () => {
  await using folder = await Folder.make();
  const directory = folder.path;
  const file = `${directory}/c.yaml`;
  const refusal = async () => (await assertRejects(() => readConfigFile(file), ConfigError)).message;
  assertEquals((await refusal()).startsWith(`${file}:1:1: it cannot be read: `), true);
  await Deno.writeFile(file, new Uint8Array([0x61, 0xff]));
  assertEquals(await refusal(), `${file}:1:1: it is not UTF-8`);
  await Deno.writeTextFile(file, `${PRODUCTION}#${"x".repeat(65_536)}`);
  assertEquals(await refusal(), `${file}:1:1: the file has more than 65536 bytes, which are read at most`);
  await Deno.writeTextFile(file, PRODUCTION);
  assertEquals((await readConfigFile(file)).environment, "production");
});

Deno.test("a wrong configuration has the same exit code as a wrong command line", () => {
  const error = assertThrows(() => parseConfig("", "p.yaml"), ConfigError);
  assertEquals(failureLines(error).exitCode, EXIT.usage);
});

Deno.test("a file of which any character was left out or changed is read, or refused as a configuration", () => {
  for (let at = 0; at < PRODUCTION.length; at++) {
    for (const instead of ["", "\t", "*", "{", "'"]) {
      try {
        parseConfig(PRODUCTION.slice(0, at) + instead + PRODUCTION.slice(at + 1), "p.yaml");
      } catch (thrown) {
        if (!(thrown instanceof ConfigError)) throw thrown;
      }
    }
  }
});
