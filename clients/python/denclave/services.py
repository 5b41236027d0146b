"""The requests of all services, over a plain or a sealed connection."""

from __future__ import annotations

import base64
import binascii
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Union

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .attestation import Expected, KeyOrigin, verify_key_document
from .errors import ReplyError, ServiceError

_REQUEST, _REPLY = 1, 2
_NONCE_LENGTH = 32


@dataclass(frozen=True)
class Credentials:
    """The parent's AWS credentials, which the enclave calls KMS with."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r})"


#: Credentials, or what fetches them: it is called again when KMS says that they have expired.
CredentialSource = Union[Credentials, Callable[[], Credentials]]


@dataclass(frozen=True)
class Account:
    """An account's row: it exists nowhere else, so store it. Bytes are base64."""

    name: str
    key_id: str
    address: str
    encrypted_private_key: str
    encrypted_data_key: str
    version: int = 1
    #: The attestation document about it, and the nonce in that.
    attestation: str | None = None
    nonce: str | None = None

    def verify(self, expected: Expected) -> KeyOrigin:
        """Where the key comes from, by the row's document. Raises AttestationError."""
        if self.attestation is None or self.nonce is None:
            raise ValueError(f"Account {self.name!r} has no attestation document: make it with attest=True")
        return verify_key_document(
            base64.b64decode(self.attestation),
            expected,
            nonce=base64.b64decode(self.nonce),
            purpose="wallet",
            subject=self.name,
            public_part=bytes.fromhex(self.address[2:]),
            key_arn=self.key_id,
            epoch=0,
        )


@dataclass(frozen=True)
class Signature:
    """`0x` and hex. The last two are of a transaction."""

    signature: str
    r: str
    s: str
    y_parity: int
    v: int
    signed_transaction: str | None = None
    transaction_hash: str | None = None


@dataclass(frozen=True)
class MasterKeyRow:
    """A master key as it is stored. Bytes are base64."""

    enclave_id: str
    kms_encrypted_dek: str
    encrypted_private_key: str
    public_key: str
    key_epoch: int
    kms_key_id: str


@dataclass(frozen=True)
class MasterKey:
    """The key that the enclave holds. Store `row` when `newly_generated`."""

    row: MasterKeyRow
    newly_generated: bool
    origin: str
    boot_id: str
    attestation: str | None
    nonce: str | None

    def verify(self, expected: Expected) -> KeyOrigin:
        """Where the key comes from, by the reply's document. Raises AttestationError."""
        if self.attestation is None or self.nonce is None:
            raise ValueError("There is no attestation document: ask with attest=True")
        return verify_key_document(
            base64.b64decode(self.attestation),
            expected,
            nonce=base64.b64decode(self.nonce),
            purpose="master",
            subject=self.row.enclave_id,
            public_part=base64.b64decode(self.row.public_key),
            key_arn=self.row.kms_key_id,
            epoch=self.row.key_epoch,
            at=None,
        )


@dataclass(frozen=True)
class MasterKeySignature:
    """64 bytes: r ‖ s, or BIP-340's. `recovery_id` is of ECDSA."""

    signature: bytes
    public_key: bytes
    recovery_id: int | None
    boot_id: str


def _binding(direction: int, request_id: bytes | None) -> bytes | None:
    """The additional data of a blob: 34 bytes. None for the old format."""
    return None if request_id is None else b"denclave-process" + bytes([1, direction]) + request_id


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _new_nonce(attest: bool) -> str | None:
    return base64.b64encode(os.urandom(_NONCE_LENGTH)).decode() if attest else None


def _unexpected(problem: Exception) -> ReplyError:
    hint = "Check that the client and the enclave have the same version."
    return ReplyError(f"The reply is malformed: {problem!r}", code="unexpected_reply", hint=hint)


def _signature(found: Mapping[str, Any]) -> Signature:
    optional = (found.get("signedTransaction"), found.get("transactionHash"))
    return Signature(found["signature"], found["r"], found["s"], found["yParity"], found["v"], *optional)


class Services(ABC):
    """What a client does. Every method raises ServiceError when the service refuses, and NoReplyError when there is no reply."""

    @abstractmethod
    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request, and gives the reply, whatever its status."""

    def request(self, request: dict[str, Any], credentials: CredentialSource | None = None) -> dict[str, Any]:
        """Sends a request, with credentials where they are given, and gives the reply of one that worked."""
        reply = self.exchange(self._with_credentials(request, credentials))
        if reply.get("msg") == "credentials_expired" and callable(credentials):
            reply = self.exchange(self._with_credentials(request, credentials))
        if reply.get("status") == "ok" or ("status" not in reply and "apiResponse" in reply):
            return reply
        raise ServiceError(reply)

    @staticmethod
    def _with_credentials(request: dict[str, Any], source: CredentialSource | None) -> dict[str, Any]:
        if source is None:
            return request
        found = source() if callable(source) else source
        return {
            **request,
            "credential": {
                "aws_access_key_id": found.access_key_id,
                "aws_secret_access_key": found.secret_access_key,
                "aws_session_token": found.session_token,
            },
        }

    def ping(self) -> str:
        """The enclave's time, ISO 8601."""
        return str(self.request({"type": "ping"})["timestamp"])

    # Session key

    def configure(
        self,
        encrypted_tsk: str,
        credentials: CredentialSource,
        *,
        kms_key_id: str | None = None,
        region: str | None = None,
        epoch: int | None = None,
    ) -> None:
        """Has KMS open the session key, which `denclavectl tsk` wrapped, and uses it."""
        given = _given(kms_key_id=kms_key_id, region=region, epoch=epoch)
        self.request({"type": "configure", "encrypted_tsk": encrypted_tsk, **given}, credentials)

    def process(self, key: bytes, data: bytes, *, bind: bool = True) -> bytes:
        """Has the workflow work on data, sealed under the session key (32 bytes). `bind=False` is for services that know the old format only."""
        if len(key) != 32:
            raise ValueError(f"Cannot seal with a key of {len(key)} bytes: AES-256 has 32")
        request_id = os.urandom(16) if bind else None
        nonce = os.urandom(12)
        blob = nonce + AESGCM(key).encrypt(nonce, data, _binding(_REQUEST, request_id))
        bound = {} if request_id is None else {"bind": True, "request_id": request_id.hex()}
        reply = self.request({"type": "process", "ciphertext": blob.hex(), **bound})
        try:
            result = bytes.fromhex(reply["result"])
            return AESGCM(key).decrypt(result[:12], result[12:], _binding(_REPLY, request_id))
        except (InvalidTag, ValueError, KeyError, TypeError) as problem:
            raise ReplyError(
                "Cannot open the result: it is not the answer to this request, or was changed",
                code="decrypt_failed",
                hint="Check that the service has the same session key, and that no byte changed on the way.",
            ) from problem

    # Accounts

    def create_account(
        self,
        name: str,
        credentials: CredentialSource,
        *,
        key_id: str | None = None,
        attest: bool = False,
    ) -> Account:
        """Makes an Ethereum account. Only what this returns has it: store it before the address is used."""
        nonce = _new_nonce(attest)
        request = {"apiRequest": "generateAccount", "name": name, **_given(key_id=key_id, nonce=nonce)}
        reply = self.request(request, credentials)
        try:
            found = reply["content"]
            return Account(
                name=name,
                key_id=found["keyId"],
                address=found["address"],
                encrypted_private_key=found["encryptedPrivateKey"],
                encrypted_data_key=found["encryptedDataKey"],
                version=found.get("version", 1),
                attestation=found["attestationDocument"] if attest else None,
                nonce=nonce,
            )
        except (KeyError, TypeError) as problem:
            raise _unexpected(problem) from problem

    def _sign(self, account: Account, credentials: CredentialSource, fields: dict[str, Any]) -> Any:
        row = {
            "name": account.name,
            "key_id": account.key_id,
            "address": account.address,
            "encryptedPrivateKey": account.encrypted_private_key,
            "encryptedDataKey": account.encrypted_data_key,
            "version": account.version,
        }
        return self.request({"apiRequest": "sign", **row, **fields}, credentials).get("content")

    def sign(self, account: Account, credentials: CredentialSource, payload: Mapping[str, Any]) -> Signature:
        """Signs one payload: `{"message": …}`, `{"typedData": …}`, `{"transaction": …}` or `{"digest": …}`."""
        try:
            return _signature(self._sign(account, credentials, dict(payload)))
        except (KeyError, TypeError) as problem:
            raise _unexpected(problem) from problem

    def sign_batch(
        self, account: Account, credentials: CredentialSource, payloads: Sequence[Mapping[str, Any]]
    ) -> list[Signature]:
        """Signs up to 1,000 payloads under one KMS call, in their order."""
        try:
            found = self._sign(account, credentials, {"items": list(payloads)})["signatures"]
            if len(found) != len(payloads):
                raise TypeError(f"{len(found)} signatures for {len(payloads)} payloads")
            return [_signature(each) for each in found]
        except (KeyError, TypeError) as problem:
            raise _unexpected(problem) from problem

    # Master key

    def master_key_init(
        self,
        enclave_id: int | str,
        credentials: CredentialSource,
        *,
        row: MasterKeyRow | None = None,
        kms_key_id: str | None = None,
        attest: bool = False,
    ) -> MasterKey:
        """Takes a stored row into use; without one, makes a key. Store the row of a new key."""
        nonce = _new_nonce(attest)
        stored = asdict(row) if row is not None else _given(kms_key_id=kms_key_id)
        request = {"type": "master_key.init", **stored, "enclave_id": enclave_id, **_given(nonce=nonce)}
        return self._master_key(self.request(request, credentials), nonce)

    def master_key_rewrap(
        self,
        new_kms_key_id: str,
        credentials: CredentialSource,
        *,
        key_epoch: int | None = None,
        attest: bool = False,
    ) -> MasterKey:
        """Wraps the held key under another KMS key. Store the row that this returns."""
        nonce = _new_nonce(attest)
        given = _given(key_epoch=key_epoch, nonce=nonce)
        request = {"type": "master_key.rewrap", "new_kms_key_id": new_kms_key_id, **given}
        return self._master_key(self.request(request, credentials), nonce)

    @staticmethod
    def _master_key(reply: Mapping[str, Any], nonce: str | None) -> MasterKey:
        try:
            row = MasterKeyRow(**{name: reply[name] for name in MasterKeyRow.__dataclass_fields__})
            document = None if nonce is None else reply["attestation_document"]
            return MasterKey(row, reply["newly_generated"], reply["origin"], reply["boot_id"], document, nonce)
        except KeyError as problem:
            raise _unexpected(problem) from problem

    def master_key_verify(self, row: MasterKeyRow, credentials: CredentialSource) -> None:
        """Checks that a stored row opens. The held key does not change."""
        self.request({"type": "master_key.verify", **asdict(row)}, credentials)

    def master_key_info(self) -> dict[str, Any]:
        """The public part of the held key: `public_key`, `key_epoch`, `kms_key_id`, `boot_id` and `origin`."""
        return self.request({"type": "master_key.public_info"})

    def master_key_sign(self, digest: bytes, *, scheme: Literal["ecdsa", "schnorr"] = "ecdsa") -> MasterKeySignature:
        """Signs 32 bytes."""
        reply = self.request({"type": "master_key.sign", "digest": digest.hex(), "scheme": scheme})
        try:
            signature, public_key = (base64.b64decode(reply[name]) for name in ("signature", "public_key"))
            return MasterKeySignature(signature, public_key, reply.get("recovery_id"), reply["boot_id"])
        except (KeyError, TypeError, binascii.Error) as problem:
            raise _unexpected(problem) from problem
