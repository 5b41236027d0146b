/** The Python package: its wheel, its types, and the bytes of docs/protocol.md's examples. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { ERROR_CODES } from "../../lib/shared/wire/error_codes.ts";
import { errorReply, type WireObject } from "../../lib/shared/wire/messages.ts";
import { VERSION } from "../../lib/shared/version.ts";
import { Folder } from "../helpers/folder.ts";
import { recordingService } from "../helpers/recording_service.ts";
import { findPython } from "../helpers/languages.ts";
import { runTool } from "../helpers/tools.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PACKAGE = `${ROOT}clients/python`;
const python = findPython("the Python package", ["flit_core", "mypy"]);

async function runPython(args: readonly string[], options: Parameters<typeof runTool>[2] = {}) {
  return await runTool(python ?? "", args, options);
}

const BUILD = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))";
const PROGRAM = `from denclave import Client, Credentials, Signature

def sign(client: Client) -> Signature:
    account = client.create_account("alice", Credentials("a", "b"))
    return client.sign(account, Credentials("a", "b"), {"message": "hello"})
`;

Deno.test({
  name: "the wheel has the code, its types and the error codes, and programs are type-checked against it",
  ignore: python === undefined,
  fn: async () => {
    await using folder = await Folder.make({
      "good.py": PROGRAM,
      "bad.py": PROGRAM.replace('"alice"', "1"),
    });
    const { path } = folder;
    const built = await runPython(["-c", BUILD, path], { cwd: PACKAGE });
    assertEquals(built.code, 0, built.stderr);
    assertStringIncludes(built.stdout, `denclave-${VERSION}-py3-none-any.whl`);
    const wheel = `${path}/${built.stdout.trim()}`;
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"];
    const installed = await runPython([...pip, "--target", `${path}/site`, wheel]);
    assertEquals(installed.code, 0, installed.stderr);
    const env = { PYTHONPATH: `${path}/site`, MYPYPATH: `${path}/site` };
    const check =
      "import denclave; print(len(denclave.ERROR_CODES) > 20, denclave.__version__, denclave.__file__)";
    const ran = await runPython(["-c", check], { env, cwd: path });
    assertEquals(ran.stdout.trim(), `True ${VERSION} ${path}/site/denclave/__init__.py`, ran.stderr);
    const mypy = (file: string) =>
      runPython(["-m", "mypy", "--strict", "--cache-dir", `${path}/cache`, file], { env, cwd: path });
    const good = await mypy("good.py");
    assertEquals(good.code, 0, good.stdout);
    const bad = await mypy("bad.py");
    assertEquals(bad.code, 1, bad.stdout);
    assertStringIncludes(bad.stdout, 'incompatible type "int"; expected "str"');
  },
});

Deno.test({
  name: "the package's own types hold under mypy's strict rules",
  ignore: python === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    const args = ["-m", "mypy", "--cache-dir", folder.path, "denclave", "tests/conformance.py"];
    const checked = await runPython(args, { cwd: PACKAGE });
    assertEquals(checked.code, 0, checked.stdout);
  },
});

const FROM_SOURCE = { PYTHONPATH: PACKAGE, PYTHONDONTWRITEBYTECODE: "1" };
const CBOR_SCRIPT = `import json, sys
from denclave import _cbor
def read(text):
    try:
        return repr(_cbor.decode(bytes.fromhex(text)))
    except ValueError:
        return None
print(json.dumps([read(text) for text in sys.argv[1:]]))`;
/** Python's notation of what is read; null where it is refused. */
const CBOR: readonly (readonly [string, string | null])[] = [
  ["a161618101", "{'a': [1]}"],
  ["bf61619f01ffff", "{'a': [1]}"],
  ["bf7801619b00000000000000011801ff", "{'a': [1]}"],
  ["a1013822", "{1: -35}"],
  ["83f4f5f6", "[False, True, None]"],
  ["bf616101616102ff", null],
  ["a20001180001", null],
  ["bf6161ff", null],
  ["bf616101", null],
  ["a16161ff", null],
  ["bf616101ff00", null],
  ["5f4101ff", null],
  ["7f6161ff", null],
  ["9f9f9f9f9f00ffffffffff", null],
  ["a1f501", null],
  ["a18000", null],
  ["18", null],
  ["", null],
  ["9b7fffffffffffffff", null],
];

Deno.test({
  name: "the Python package reads CBOR of definite and indefinite lengths, and refuses what is malformed",
  ignore: python === undefined,
  fn: async () => {
    const read = await runPython(["-c", CBOR_SCRIPT, ...CBOR.map(([hex]) => hex)], { env: FROM_SOURCE });
    assertEquals(read.code, 0, read.stderr);
    assertEquals(JSON.parse(read.stdout), CBOR.map(([, value]) => value));
  },
});

const EMPTY_SCRIPT = `from denclave import Expected
for given in (b"", bytes(31)):
    try:
        print(Expected({0: "ab" * 48}, configuration_hash=given))
    except ValueError:
        print("refused")`;

Deno.test({
  name: "the Python package refuses a configuration hash that is empty: it would accept any configuration",
  ignore: python === undefined,
  fn: async () => {
    const ran = await runPython(["-c", EMPTY_SCRIPT], { env: FROM_SOURCE });
    assertEquals(ran.stdout.trim().split("\n"), ["refused", "refused"], ran.stderr);
  },
});

/** Two requests, and a service that interrupts the program at the first one, or nests its reply too deeply. */
const INTERRUPTED_SCRIPT = `import os, signal, socket, struct, sys, threading
from denclave import Client, NoReplyError
class Interrupted(Exception):
    pass
def interrupt(*_):
    raise Interrupted
signal.signal(signal.SIGUSR1, interrupt)
listener = socket.create_server(("127.0.0.1", 0))
reply = b'{"status":"ok","to":"first"}' if sys.argv[1] == "signal" else b"[" * 200_000
def serve():
    stream = listener.accept()[0]
    stream.recv(4096)
    if sys.argv[1] == "signal":
        os.kill(os.getpid(), signal.SIGUSR1)
        stream.recv(4096)
    try:
        stream.sendall(struct.pack(">I", len(reply)) + reply)
    except OSError:
        pass
threading.Thread(target=serve, daemon=True).start()
client = Client(f"tcp:127.0.0.1:{listener.getsockname()[1]}", timeout=20)
for request in ("first", "second"):
    try:
        print(client.exchange({"type": request}))
    except (Interrupted, NoReplyError) as problem:
        print(type(problem).__name__)`;

for (
  const [how, first] of [["signal", "Interrupted"], ["nested", "NoReplyError"]] as const
) {
  Deno.test({
    name: `after an exchange that ended early (${how}), the Python client gives no later request its reply`,
    ignore: python === undefined,
    fn: async () => {
      const ran = await runPython(["-c", INTERRUPTED_SCRIPT, how], { env: FROM_SOURCE });
      assertEquals(ran.stdout.trim().split("\n"), [first, "NoReplyError"], ran.stderr);
    },
  });
}

const EXAMPLE_SCRIPT = `import hashlib
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from denclave.client import _seal
enclave, ephemeral = (X25519PrivateKey.from_private_bytes(bytes(range(at, at + 32))) for at in (0xe0, 0x40))
enc, ciphertext, open_reply = _seal(
    enclave.public_key().public_bytes_raw(),
    b'{"type":"ping"}',
    client_id=bytes(range(0xb0, 0xc0)),
    counter=1,
    times=(1700000000000, 1700000001000, 1700000061000),
    ephemeral=ephemeral,
)
print(enc.hex())
print(ciphertext.hex())
print(open_reply(bytes.fromhex("REPLY")).decode())`;

Deno.test({
  name: "the Python package seals the request of docs/protocol.md to the same bytes, and opens its reply",
  ignore: python === undefined,
  fn: async () => {
    const document = await Deno.readTextFile(`${ROOT}docs/protocol.md`);
    const [, example = ""] = document.split("## Sealed requests");
    const cell = (name: string) =>
      new RegExp(`^\\| ${name} \\| \`([0-9a-f]+)\` \\|$`, "m").exec(example)?.[1];
    const [enc, ciphertext, reply] = ["`enc`", "`ciphertext`", "the reply's `ciphertext`"].map(cell);
    const ran = await runPython(["-c", EXAMPLE_SCRIPT.replace("REPLY", reply ?? "")], { env: FROM_SOURCE });
    assertEquals(ran.stdout.trim().split("\n"), [
      ...[enc, ciphertext],
      '{"status":"ok","msg":"pong","timestamp":"2023-11-14T22:13:21.000Z"}',
    ], ran.stderr);
  },
});

const CHANGED_SCRIPT = `import base64, json, sys
from denclave import AttestationError, Expected, verify_document
gold = json.load(open(sys.argv[1]))
root, document, nonce = (base64.b64decode(text) for text in (gold["root"], gold["attest"]["document"], gold["attest"]["nonce"]))
expected = Expected({0: sys.argv[2]}, insecure_root=root)
verify_document(document, expected, nonce=nonce, at="made")
changes = [document[:at] for at in range(len(document))]
for at in range(0, len(document), 5):
    flipped = bytearray(document)
    flipped[at] ^= 1 + at % 255
    changes.append(bytes(flipped))
for change in changes:
    try:
        verify_document(change, expected, nonce=nonce, at="made")
    except AttestationError:
        continue
    sys.exit(f"taken: {change.hex()}")`;

Deno.test({
  name:
    "the Python package takes no document that was changed or cut short, and raises AttestationError alone",
  ignore: python === undefined,
  fn: async () => {
    const pcr0 =
      "6a5ba5204a52c3f7673f4eb9430bf253f0e2e4ea1251195fed72fcdc2cbbb2c2f4b1c2c0048095a8f6e67aa7b3a04164";
    const args = ["-c", CHANGED_SCRIPT, `${ROOT}tests/fixtures/gold/gold.json`, pcr0];
    const ran = await runPython(args, { env: FROM_SOURCE });
    assertEquals(ran.code, 0, ran.stderr);
  },
});

const EXPIRED_SCRIPT = `import sys
from denclave import Client, Credentials, ServiceError
asked = []
def credentials():
    asked.append(1)
    return Credentials(f"key {len(asked)}", "SECRET", "TOKEN")
with Client(sys.argv[1]) as client:
    client.configure("AAAA", credentials)
    try:
        client.configure("AAAA", credentials())
    except ServiceError as problem:
        print(problem.code, problem.details, problem.hint, len(asked), credentials())`;

Deno.test({
  name:
    "the Python client fetches credentials once more when they have expired, where it can, and never prints them",
  ignore: python === undefined,
  fn: async () => {
    const answers: WireObject[] = [
      { ...errorReply("credentials_expired", "KMS says so") },
      { status: "ok", msg: "configured" },
    ];
    await using service = recordingService(() => ({
      ...answers.shift() ?? errorReply("credentials_expired", "KMS says so"),
    }));
    const ran = await runPython(["-c", EXPIRED_SCRIPT, service.address], { env: FROM_SOURCE });
    const { remedy } = ERROR_CODES.credentials_expired;
    assertEquals(
      ran.stdout.trim(),
      `credentials_expired KMS says so ${remedy} 3 Credentials('key 4')`,
      ran.stderr,
    );
    assertEquals(
      service.requests.map(({ credential }) => (credential as WireObject)["aws_access_key_id"]),
      ["key 1", "key 2", "key 3"],
    );
  },
});
