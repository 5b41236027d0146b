"""HPKE (RFC 9180) for a sender: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, in mode base or auth. `cryptography` has no mode auth and no export."""

from __future__ import annotations

import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEM = b"KEM" + bytes.fromhex("0020")
_SUITE = b"HPKE" + bytes.fromhex("002000010002")


def _extract(suite: bytes, salt: bytes, label: bytes, value: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + value, "sha256")


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    # No output here is longer than one block of SHA-256.
    return hmac.digest(secret, labeled + b"\x01", "sha256")[:length]


class Sender:
    """The context of one message. With `sender_key`, mode auth."""

    def __init__(
        self,
        recipient: bytes,
        info: bytes,
        sender_key: X25519PrivateKey | None = None,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        ephemeral = ephemeral or X25519PrivateKey.generate()
        public = X25519PublicKey.from_public_bytes(recipient)
        self.enc = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(public)
        context = self.enc + recipient
        if sender_key is not None:
            shared += sender_key.exchange(public)
            context += sender_key.public_key().public_bytes_raw()
        secret = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", shared), b"shared_secret", context, 32)
        mode = bytes([0 if sender_key is None else 2])
        schedule = mode + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
        derived = _extract(_SUITE, secret, b"secret", b"")
        self._key = _expand(_SUITE, derived, b"key", schedule, 32)
        self._nonce = _expand(_SUITE, derived, b"base_nonce", schedule, 12)
        self._exporter = _expand(_SUITE, derived, b"exp", schedule, 32)

    def seal(self, plaintext: bytes, additional: bytes) -> bytes:
        """The one message of this context."""
        return AESGCM(self._key).encrypt(self._nonce, plaintext, additional)

    def export(self, context: bytes) -> bytes:
        return _expand(_SUITE, self._exporter, b"sec", context, 32)
