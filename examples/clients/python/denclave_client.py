"""A client of denclave in Python: the standard library and `cryptography`. Written from docs/protocol.md alone.

    python3 denclave_client.py tcp:127.0.0.1:5000 ping
    python3 denclave_client.py vsock:16:5000 process --tsk-file tsk.hex --data hello
    python3 denclave_client.py vsock:16:5000 process --tsk-file tsk.hex --data hello --sealed --pcr0 <96 hex digits>
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import sys
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key

TIMEOUT_S = 65
MAX_REPLY = 40 * 1024 * 1024
MAX_DOCUMENT = 16 * 1024
VSOCK_WRITE = 32 * 1024
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"


class ServiceError(Exception):
    """The service answered with an error. `code` is stable."""

    def __init__(self, reply):
        self.code = reply.get("msg", "unknown")
        super().__init__(f"{self.code}: {reply.get('details', '')}")


class NotTrusted(Exception):
    """The other side is not the enclave that it should be."""


# Transport and framing (u32be)


class Connection:
    """Requests on one connection, in order. `address` is vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>."""

    def __init__(self, address):
        kind, _, rest = address.partition(":")
        host, _, port = rest.rpartition(":")
        if kind == "unix" and rest:
            self._socket = socket.socket(socket.AF_UNIX)
            target = rest
        elif kind == "vsock" and host.isdecimal() and port.isdecimal():
            self._socket = socket.socket(socket.AF_VSOCK)
            target = (int(host), int(port))
        elif kind == "tcp" and host and port.isdecimal() and int(port) <= 65535:
            self._socket = socket.socket()
            target = (host, int(port))
        else:
            raise ValueError(f"cannot use address {address!r}: write vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>")
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(target)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _receive(self, length):
        data = bytearray()
        while len(data) < length:
            piece = self._socket.recv(min(length - len(data), 65536))
            if not piece:
                raise ConnectionError("The service closed the connection; the request may have been carried out")
            data += piece
        return bytes(data)

    def exchange(self, request):
        """The reply, whatever its status."""
        body = json.dumps(request).encode()
        message = struct.pack(">I", len(body)) + body
        for at in range(0, len(message), VSOCK_WRITE):
            self._socket.sendall(message[at : at + VSOCK_WRITE])
        (length,) = struct.unpack(">I", self._receive(4))
        if length > MAX_REPLY:
            raise ConnectionError(f"The reply has {length} bytes")
        return json.loads(self._receive(length))

    def request(self, request):
        """The reply to a request that worked. Raises ServiceError."""
        return checked(self.exchange(request))


def checked(reply):
    if reply.get("status") == "ok" or ("status" not in reply and "apiResponse" in reply):
        return reply
    raise ServiceError(reply)


# process blobs

REQUEST, REPLY = 1, 2


def binding(direction, request_id):
    """The additional data of a blob: 34 bytes."""
    return b"denclave-process" + bytes([1, direction]) + request_id


def seal_blob(key, data, additional, nonce=None):
    nonce = os.urandom(12) if nonce is None else nonce
    return (nonce + AESGCM(key).encrypt(nonce, data, additional)).hex()


def open_blob(key, blob, additional):
    raw = bytes.fromhex(blob)
    try:
        return AESGCM(key).decrypt(raw[:12], raw[12:], additional)
    except InvalidTag:
        raise NotTrusted("The result is not the answer to this request") from None


def process(client, key, data):
    """Has the service work on data: sealed under the session key, bound to this request."""
    request_id = os.urandom(16)
    reply = client.request(
        {
            "type": "process",
            "ciphertext": seal_blob(key, data, binding(REQUEST, request_id)),
            "bind": True,
            "request_id": request_id.hex(),
        }
    )
    return open_blob(key, reply["result"], binding(REPLY, request_id))


# CBOR: what documents and sealed requests need of RFC 8949


def cbor_head(kind, value):
    if value < 24:
        return bytes([kind << 5 | value])
    for marker, form in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if value < 1 << 8 * struct.calcsize(form):
            return bytes([kind << 5 | marker]) + struct.pack(form, value)
    raise ValueError("The number is too large")


def cbor(value):
    if isinstance(value, int):
        return cbor_head(0, value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return cbor_head(3, len(text)) + text
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    return cbor_head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())


def cbor_read(data, at=0, depth=4):
    """One item and where it ends: integers, bytes, text, arrays, maps, null. Arrays and maps may end with a break: AWS's maps do."""
    first = data[at]
    kind, value, at = first >> 5, first & 31, at + 1
    if first == 0xF6:
        return None, at
    to_break = value == 31 and kind in (4, 5)
    if 24 <= value <= 27:
        size = 1 << value - 24
        value, at = int.from_bytes(data[at : at + size], "big"), at + size
    elif value > 27 and not to_break:
        raise ValueError("No definite length")
    if kind in (0, 1):
        return (-1 - value if kind else value), at
    if kind in (2, 3):
        raw = data[at : at + value]
        if len(raw) != value:
            raise ValueError("Cut off")
        return (raw if kind == 2 else raw.decode()), at + value
    if kind not in (4, 5) or depth == 0:
        raise ValueError("Not allowed here")
    items = []
    while data[at] != 0xFF if to_break else len(items) < value * (kind - 3):
        item, at = cbor_read(data, at, depth - 1)
        items.append(item)
    at += to_break
    if kind == 4:
        return items, at
    pairs = dict(zip(items[::2], items[1::2]))
    if 2 * len(pairs) != len(items):
        raise ValueError("A key is there twice, or without a value")
    return pairs, at


def cbor_whole(data):
    item, end = cbor_read(data)
    if end != len(data):
        raise ValueError("Something follows the end")
    return item


# Attestation documents

PROTECTED = {1: -35}  # ES384
KNOWN_EXTENSIONS = (x509.BasicConstraints.oid, x509.KeyUsage.oid)


def need(holds, what):
    if not holds:
        raise NotTrusted(f"The attestation document is refused: {what}")


def verify_chain(chain, times):
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    last = len(certificates) - 1
    for index, certificate in enumerate(certificates):
        for moment in times:
            begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            need(begins.timestamp() <= moment <= ends.timestamp(), f"certificate {index} is not valid")
        unknown = [e for e in certificate.extensions if e.critical and e.oid not in KNOWN_EXTENSIONS]
        need(not unknown, f"certificate {index} has an unknown critical extension")
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        key = certificate.public_key()
        is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
        need(is_p384 and isinstance(certificate.signature_hash_algorithm, SHA384), f"certificate {index}: algorithm")
        if index == last:
            need(not basic.ca and usage.digital_signature, "the last certificate may not sign documents")
        else:
            need(basic.ca and usage.key_cert_sign, f"certificate {index} may not sign certificates")
            need(basic.path_length is None or basic.path_length >= last - 1 - index, f"certificate {index}: path length")
        if index > 0:
            certificate.verify_directly_issued_by(certificates[index - 1])
    return certificates[last].public_key()


def verify_document(document, *, nonce, public_key, user_data, pcr0, root_sha256=AWS_ROOT_SHA256):
    """The payload of a document that is trusted. Raises NotTrusted. `pcr0` is hex of 96 digits."""
    need(len(document) <= MAX_DOCUMENT, "it is too large")
    try:
        protected, unprotected, payload, signature = cbor_whole(document)
        found = cbor_whole(payload)
        need("nitrotpm_pcrs" not in found, "it is of an instance's NitroTPM, not of an enclave")
        pcrs = found["pcrs"]
        chain = [*found["cabundle"], found["certificate"]]
        need(cbor_whole(protected) == PROTECTED and unprotected == {} and len(signature) == 96, "its header or signature")
        need(found["digest"] == "SHA384", "its digest is not SHA384")
        need(hashlib.sha256(chain[0]).hexdigest() == root_sha256, "its root is another one")
        made, now = found["timestamp"] / 1000, time.time()
        key = verify_chain(chain, (made, now))
        r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
        signed = cbor(["Signature1", protected, b"", payload])
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA384()))
    except NotTrusted:
        raise
    except InvalidSignature:
        raise NotTrusted("The attestation document is refused: a signature is wrong") from None
    except Exception as problem:  # any parser error means that the document is not trusted
        raise NotTrusted(f"The attestation document is refused: {problem}") from problem
    need(made <= now + 300, "it is from the future")
    need(all(any(pcrs.get(index, b"")) for index in (0, 1, 2)), "debug mode")
    need(pcrs[0] == bytes.fromhex(pcr0), f"PCR 0 is {pcrs[0].hex()}")
    need(found["nonce"] == nonce, "its nonce is another one")
    need(found["public_key"] == public_key, "its public key is another one")
    need(found["user_data"] == user_data, "its user data are others")
    return found


# Sealed requests: HPKE (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM

KEM_SUITE = b"KEM" + bytes.fromhex("0020")
HPKE_SUITE = b"HPKE" + bytes.fromhex("002000010002")


def extract(suite, salt, label, value):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + value, "sha256")


def expand(suite, secret, label, info, length):
    labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(secret, block + labeled + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


class HpkeSender:
    """One message's context. With `sender_key` (X25519PrivateKey), mode auth."""

    def __init__(self, recipient, info, sender_key=None, ephemeral=None):
        ephemeral = ephemeral or X25519PrivateKey.generate()
        public = X25519PublicKey.from_public_bytes(recipient)
        self.enc = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(public)
        context = self.enc + recipient
        if sender_key is not None:
            shared += sender_key.exchange(public)
            context += sender_key.public_key().public_bytes_raw()
        secret = expand(KEM_SUITE, extract(KEM_SUITE, b"", b"eae_prk", shared), b"shared_secret", context, 32)
        mode = bytes([0 if sender_key is None else 2])
        psk_id_hash = extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
        schedule = mode + psk_id_hash + extract(HPKE_SUITE, b"", b"info_hash", info)
        derived = extract(HPKE_SUITE, secret, b"secret", b"")
        self._key = expand(HPKE_SUITE, derived, b"key", schedule, 32)
        self._nonce = expand(HPKE_SUITE, derived, b"base_nonce", schedule, 12)
        self._exporter = expand(HPKE_SUITE, derived, b"exp", schedule, 32)

    def seal(self, plaintext, additional):
        """The one message of this context."""
        return AESGCM(self._key).encrypt(self._nonce, plaintext, additional)

    def export(self, context):
        return expand(HPKE_SUITE, self._exporter, b"sec", context, 32)


def seal_request(public_key, plaintext, *, client_id, counter, times, sender_key=None, ephemeral=None):
    """`enc`, the ciphertext, and a function that opens the reply's ciphertext."""
    key_hash = hashlib.sha256(public_key).digest()
    context = HpkeSender(public_key, cbor(["denclave-sealed", 2, "sealed", key_hash]), sender_key, ephemeral)
    name = [key_hash, client_id, counter]
    whole = struct.pack(">QQQ", *times) + plaintext
    ciphertext = context.seal(whole, cbor(["denclave-sealed", 2, "request", *name]))
    about_reply = cbor(["denclave-sealed", 2, "reply", *name])

    def open_reply(sealed):
        try:
            return AESGCM(context.export(about_reply)).decrypt(sealed[:12], sealed[12:], about_reply)
        except InvalidTag:
            raise NotTrusted("The sealed reply is not the answer to this request") from None

    return context.enc, ciphertext, open_reply


def to_base64(data):
    return base64.b64encode(data).decode()


class SealedClient:
    """Requests that only the attested enclave can read. One request at a time."""

    LIFE_MS = 60_000

    def __init__(self, connection, pcr0, root_sha256=AWS_ROOT_SHA256, sender_key=None):
        self._connection = connection
        self._sender_key = sender_key
        nonce = os.urandom(32)
        reply = connection.request({"type": "attest", "nonce": to_base64(nonce)})
        self._public_key = base64.b64decode(reply["public_key"])
        config = base64.b64decode(reply["configuration_hash"])
        nothing = hashlib.sha256(b"").digest()
        verify_document(
            base64.b64decode(reply["attestation_document"]),
            nonce=nonce,
            public_key=self._public_key,
            user_data=cbor({"v": 1, "data": nothing, "config": config, "purpose": "attest"}),
            pcr0=pcr0,
            root_sha256=root_sha256,
        )
        self._client_id = os.urandom(16)
        self._counter = 0
        self._started = time.time_ns() // 1_000_000

    def exchange(self, request):
        self._counter += 1
        now = max(self._started, time.time_ns() // 1_000_000)
        enc, ciphertext, open_reply = seal_request(
            self._public_key,
            json.dumps(request).encode(),
            client_id=self._client_id,
            counter=self._counter,
            times=(self._started, now, now + self.LIFE_MS),
            sender_key=self._sender_key,
        )
        message = {
            "type": "sealed",
            "key_id": to_base64(hashlib.sha256(self._public_key).digest()),
            "client_id": to_base64(self._client_id),
            "counter": self._counter,
            "enc": to_base64(enc),
            "ciphertext": to_base64(ciphertext),
        }
        if self._sender_key is not None:
            message["client_key"] = to_base64(self._sender_key.public_key().public_bytes_raw())
        reply = self._connection.exchange(message)
        if reply.get("type") != "sealed":
            raise NotTrusted(f"An answer in the open, which proves nothing: {reply.get('msg')}")
        return json.loads(open_reply(base64.b64decode(reply["ciphertext"])))

    def request(self, request):
        return checked(self.exchange(request))


def read_client_key(path):
    with open(path, "rb") as file:
        key = load_pem_private_key(file.read(), password=None)
    if not isinstance(key, X25519PrivateKey):
        raise OSError(f"{path} holds no X25519 key")
    return key


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("command", choices=("ping", "process"))
    parser.add_argument("--data", default="")
    parser.add_argument("--tsk-file", help="the session key, 64 hex digits")
    parser.add_argument("--sealed", action="store_true", help="seal requests for the enclave after verifying its attestation")
    parser.add_argument("--pcr0", help="the enclave's PCR0, 96 hex digits")
    parser.add_argument("--client-key-file", help="with --sealed: this client's X25519 key (openssl genpkey -algorithm X25519)")
    parser.add_argument("--root-sha256", default=AWS_ROOT_SHA256, help="for development: trust this simulated root")
    options = parser.parse_args()
    if options.sealed and options.pcr0 is None:
        parser.error("--sealed needs --pcr0")
    if options.command == "process" and options.tsk_file is None:
        parser.error("process needs --tsk-file")
    try:
        with Connection(options.address) as connection:
            client = connection
            if options.sealed:
                sender_key = None if options.client_key_file is None else read_client_key(options.client_key_file)
                client = SealedClient(connection, options.pcr0, options.root_sha256, sender_key)
            if options.command == "ping":
                print(client.request({"type": "ping"})["msg"])
            else:
                with open(options.tsk_file, encoding="ascii") as file:
                    key = bytes.fromhex(file.read().strip())
                print(process(client, key, options.data.encode()).decode())
    except (ServiceError, NotTrusted, OSError, ValueError) as problem:
        sys.exit(f"denclave_client: {problem}")


if __name__ == "__main__":
    main()
