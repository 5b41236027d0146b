"""Attestation documents: verified up to AWS's Nitro root."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, Union

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from . import _cbor
from .errors import AttestationError

#: DER of AWS's Nitro root G1, of the commercial partitions. AWS publishes it, and the SHA-256 641a0321…79bb5b.
AWS_NITRO_ROOT = base64.b64decode(
    "MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTELMAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UECwwDQVdTMRswGQYD"
    "VQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4MTQyODA1WjBJMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQW1hem9uMQwwCgYDVQQL"
    "DANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEGBSuBBAAiA2IABPwCVOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb"
    "48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZEh8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkF"
    "R+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqGSM49BAMDA2kAMGYCMQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPW"
    "rfMCMQCi85sWBbJwKKXdS6BptQFuZbT73o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6NIwLz3/Y="
)

#: PCRs of one build, hex of 96 digits by index.
Pcrs = Mapping[int, str]

_MAX_DOCUMENT = 16 * 1024
_MAX_CERTIFICATE = 1024
_MAX_CAS = 8
_MAX_SKEW = timedelta(minutes=5)
_PCR_LENGTH = 48
_PROTECTED = {1: -35}  # ES384
_KNOWN_EXTENSIONS = (x509.BasicConstraints.oid, x509.KeyUsage.oid)


@dataclass(frozen=True)
class Expected:
    """Which enclaves are trusted. `pcrs` has PCR0 (the image) or PCR8 (who signed it); of several builds, one must match."""

    pcrs: Union[Pcrs, Sequence[Pcrs]]
    #: 32 bytes: the hash of the enclave's measured configuration. Any, unless given.
    configuration_hash: bytes | None = None
    #: Accepts an enclave in debug mode, whose memory the parent can read.
    allow_debug: bool = False
    #: DER of another root than AWS's, for development: a simulated enclave's.
    insecure_root: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        builds = self.builds()
        if not builds:
            raise ValueError("No build is expected, so that none would pass")
        if self.configuration_hash is not None and len(self.configuration_hash) != 32:
            raise ValueError("The configuration hash does not have 32 bytes")
        for build in builds:
            for index, value in build.items():
                if not 0 <= index < 32 or len(value) != 2 * _PCR_LENGTH or not any(bytes.fromhex(value)):
                    raise ValueError(f"PCR {index} is not 96 hex digits of an enclave that is not in debug mode")
            if 0 not in build and 8 not in build:
                raise ValueError("Neither PCR0 (the image) nor PCR8 (who signed it) is expected: any enclave would pass")

    def builds(self) -> Sequence[Pcrs]:
        return [self.pcrs] if isinstance(self.pcrs, Mapping) else self.pcrs


@dataclass(frozen=True)
class Document:
    """A verified document. PCRs are lower-case hex."""

    module_id: str
    timestamp: datetime
    pcrs: Mapping[int, str]
    debug: bool
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


@dataclass(frozen=True)
class KeyOrigin:
    """What a document says of a key. Only `generated` means that the key has never been outside an enclave."""

    origin: Literal["generated", "opened"]
    generated_at: datetime | None
    configuration_hash: bytes
    document: Document


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _verify_chain(chain: Sequence[bytes], times: Sequence[datetime]) -> ec.EllipticCurvePublicKey:
    def need(holds: bool, what: str) -> None:
        if not holds:
            raise AttestationError("chain", what)

    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    last = len(certificates) - 1
    need(last > 0, "it has only a root")
    keys = []
    for index, certificate in enumerate(certificates):
        unknown = [e for e in certificate.extensions if e.critical and e.oid not in _KNOWN_EXTENSIONS]
        need(not unknown, f"certificate {index} has an unknown critical extension")
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise AttestationError("chain", f"the key of certificate {index} is not of P-384")
        keys.append(key)
        need(isinstance(key.curve, ec.SECP384R1), f"the key of certificate {index} is not of P-384")
        need(isinstance(certificate.signature_hash_algorithm, SHA384), f"certificate {index} is not signed by ES384")
        if index == last:
            need(not basic.ca and usage.digital_signature, "the last certificate may not sign documents")
        else:
            need(basic.ca and usage.key_cert_sign, f"certificate {index} may not sign certificates")
            need(basic.path_length is None or basic.path_length >= last - 1 - index, f"certificate {index}: path length")
        if index > 0:
            need(certificate.issuer != certificate.subject, f"certificate {index} names itself as its issuer")
            certificate.verify_directly_issued_by(certificates[index - 1])
    for index, certificate in enumerate(certificates):
        for moment in times:
            if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
                raise AttestationError("expired", f"certificate {index} is not valid at {moment.isoformat()}")
    return keys[-1]


def _is_bytes(value: Any, least: int, most: int) -> bool:
    return isinstance(value, bytes) and least <= len(value) <= most


def _read(document: bytes) -> tuple[dict[str, Any], bytes, bytes, bytes]:
    """The payload's fields, and what is signed: protected header, payload, signature."""
    if len(document) > _MAX_DOCUMENT:
        raise ValueError(f"it has {len(document)} bytes")
    protected, unprotected, payload, signature = _cbor.decode(document)
    if _cbor.decode(protected) != _PROTECTED:
        raise AttestationError("algorithm", "it is not signed by ES384")
    found = _cbor.decode(payload)
    if "nitrotpm_pcrs" in found:
        raise AttestationError("nitrotpm", "it is of an instance's NitroTPM, not of an enclave")
    pcrs, chain = found["pcrs"], [*found["cabundle"], found["certificate"]]
    if not (
        unprotected == {}
        and _is_bytes(signature, 96, 96)
        and found["digest"] == "SHA384"
        and isinstance(found["module_id"], str)
        and type(found["timestamp"]) is int
        and found["timestamp"] > 0
        and all(type(index) is int and 0 <= index < 32 and _is_bytes(pcr, _PCR_LENGTH, _PCR_LENGTH) for index, pcr in pcrs.items())
        and all(index in pcrs for index in (0, 1, 2))
        and 2 <= len(chain) <= _MAX_CAS + 1
        and all(_is_bytes(der, 1, _MAX_CERTIFICATE) for der in chain)
        and all(found.get(name) is None or _is_bytes(found[name], 0, 1024) for name in ("public_key", "user_data", "nonce"))
    ):
        raise ValueError("a field is missing, or of another type")
    return found, protected, payload, signature


def verify_document(
    document: bytes,
    expected: Expected,
    *,
    nonce: bytes | None = None,
    insecure_skip_nonce: bool = False,
    user_data: bytes | None = None,
    public_key: bytes | None = None,
    at: datetime | Literal["made"] | None = None,
    max_age: timedelta | None = None,
) -> Document:
    """Verifies a document: its form, its chain up to the root, its signature, and what is expected. `nonce` is the one of the request.

    `at` is the time to verify at, now unless given; with "made" a stored document is verified as of its own time, which proves its origin, not that the
    enclave still runs. `insecure_skip_nonce` accepts a document that may be a replay, for development. Raises AttestationError."""
    if nonce is None and not insecure_skip_nonce:
        raise ValueError("No nonce is expected, so that the document may be a replay")
    try:
        found, protected, payload, signature = _read(document)
        chain = [*found["cabundle"], found["certificate"]]
        made = _time(found["timestamp"])
        now = made if at == "made" else (at or datetime.now(timezone.utc))
        if chain[0] != (AWS_NITRO_ROOT if expected.insecure_root is None else expected.insecure_root):
            raise AttestationError("root", "its first CA is not the pinned root")
        try:
            key = _verify_chain(chain, (made, now))
        except AttestationError:
            raise
        except Exception as problem:
            raise AttestationError("chain", f"its certificates do not lead to the root: {problem}") from problem
        r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
        signed = _cbor.encode(["Signature1", protected, b"", payload])
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA384()))
    except AttestationError:
        raise
    except InvalidSignature:
        raise AttestationError("signature", "it is not signed by its certificate") from None
    except Exception as problem:  # any error of a parser means that the document is refused
        raise AttestationError("malformed", f"it cannot be read: {problem}") from problem
    pcrs = {index: pcr.hex() for index, pcr in found["pcrs"].items()}
    debug = not all(any(found["pcrs"][index]) for index in (0, 1, 2))
    if now - made < -_MAX_SKEW or (max_age is not None and now - made > max_age):
        raise AttestationError("stale", f"it was made at {made.isoformat()}")
    if debug and not expected.allow_debug:
        raise AttestationError("debug", "it is of an enclave in debug mode")
    for name, wanted in (("nonce", nonce), ("user_data", user_data), ("public_key", public_key)):
        if wanted is not None and found.get(name) != wanted:
            raise AttestationError(name, f"its {name} is another one")
    if not any(all(pcrs.get(index) == value.lower() for index, value in build.items()) for build in expected.builds()):
        raise AttestationError("pcr", f"its PCRs are of no accepted build; PCR 0 is {pcrs[0]}")
    fields = {name: found.get(name) for name in ("public_key", "user_data", "nonce")}
    return Document(found["module_id"], made, pcrs, debug, **fields)


def attest_user_data(data: bytes, configuration_hash: bytes) -> bytes:
    """The `user_data` of a document that `attest` gave."""
    return _cbor.encode({"v": 1, "data": hashlib.sha256(data).digest(), "config": configuration_hash, "purpose": "attest"})


def verify_key_document(
    document: bytes,
    expected: Expected,
    *,
    nonce: bytes,
    purpose: Literal["wallet", "master"],
    subject: str,
    public_part: bytes,
    key_arn: str,
    epoch: int,
    at: datetime | Literal["made"] | None = "made",
) -> KeyOrigin:
    """Verifies a document about a key: that the enclave holds it, and whether it generated it. Raises AttestationError."""
    found = verify_document(document, expected, nonce=nonce, at=at)
    try:
        said = _cbor.decode(found.user_data or b"")
        origin, generated_at, previous, config = (said[name] for name in ("origin", "generated_at", "previous", "config"))
        is_known = (origin == "opened" and generated_at is None) or (origin == "generated" and type(generated_at) is int)
        about = [2, purpose, subject, public_part, key_arn, epoch, origin, generated_at, previous]
        data = hashlib.sha256(_cbor.encode(about)).digest()
        names = {"config": config, "data": data, "generated_at": generated_at, "origin": origin, "previous": previous}
        is_about = said == {"v": 2, "purpose": purpose, **names} and len(config) == 32
    except Exception as problem:
        raise AttestationError("user_data", "it does not say where the key comes from") from problem
    if not is_known or not is_about:
        raise AttestationError("user_data", "it is about another key, or another row of it")
    if expected.configuration_hash is not None and config != expected.configuration_hash:
        raise AttestationError("user_data", "the enclave has another configuration")
    return KeyOrigin(origin, None if generated_at is None else _time(generated_at), config, found)
