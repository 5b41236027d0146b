/** The project's own lint rules, and the Dockerfile. */
import { assertEquals } from "@std/assert";
import plugin from "../../../scripts/lint_plugin.ts";
import { parseCopy, readDockerfile, readIgnored } from "../../helpers/dockerfile.ts";

function rulesBroken(file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, `/repo/${file}`, source).map(({ id }) => id.replace("house/", ""));
}

const WALLS: readonly (readonly [string, string, readonly string[]])[] = [
  ["ffi/sdk.ts", 'import { a } from "../lib/wire/mod.ts";', ["import-walls"]],
  ["ffi/sdk.ts", 'import { a } from "../lib/errors.ts";', []],
  ["lib/service/server.ts", 'import { a } from "../../ffi/mod.ts";', ["import-walls"]],
  ["lib/service/server.ts", 'import { a } from "../parent/client.ts";', ["import-walls"]],
  ["lib/service/server.ts", 'import { a } from "../wire/mod.ts";', []],
  ["lib/parent/client.ts", 'import { a } from "../service/server.ts";', ["import-walls"]],
  ["lib/parent/client.ts", 'export * from "../service/server.ts";', ["import-walls"]],
  ["lib/wire/framing.ts", 'import { a } from "../kms/kms.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/kms/local.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/kms/open_nitro.ts";', []],
  ["main.ts", 'import { a } from "./lib/kms/aws.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/kms/aws/api.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/kms/development_key.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/kms/deps/aws4fetch.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/aws/clients.ts";', ["import-walls"]],
  ["lib/service/wallet.ts", 'import { a } from "../aws/deps/aws_sdk.ts";', ["import-walls"]],
  ["lib/kms/nitro.ts", 'import { a } from "../aws/provider_chain.ts";', ["import-walls"]],
  ["lib/aws_ne/calls.ts", 'import { a } from "../aws/clients.ts";', ["import-walls"]],
  ["lib/cli/run.ts", 'import { a } from "../aws/clients.ts";', ["import-walls"]],
  ["lib/kms/nitro.ts", 'import { a } from "../aws/errors.ts";', []],
  ["lib/parent/kms_keys.ts", 'import { a } from "../aws/clients.ts";', []],
  ["main.ts", 'import { a } from "./lib/config/config.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../config/config.ts";', ["import-walls"]],
  ["lib/config/config.ts", 'import { a } from "../cli/options.ts";', []],
  ["main.ts", 'import { a } from "./lib/kms_emulator/mod.ts";', ["import-walls"]],
  ["lib/kms/nitro.ts", 'import { a } from "../kms_emulator/service.ts";', ["import-walls"]],
  ["lib/service/wallet.ts", 'import { a } from "../kms_emulator/keys.ts";', ["import-walls"]],
  ["lib/parent/client.ts", 'import { a } from "../kms_emulator/server.ts";', ["import-walls"]],
  ["lib/kms_emulator/server.ts", 'import { a } from "./keys.ts";', []],
  ["lib/kms_emulator/server.ts", 'import { a } from "../kms/local.ts";', []],
  ["lib/ctl/emulator.ts", 'import { a } from "../kms_emulator/mod.ts";', []],
  ["scripts/dev.ts", 'import { a } from "../lib/kms/aws.ts";', []],
  ["scripts/dev.ts", 'import { a } from "../lib/kms/local.ts";', []],
  ["lib/kms/nitro.ts", 'import { a } from "../../scripts/dev.ts";', ["import-walls"]],
  ["lib/kms/nitro.ts", 'import a from "../../scripts/a.json";', ["import-walls"]],
  ["lib/parent/doctor/nitro.ts", 'import { a } from "../../../scripts/dev.ts";', ["import-walls"]],
  ["lib/parent/doctor/nitro.ts", 'import a from "../../../scripts/a.json";', []],
  ["lib/parent/doctor/nitro.ts", 'import { a } from "../../../tests/a.ts";', ["import-walls"]],
  ["lib/kms/nitro.ts", 'export { a } from "../../tests/helpers/duplex.ts";', ["import-walls"]],
  ["ffi/sdk.ts", 'import { a } from "../lib/aws_ne/errors.ts";', ["import-walls"]],
  ["ffi/sdk.ts", 'import { a } from "../lib/crypto/secret_bytes.ts";', []],
  ["ffi/sdk.ts", 'import { a } from "../lib/crypto/sealing.ts";', ["import-walls"]],
  ["ffi/sdk.ts", 'import type { A } from "../lib/aws_ne/calls.ts";', ["import-walls"]],
  ["ffi/sdk.ts", 'import { a } from "./layout.ts";', []],
  ["lib/wire/framing.ts", 'import { a } from "../cli/run.ts";', ["import-walls"]],
  ["lib/wire/framing.ts", 'import type { A } from "../aws/credentials.ts";', []],
  ["main.ts", 'import { a } from "./lib/parent/client.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./scripts/dev.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "cborg";', []],
  ["main.ts", 'import { a } from "./lib/attestation/nsm.ts";', []],
  ["main.ts", 'import { a } from "./lib/attestation/simulated.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/attestation/simulated_root.ts";', ["import-walls"]],
  ["lib/service/server.ts", 'import { a } from "../attestation/pem.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/attestation/verify.ts";', ["import-walls"]],
  ["main.ts", 'import { a } from "./lib/attestation/mod.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../attestation/nsm.ts";', []],
  ["lib/service/session_key.ts", 'import { a } from "../attestation/document.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../attestation/simulated.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../attestation/verify.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../attestation/deps/x509.ts";', ["import-walls"]],
  ["lib/attestation/document.ts", 'import { a } from "./nsm.ts";', ["import-walls"]],
  ["lib/attestation/document.ts", 'import { a } from "./simulated.ts";', ["import-walls"]],
  ["lib/attestation/certificates.ts", 'import { a } from "../../ffi/libc.ts";', ["import-walls"]],
  ["lib/parent/client.ts", 'import { a } from "../attestation/mod.ts";', []],
  ["main.ts", 'import { a } from "./lib/eif/mod.ts";', ["import-walls"]],
  ["lib/service/session_key.ts", 'import { a } from "../eif/measure.ts";', ["import-walls"]],
  ["lib/eif/rootfs.ts", 'import { a } from "../../ffi/constants.ts";', ["import-walls"]],
  ["lib/eif/signature.ts", 'import { a } from "../cose/cbor.ts";', []],
  ["lib/cose/sign1.ts", 'import { a } from "../attestation/errors.ts";', ["import-walls"]],
  ["lib/asn1/ber.ts", 'import { a } from "../bytes.ts";', []],
  ["lib/sealed/sender.ts", 'import { a } from "../wire/messages.ts";', []],
  ["lib/sealed/sender.ts", 'import { a } from "../service/sealed.ts";', ["import-walls"]],
  ["lib/service/sealed.ts", 'import { a } from "../sealed/message.ts";', []],
  ["tests/unit/a_test.ts", 'import { a } from "../../lib/kms/local.ts";', []],
  ["tests/helpers/native_sdk.ts", 'Deno.dlopen("x", {});', []],
  ["scripts/dev.ts", 'Deno.dlopen("x", {});', ["dlopen-in-ffi"]],
  ["scripts/dev.ts", 'Deno.env.get("A");', []],
  ["lib/cli/run.ts", 'Deno.env.get("A");', ["process-in-entries"]],
  ["ffi/nsm.ts", 'Deno.addSignalListener("SIGTERM", f);', ["process-in-entries"]],
  ["tests/helpers/mock_sdk.ts", "new Deno.UnsafePointerView(a);", ["no-unsafe-pointers"]],
  ["lib/kms/nitro.ts", 'Deno.dlopen("x", {});', ["dlopen-in-ffi"]],
  ["ffi/library.ts", 'Deno.dlopen("x", {});', []],
  ["ffi/sdk.ts", "Deno.UnsafePointer.of(a);", ["no-unsafe-pointers"]],
  ["lib/service/server.ts", "Deno.exit(1);", ["process-in-entries"]],
  ["main.ts", "Deno.exit(1);", []],
  ["lib/service/wallet.ts", 'import { a } from "../crypto/host_random.ts";', ["import-walls"]],
  ["lib/kms/local.ts", 'import { a } from "../crypto/host_random.ts";', []],
  ["lib/errors.ts", 'class A extends Error { override name = "A"; }', []],
  ["lib/errors.ts", "class A extends Error {}", ["error-names"]],
  ["ffi/errors.ts", 'class A extends Error { override name = "B"; }', ["error-names"]],
  ["lib/errors.ts", "class A { b = 1; }", []],
  ["lib/cli/run.ts", "log(thrown.constructor.name);", ["error-names"]],
  ["lib/errors.ts", "class A { constructor() { log(new.target.name); } }", ["error-names"]],
  ["lib/cli/run.ts", "log(thrown.name);", []],
  ["tests/helpers/a.ts", "class A extends Error {}", []],
  ["lib/service/a.ts", "async function f(request: WireObject) {}", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "const f = async (request: WireObject) => {};", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "class A { async #f(a: A, request: WireObject) {} }", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "async function f({ named }: { readonly named: unknown }) {}", [
    "parsed-before-waiting",
  ]],
  ["lib/service/a.ts", "async function f(items: readonly unknown[]) {}", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "const f: Route = async (request) => {};", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "function f(request: WireObject) { return () => request; }", [
    "parsed-before-waiting",
  ]],
  [
    "lib/service/a.ts",
    "class A { f(request: WireObject) { const named = { id: field(request, 'id') }; this.wait(() => named); } }",
    ["parsed-before-waiting"],
  ],
  ["lib/service/a.ts", "function f(a: Readonly<WireObject>) { async function g() {} }", [
    "parsed-before-waiting",
  ]],
  ["lib/service/a.ts", "interface Parsed { readonly id: unknown }", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "type Parsed = { readonly items: readonly WireObject[] };", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "class A { #last: WireObject | undefined; }", ["parsed-before-waiting"]],
  ["lib/service/a.ts", "class A { f(request: WireObject) { return this.#f(parse(request)); } }", []],
  [
    "lib/service/a.ts",
    "class A { #turn: Promise<unknown> = Promise.resolve(); async #f(parsed: Parsed) {} }",
    [],
  ],
  [
    "lib/service/a.ts",
    "function f(waiting: Promise<Reply>) { waiting.catch((thrown: unknown) => { throw thrown; }); }",
    [],
  ],
  ["lib/parent/a.ts", "async function f(request: WireObject) {}", []],
];
for (const [file, source, broken] of WALLS) {
  Deno.test(`in ${file}, ${source} breaks ${broken.length === 0 ? "nothing" : broken.join()}`, () => {
    assertEquals(rulesBroken(file, source), [...broken]);
  });
}

Deno.test("the image's last stage begins from nothing, runs nothing, and takes no kmstool", async () => {
  const dockerfile = await Deno.readTextFile(new URL("../../../Dockerfile", import.meta.url));
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
  const secrets = (await Deno.readTextFile(new URL("../../../.gitignore", import.meta.url))).split("\n")
    .filter((line) => line !== "" && !/^[#/]/.test(line)).map((line) => line.replace("*", "a"));
  assertEquals(secrets.includes("tsk.hex"), true);
  const places = ["", "lib/", "scripts/dry_run/"].flatMap((folder) => secrets.map((name) => folder + name));
  assertEquals([...places, ".git/config", "data/a", "notes.txt"].filter((path) => !isIgnored(path)), []);
});

Deno.test("no line of the program names a pointer of Deno's", async () => {
  for (const folder of ["../../../ffi", "../../../lib"]) {
    for await (const path of files(new URL(folder, import.meta.url).pathname)) {
      assertEquals(/Deno\.Unsafe(?!\*)/.test(await Deno.readTextFile(path)), false, path);
    }
  }
});

async function* files(directory: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) yield* files(path);
    else yield path;
  }
}

/** What a file imports from this repository, whatever comes between. */
async function graphOf(entry: URL, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(entry.pathname)) return seen;
  seen.add(entry.pathname);
  const source = await Deno.readTextFile(entry);
  for (const [, specifier = ""] of source.matchAll(/(?:from|import|import\()\s*"(\.[^"]+\.ts)"/g)) {
    await graphOf(new URL(specifier, entry), seen);
  }
  return seen;
}

// Each other source of random numbers, as a line of code that draws from it.
for (
  const source of [
    "crypto.getRandomValues(a);",
    'crypto["getRandomValues"](a);',
    "const { getRandomValues } = globalThis.crypto;",
    "crypto.randomUUID();",
    "Math.random();",
    'Math["random"]();',
    "const { random } = Math;",
    'crypto.subtle.generateKey("X25519", false, []);',
    'import { randomBytes } from "node:crypto";',
    'import { randomBytes as bytes } from "@noble/hashes/utils.js";',
    'import * as node from "node:crypto"; node.randomInt(9);',
    'import { randomFillSync } from "node:crypto";',
    'import { randomUUID } from "node:crypto";',
    'import { generateKeyPairSync } from "node:crypto";',
    'import { generateKeyPair } from "./sender.ts";',
    'import { createECDH } from "node:crypto";',
    "secp256k1.utils.randomSecretKey();",
    "secp256k1.keygen();",
  ]
) {
  Deno.test(`${source} is seen wherever the enclave's code is`, () => {
    for (const file of ["main.ts", "ffi/libc.ts", "lib/service/wallet.ts", "lib/sealed/hpke.ts"]) {
      assertEquals([...new Set(rulesBroken(file, source))], ["one-source-of-randomness"], file);
    }
    for (const file of ["lib/crypto/random.ts", "lib/parent/accounts.ts", "tests/unit/ffi/nsm_test.ts"]) {
      assertEquals(rulesBroken(file, source), [], file);
    }
  });
}

Deno.test("nothing that main.ts imports may draw random numbers, except the port", async () => {
  const graph = [...await graphOf(new URL("../../../main.ts", import.meta.url))];
  const root = new URL("../../../", import.meta.url).pathname;
  const free = graph.map((path) => path.slice(root.length)).filter((file) =>
    rulesBroken(file, "crypto.getRandomValues(a);").length === 0
  );
  assertEquals(free, ["lib/crypto/random.ts"]);
});

Deno.test("nothing that main.ts imports draws random numbers of its own", async () => {
  const root = new URL("../../../", import.meta.url).pathname;
  const drawing: string[] = [];
  for (const path of await graphOf(new URL("../../../main.ts", import.meta.url))) {
    const broken = rulesBroken(path.slice(root.length), await Deno.readTextFile(path));
    if (broken.includes("one-source-of-randomness")) drawing.push(path.slice(root.length));
  }
  assertEquals(drawing, []);
});

for (
  const source of ["Math.min(1, 2);", "random.bytes(12);", "await nsm.random();", "kms.generateDataKey(a);"]
) {
  Deno.test(`${source} draws nothing of its own`, () => {
    assertEquals(rulesBroken("lib/service/wallet.ts", source), []);
  });
}

Deno.test("nothing that main.ts imports can make a document, or trust a root", async () => {
  const graph = [...await graphOf(new URL("../../../main.ts", import.meta.url))];
  assertEquals(graph.some((path) => path.endsWith("/lib/service/server.ts")), true);
  const walled =
    /\/lib\/attestation\/(simulated|simulated_root|pem|verify|document|certificates|mod|deps\/.*)\.ts$/;
  assertEquals(graph.filter((path) => walled.test(path)), []);
});

Deno.test("main.ts imports only the attested KMS, and no configuration file", async () => {
  const graph = [...await graphOf(new URL("../../../main.ts", import.meta.url))];
  assertEquals(graph.some((path) => path.endsWith("/lib/kms/nitro.ts")), true);
  const walled =
    /\/lib\/(config\/|kms_emulator\/|kms\/(aws|deps)\/|kms\/(local|aws|attested_kms|development_key|outside_enclave)\.ts)/;
  assertEquals(graph.filter((path) => walled.test(path)), []);
});

Deno.test("neither main.ts nor the dry run imports the AWS SDK for JavaScript, and denclavectl does", async () => {
  const leads = async (entry: string) =>
    [...await graphOf(new URL(`../../../${entry}`, import.meta.url))].some((path) =>
      path.endsWith("/lib/aws/deps/aws_sdk.ts")
    );
  assertEquals([await leads("main.ts"), await leads("scripts/dry_run.ts"), await leads("lib/ctl/main.ts")], [
    false,
    false,
    true,
  ]);
});

Deno.test("what verifies documents names neither Deno nor Node", async () => {
  for (const path of await graphOf(new URL("../../../lib/attestation/mod.ts", import.meta.url))) {
    const source = (await Deno.readTextFile(path)).replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    assertEquals(/\bDeno\b|"node:/.test(source), false, path);
  }
});

for (
  const [root, file] of [["/var/lib/ci/work", "lib/service/server.ts"], ["/opt/scripts/repo", "ffi/sdk.ts"]]
) {
  Deno.test(`the lint rules hold for a repository in ${root}`, () => {
    const source = file === "ffi/sdk.ts"
      ? 'import { a } from "../../lib/wire/mod.ts";'
      : 'import { a } from "../../../ffi/mod.ts";';
    assertEquals(Deno.lint.runPlugin(plugin, `${root}/${file}`, source).map(({ id }) => id), [
      "house/import-walls",
    ]);
  });
}

for (
  const [what, source] of [
    ["a dynamic import", 'await import("../../../ffi/mod.ts");'],
    ["a type's import", 'let a: import("../../../ffi/mod.ts").A;'],
  ] as const
) {
  Deno.test(`${what} cannot bypass a rule`, () => {
    const found = Deno.lint.runPlugin(plugin, "/repo/lib/service/server.ts", source);
    assertEquals(found.map(({ id }) => id), ["house/import-walls"]);
  });
}

for (
  const source of ['Deno["dlopen"]("x", {});', "const { dlopen } = Deno;", 'globalThis.Deno.dlopen("x", {});']
) {
  Deno.test(`${source} is seen outside ffi/`, () => {
    const found = Deno.lint.runPlugin(plugin, "/repo/lib/kms/nitro.ts", source);
    assertEquals(found.map(({ id }) => id), ["house/dlopen-in-ffi"]);
  });
}

Deno.test("every folder of unit and property tests has the name of a room, and every test file is in one", async () => {
  const root = new URL("../../../", import.meta.url).pathname;
  const rooms = new Set(["ffi", "gold", "house"]);
  for await (const { name, isDirectory } of Deno.readDir(`${root}lib`)) if (isDirectory) rooms.add(name);
  for (const folder of ["unit", "property"]) {
    const entries = [...Deno.readDirSync(`${root}tests/${folder}`)];
    assertEquals(entries.filter(({ name, isDirectory }) => !isDirectory || !rooms.has(name)), []);
  }
});
