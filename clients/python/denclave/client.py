"""Clients: of a connection as it is, and of one whose requests only the attested enclave can read."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import _cbor, _hpke
from ._connection import DEFAULT_TIMEOUT, Connection
from .attestation import Document, Expected, attest_user_data, verify_document
from .errors import NoReplyError, ReplyError, SealedError, ServiceError
from .services import Services

_C = TypeVar("_C", bound="Client")
_MAX_KEY_SECONDS = 3600.0
_HINT = "Do not trust what came. The request may have been carried out; the next one attests anew."


class Client(Services):
    """A connection: requests in order, a deadline for each. `address` is `vsock:<cid>:<port>`, `tcp:<host>:<port>` or `unix:<path>`."""

    def __init__(self, address: str, *, timeout: float = DEFAULT_TIMEOUT, connect_timeout: float | None = None) -> None:
        self._connection = Connection(address, timeout, connect_timeout)

    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._connection.exchange(request)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attest(self, expected: Expected, user_data: bytes) -> tuple[Document, float]:
        nonce = os.urandom(32)
        asked = {"type": "attest", "nonce": base64.b64encode(nonce).decode()}
        if user_data:
            asked["user_data"] = base64.b64encode(user_data).decode()
        reply = self._connection.exchange(asked)
        if reply.get("status") != "ok":
            raise ServiceError(reply)
        try:
            document, public_key, said = (
                base64.b64decode(reply[name]) for name in ("attestation_document", "public_key", "configuration_hash")
            )
            expires = datetime.fromisoformat(str(reply["expires_at"]).replace("Z", "+00:00"))
        except (KeyError, TypeError, ValueError) as problem:
            raise ReplyError(f"The reply to attest is malformed: {problem!r}", code="unexpected_reply") from problem
        configuration = said if expected.configuration_hash is None else expected.configuration_hash
        found = verify_document(
            document,
            expected,
            nonce=nonce,
            public_key=public_key,
            user_data=attest_user_data(user_data, configuration),
        )
        life = (expires - found.timestamp).total_seconds()
        return found, min(max(life, 1.0), _MAX_KEY_SECONDS)

    def attest(self, expected: Expected, user_data: bytes = b"") -> Document:
        """Has the enclave attest, to its key and to up to 256 bytes of the caller's, and verifies the document. Raises AttestationError."""
        return self._attest(expected, user_data)[0]


def _seal(
    public_key: bytes,
    plaintext: bytes,
    *,
    client_id: bytes,
    counter: int,
    times: tuple[int, int, int],
    sender_key: X25519PrivateKey | None = None,
    ephemeral: X25519PrivateKey | None = None,
) -> tuple[bytes, bytes, Callable[[bytes], bytes]]:
    """`enc`, the ciphertext, and what opens the reply's ciphertext."""
    key_hash = hashlib.sha256(public_key).digest()
    context = _hpke.Sender(public_key, _cbor.encode(["denclave-sealed", 2, "sealed", key_hash]), sender_key, ephemeral)
    name = [key_hash, client_id, counter]
    whole = struct.pack(">QQQ", *times) + plaintext
    ciphertext = context.seal(whole, _cbor.encode(["denclave-sealed", 2, "request", *name]))
    about_reply = _cbor.encode(["denclave-sealed", 2, "reply", *name])

    def open_reply(sealed: bytes) -> bytes:
        return AESGCM(context.export(about_reply)).decrypt(sealed[:12], sealed[12:], about_reply)

    return context.enc, ciphertext, open_reply


class SealedClient(Client):
    """Verifies the enclave, and seals every request for it: the parent sees only lengths and times. Raises AttestationError when the enclave is not the
    one expected, SealedError for a reply that is not the enclave's. `client_key` is for a service with a list of clients."""

    def __init__(
        self,
        address: str,
        expected: Expected,
        *,
        client_key: X25519PrivateKey | None = None,
        life: float = 60.0,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
    ) -> None:
        super().__init__(address, timeout=timeout, connect_timeout=connect_timeout)
        self._address = address
        self._timeout = timeout
        self._expected = expected
        self._client_key = client_key
        self._life_ms = int(life * 1000)
        self._turn = threading.Lock()
        self._public_key: bytes | None = None
        self._until = 0.0
        self._client_id = b""
        self._counter = 0
        self._started = 0

    def _ready(self) -> bytes:
        if self._public_key is not None and time.monotonic() < self._until:
            return self._public_key
        asked = time.monotonic()
        document, life = self._attest(self._expected, b"")
        if document.public_key is None:
            raise SealedError("The enclave attests to no key", code="sealed_reply", hint=_HINT)
        self._until = asked + life
        self._client_id = os.urandom(16)
        self._counter = 0
        # Sessions of one client key must begin one after the other, also within a millisecond.
        self._started = max(self._started + 1, time.time_ns() // 1_000_000)
        self._public_key = document.public_key
        return self._public_key

    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        # Another request may attest first.
        if not self._turn.acquire(timeout=2 * self._timeout):
            raise NoReplyError(self._address, "another request had no reply in time")
        try:
            return self._sealed(self._ready(), request)
        except Exception:
            # The enclave may have restarted with another key.
            self._public_key = None
            raise
        finally:
            self._turn.release()

    def _sealed(self, public_key: bytes, request: dict[str, Any]) -> dict[str, Any]:
        self._counter += 1
        now = max(self._started, time.time_ns() // 1_000_000)
        enc, ciphertext, open_reply = _seal(
            public_key,
            json.dumps(request).encode(),
            client_id=self._client_id,
            counter=self._counter,
            times=(self._started, now, now + self._life_ms),
            sender_key=self._client_key,
        )
        message: dict[str, Any] = {
            "type": "sealed",
            "key_id": base64.b64encode(hashlib.sha256(public_key).digest()).decode(),
            "client_id": base64.b64encode(self._client_id).decode(),
            "counter": self._counter,
            "enc": base64.b64encode(enc).decode(),
            "ciphertext": base64.b64encode(ciphertext).decode(),
        }
        if self._client_key is not None:
            message["client_key"] = base64.b64encode(self._client_key.public_key().public_bytes_raw()).decode()
        reply = self._connection.exchange(message)
        if reply.get("status") != "ok":
            cause = ServiceError(reply)
            raise SealedError(f"{cause} (in the open)", code="sealed_refused", hint=_HINT, details=cause.code) from cause
        if reply.get("type") != "sealed":
            raise SealedError("There is no sealed reply in the answer", code="sealed_reply", hint=_HINT)
        try:
            opened = json.loads(open_reply(base64.b64decode(reply["ciphertext"])))
            if isinstance(opened, dict):
                return opened
            raise ValueError("no JSON object")
        except (InvalidTag, KeyError, TypeError, ValueError) as problem:
            message_ = "The sealed reply is not the answer to this request, or was changed"
            raise SealedError(message_, code="sealed_not_opened", hint=_HINT) from problem
