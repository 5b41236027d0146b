/** The project's own lint rules, and the Dockerfile. */
import { assertEquals } from "@std/assert";
import plugin, { UNMEASURED, WALLS } from "../../scripts/lint_plugin.ts";
import { closureOf, pathsBelow, ROOT } from "../helpers/sources.ts";
import { parseCopy, readDockerfile, readIgnored } from "../helpers/dockerfile.ts";

function rulesBroken(file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, `${ROOT}${file}`, source).map(({ id }) => id.replace("house/", ""));
}

/** How a file would import another one. */
function importOf(from: string, to: string): string {
  const up = "../".repeat(from.split("/").length - 1);
  return `import { a } from "${up === "" ? "./" : up}${to}";`;
}

const SIDES = {
  entry: "main.ts",
  ffi: "ffi/sdk.ts",
  session_key: "lib/enclave/session_key/session_key.ts",
  enclave_kms: "lib/enclave/kms/sdk_process/nitro.ts",
  server: "lib/enclave/server/start.ts",
  framing: "lib/shared/wire/framing.ts",
  errors: "lib/shared/errors.ts",
  cbor: "lib/shared/attestation/cbor.ts",
  verifier: "lib/shared/attestation/verify.ts",
  host_random: "lib/shared/crypto/host_random.ts",
  commands: "lib/ctl/commands/main.ts",
  image: "lib/ctl/image/checks.ts",
  client: "lib/ctl/client/client.ts",
  eif: "lib/ctl/eif/build.ts",
  symbols: "ffi/symbols.ts",
  emulator: "lib/dev/kms_emulator/server.ts",
  workflow: "lib/workflow.ts",
  scripts: "scripts/dev.ts",
  tests: "tests/helpers/duplex.ts",
} as const;

/** What each may import of the others. */
const MAY_IMPORT: Readonly<Record<keyof typeof SIDES, string>> = {
  entry: "ffi session_key enclave_kms server framing errors cbor symbols workflow",
  ffi: "errors symbols",
  session_key: "enclave_kms server framing errors cbor",
  enclave_kms: "ffi session_key server framing errors cbor symbols",
  server: "enclave_kms framing errors cbor",
  framing: "errors cbor verifier host_random",
  errors: "framing cbor verifier host_random",
  cbor: "errors",
  verifier: "framing errors cbor host_random",
  host_random: "framing errors cbor verifier",
  commands: "framing errors cbor verifier host_random client eif image",
  image: "framing errors cbor verifier host_random eif symbols",
  client: "framing errors cbor verifier host_random eif image",
  eif: "framing errors cbor verifier host_random",
  symbols: "ffi errors",
  emulator:
    "ffi session_key enclave_kms server framing errors cbor verifier host_random client eif image symbols workflow",
  workflow: "",
  scripts: Object.keys(SIDES).filter((side) => side !== "tests").join(" "),
  tests: Object.keys(SIDES).join(" "),
};

const NAMES = Object.keys(SIDES) as (keyof typeof SIDES)[];
for (const from of NAMES) {
  Deno.test(`${SIDES[from]} may import ${MAY_IMPORT[from] || "nothing"}`, async () => {
    await Deno.stat(`${ROOT}${SIDES[from]}`);
    const free = NAMES.filter((to) =>
      to !== from && rulesBroken(SIDES[from], importOf(SIDES[from], SIDES[to])).length === 0
    );
    const allowed = MAY_IMPORT[from].split(" ").filter((to) => to !== "" && to !== from);
    assertEquals(free.sort(), allowed.sort());
  });
}

Deno.test("every pattern of the walls matches a file that exists", () => {
  const existing = ["main.ts", "ffi", "lib", "scripts"].flatMap(pathsBelow);
  for (const { from, to, except } of WALLS) {
    for (const pattern of [from, to, ...except === undefined ? [] : [except]]) {
      assertEquals(existing.some((path) => pattern.test(path)), true, String(pattern));
    }
  }
});

Deno.test("lib/std may be imported by all", () => {
  for (const file of Object.values(SIDES)) {
    assertEquals(rulesBroken(file, importOf(file, "lib/std/assert.ts")), []);
  }
});

const WALLET = "lib/enclave/wallet/a.ts";
const RULES: readonly (readonly [string, string, string?])[] = [
  ["ffi/library.ts", 'Deno.dlopen("x", {});'],
  ["tests/helpers/native_sdk.ts", 'Deno.dlopen("x", {});'],
  ["scripts/dev.ts", 'Deno.dlopen("x", {});', "dlopen-in-ffi"],
  ["lib/enclave/kms/sdk_process/nitro.ts", 'Deno["dlopen"]("x", {});', "dlopen-in-ffi"],
  ["lib/enclave/kms/sdk_process/nitro.ts", "const { dlopen } = Deno;", "dlopen-in-ffi"],
  ["lib/enclave/kms/sdk_process/nitro.ts", 'globalThis.Deno.dlopen("x", {});', "dlopen-in-ffi"],
  ["lib/enclave/server/server.ts", 'await import("../../../ffi/mod.ts");', "import-walls"],
  ["lib/enclave/server/server.ts", 'let a: import("../../../ffi/mod.ts").A;', "import-walls"],
  ["main.ts", 'import { openWallClock } from "./ffi/clock.ts";'],
  ["ffi/nsm.ts", 'import { openWallClock } from "./clock.ts";', "import-walls"],
  ["lib/enclave/cli/run.ts", 'import { openWallClock } from "../../../ffi/clock.ts";', "import-walls"],
  ["lib/dev/service/mod.ts", 'import { openWallClock } from "../../../ffi/clock.ts";', "import-walls"],
  ["scripts/dev.ts", 'export * from "../ffi/clock.ts";', "import-walls"],
  ["tests/e2e/service_test.ts", 'await import("../../ffi/clock.ts");', "import-walls"],
  ["tests/helpers/ports.ts", 'let a: import("../../ffi/clock.ts").A;', "import-walls"],
  ["ffi/kernel.ts", "const SYMBOLS = { clock_settime: {} };", "no-host-clock"],
  ["tests/e2e/service_test.ts", 'Deno.dlopen("x", { f: { name: "clock_settime" } });', "no-host-clock"],
  ["lib/dev/service/mod.ts", "symbols.settimeofday(a, b);", "no-host-clock"],
  ["main.ts", "Deno.exit(1);"],
  ["scripts/dev.ts", 'Deno.env.get("A");'],
  ["lib/enclave/cli/run.ts", 'Deno.env.get("A");', "process-in-entries"],
  ["ffi/nsm.ts", 'Deno.addSignalListener("SIGTERM", f);', "process-in-entries"],
  ["tests/helpers/mock_sdk.ts", "new Deno.UnsafePointerView(a);", "no-unsafe-pointers"],
  ["lib/shared/errors.ts", 'class A extends Error { override name = "A"; }'],
  ["ffi/errors.ts", 'class A extends Error { override name = "B"; }', "error-names"],
  ["lib/shared/errors.ts", "class A extends Error {}", "error-names"],
  ["lib/enclave/cli/run.ts", "log(thrown.constructor.name);", "error-names"],
  ["lib/ctl/client/a.ts", "async function f(request: WireObject) {}"],
  [WALLET, "class A { f(request: WireObject) { return this.#f(parse(request)); } }"],
  [WALLET, "class A { #turn: Promise<unknown> = Promise.resolve(); async #f(parsed: Parsed) {} }"],
  [WALLET, "function f(waiting: Promise<Reply>) { waiting.catch((thrown: unknown) => { throw thrown; }); }"],
  [WALLET, "class A { async #f(a: A, request: WireObject) {} }", "parsed-before-waiting"],
  [WALLET, "async function f({ named }: { readonly named: unknown }) {}", "parsed-before-waiting"],
  [WALLET, "const f: Route = async (request) => {};", "parsed-before-waiting"],
  [WALLET, "function f(request: WireObject) { return () => request; }", "parsed-before-waiting"],
  [WALLET, "interface Parsed { readonly id: unknown }", "parsed-before-waiting"],
  [WALLET, "type Parsed = { readonly items: readonly WireObject[] };", "parsed-before-waiting"],
  [WALLET, "class A { #last: WireObject | undefined; }", "parsed-before-waiting"],
];
for (const [file, source, broken] of RULES) {
  Deno.test(`in ${file}, ${source} breaks ${broken ?? "nothing"}`, () => {
    assertEquals(rulesBroken(file, source), broken === undefined ? [] : [broken]);
  });
}

Deno.test("the image's last stage begins from nothing, runs nothing, and takes no kmstool", async () => {
  const dockerfile = await Deno.readTextFile(new URL("../../Dockerfile", import.meta.url));
  assertEquals(dockerfile.match(/^FROM .*$/gm)?.at(-1), "FROM scratch");
  const last = (await readDockerfile()).stages.at(-1)?.instructions ?? [];
  assertEquals([...new Set(last.map(({ name }) => name))].sort(), ["ARG", "COPY", "ENTRYPOINT", "ENV"]);
  assertEquals(/kmstool|bash|busybox/.test(last.map(({ text }) => text).join("\n")), false);
});

Deno.test("the context of the Docker build holds what the Dockerfile copies, and no secret that git ignores", async () => {
  const isIgnored = await readIgnored();
  const copied = (await readDockerfile()).stages.flatMap(({ instructions }) => instructions)
    .filter(({ name }) => name === "COPY").map(({ text }) => parseCopy(text))
    .flatMap(({ from, sources }) => from === undefined ? sources : []);
  assertEquals(copied.includes("lib"), true);
  assertEquals(copied.filter((source) => isIgnored(source)), []);
  assertEquals(["lib/workflow.ts", "scripts/ctl.ts"].filter(isIgnored), []);
  const secrets = (await Deno.readTextFile(new URL("../../.gitignore", import.meta.url))).split("\n")
    .filter((line) => line !== "" && !/^[#/]/.test(line)).map((line) => line.replace("*", "a"));
  assertEquals(secrets.includes("tsk.hex"), true);
  const places = ["", "lib/", "lib/dev/dry_run/"].flatMap((folder) => secrets.map((name) => folder + name));
  assertEquals([...places, ".git/config", "data/a", "notes.txt"].filter((path) => !isIgnored(path)), []);
});

Deno.test("no line of the program names a pointer of Deno's", () => {
  for (const path of ["ffi", "lib"].flatMap(pathsBelow)) {
    assertEquals(/Deno\.Unsafe(?!\*)/.test(Deno.readTextFileSync(`${ROOT}${path}`)), false, path);
  }
});

/** The files that a file leads to, whatever comes between. */
const graphOf = (entry: string) => closureOf([entry], ["value", "type", "dynamic"]);

// Ways to draw random numbers that bypass the port.
for (
  const source of [
    'crypto["getRandomValues"](a);',
    "const { getRandomValues } = globalThis.crypto;",
    "crypto.randomUUID();",
    "Math.random();",
    "const { random } = Math;",
    'crypto.subtle.generateKey("X25519", false, []);',
    'import { randomBytes as bytes } from "@noble/hashes/utils.js";',
    'import * as node from "node:crypto"; node.randomInt(9);',
    'import { createECDH } from "node:crypto";',
    'import { generateKeyPair } from "@hpke/core";',
    "secp256k1.keygen();",
  ]
) {
  Deno.test(`${source} is seen wherever the enclave's code is`, () => {
    for (const file of ["main.ts", "ffi/kernel.ts", WALLET, "lib/shared/sealed/hpke.ts"]) {
      assertEquals([...new Set(rulesBroken(file, source))], ["one-source-of-randomness"], file);
    }
    for (const file of ["lib/shared/crypto/random.ts", "lib/ctl/client/accounts.ts", "tests/unit/ffi/a.ts"]) {
      assertEquals(rulesBroken(file, source), [], file);
    }
  });
}

Deno.test("nothing that main.ts imports may draw random numbers, except the port", () => {
  const free = graphOf("main.ts").filter((file) =>
    rulesBroken(file, "crypto.getRandomValues(a);").length === 0
  );
  assertEquals(free, ["lib/shared/crypto/random.ts"]);
});

Deno.test("nothing that main.ts imports draws random numbers of its own", () => {
  const drawing = graphOf("main.ts").filter((path) =>
    rulesBroken(path, Deno.readTextFileSync(`${ROOT}${path}`)).includes("one-source-of-randomness")
  );
  assertEquals(drawing, []);
});

Deno.test("what is given random numbers draws none of its own", () => {
  for (const source of ["Math.min(1, 2);", "random.bytes(12);", "await nsm.random();"]) {
    assertEquals(rulesBroken(WALLET, source), []);
  }
});

Deno.test("main.ts reaches no code that verifies or simulates documents, and none of the parent's side", () => {
  const graph = graphOf("main.ts");
  assertEquals(graph.includes("lib/enclave/server/server.ts"), true);
  assertEquals(
    graph.filter((path) => UNMEASURED.test(path) || /^lib\/(ctl|dev)\/|^scripts\//.test(path)),
    [],
  );
});

Deno.test("of what sets a clock, main.ts alone imports the code, and one file of ffi names the function", () => {
  const sources = ["main.ts", "ffi", "lib", "scripts", "tests", "examples"].flatMap(pathsBelow);
  const importers = sources.filter((path) => graphOf(path).includes("ffi/clock.ts"));
  const allowed = importers.filter((path) => !/^ffi\/clock\.ts$|^main\.ts$/.test(path));
  assertEquals(allowed, ["tests/contract/clock_test.ts"]);
  const naming = ["main.ts", "ffi", "lib", "scripts"].flatMap(pathsBelow).filter((path) =>
    /"?clock_settime"?:/.test(Deno.readTextFileSync(`${ROOT}${path}`))
  );
  assertEquals(naming, ["ffi/clock.ts"]);
});

Deno.test("neither main.ts nor the dry run imports the AWS SDK for JavaScript, and denclavectl does", () => {
  const leads = (entry: string) => graphOf(entry).includes("lib/ctl/aws/deps/aws_sdk.ts");
  assertEquals(["main.ts", "scripts/dry_run.ts", "lib/ctl/commands/main.ts"].map(leads), [
    false,
    false,
    true,
  ]);
});

Deno.test("what verifies documents names neither Deno nor Node", () => {
  for (const path of graphOf("lib/shared/attestation/mod.ts")) {
    const source = Deno.readTextFileSync(`${ROOT}${path}`).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    assertEquals(/\bDeno\b|"node:/.test(source), false, path);
  }
});

Deno.test("every folder of unit and property tests has the name of a room, and every test file is in one", async () => {
  const rooms = new Set(["ffi", "gold", "house"]);
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}lib`)) if (isDirectory) rooms.add(name);
  for (const folder of ["unit", "property"]) {
    const entries = [...Deno.readDirSync(`${ROOT}tests/${folder}`)];
    assertEquals(entries.filter(({ name, isDirectory }) => !isDirectory || !rooms.has(name)), []);
  }
});
