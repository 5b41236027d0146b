"""Verifies a receipt of denclave offline, with the COSE library cwt.

usage: verify_receipt.py PROOF PCR0 [--result FILE] [--input FILE] [--root FILE]

PROOF is JSON as `denclavectl client process --receipt` writes it: receipt, attestation_document and, as far as they are
disclosed, result_salt and input_salt, all in base64. PCR0 is that of the build, in hex. --root replaces AWS's root
certificate (DER), for a rehearsal. docs/protocol.md of the project lists what is checked.
"""
import argparse
import base64
import datetime
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cwt import COSE, COSEKey

# SHA-256 of the DER of AWS's Nitro root G1.
AWS_ROOT = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
SKEW, DAY, SALT = 300, 86_400, 48
IAT, CTI, NONCE = 6, 7, 10
TYPE, REQUEST, RESULT, INPUT, OUTCOME, CONFIGURATION = range(-65537, -65543, -1)


class Refused(Exception):
    pass


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)


def cose_key(public_key, key_id: bytes = b"") -> COSEKey:
    return COSEKey.from_pem(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), kid=key_id)


def verify_document(document: bytes, root_sha256: str, pcr0: str) -> dict:
    """The contents of an attestation document, as of its own time."""
    message = cbor2.loads(document)
    if isinstance(message, cbor2.CBORTag):
        message = message.value
    check(cbor2.loads(message[0]) == {1: -35}, "the document is not signed with ES384")
    fields = cbor2.loads(message[2])
    at = datetime.datetime.fromtimestamp(fields["timestamp"] / 1000, datetime.timezone.utc)
    check(hashlib.sha256(fields["cabundle"][0]).hexdigest() == root_sha256, "the document begins at another root")
    chain = [x509.load_der_x509_certificate(der) for der in [*fields["cabundle"], fields["certificate"]]]
    for issuer, certificate in zip([chain[0], *chain], chain):
        certificate.verify_directly_issued_by(issuer)
        check(certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc, "a certificate had expired")
    for index, certificate in enumerate(chain):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        below = len(chain) - 2 - index
        check(constraints.ca == (index < len(chain) - 1), "a certificate is not allowed at its place")
        check(constraints.path_length is None or constraints.path_length >= below, "the chain is too long")
    COSE.new().decode(cbor2.CBORTag(18, message), cose_key(chain[-1].public_key()))
    pcrs = fields["pcrs"]
    check(all(any(pcrs[index]) for index in (0, 1, 2)), "the document is of an enclave in debug mode")
    check(pcrs[0].hex() == pcr0.lower(), "the document is of another build")
    return fields


def verify_commitment(claims: dict, label: int, data: bytes, salt: bytes) -> None:
    # Other lengths could move bytes between the salt and what it hides.
    if claims[TYPE] == "master_key.sign":
        length = 64 if label == RESULT else 32
        check(len(data) == length and len(salt) in (0, SALT), "the salt, or what is disclosed, has another length")
    else:
        check(len(salt) == SALT, "the salt has another length")
    check(hashlib.sha384(salt + data).digest() == claims[label], "the receipt commits to something else")


def verify_receipt(receipt: bytes, document: bytes, root_sha256: str, pcr0: str) -> dict:
    fields = verify_document(document, root_sha256, pcr0)
    about = cbor2.loads(fields["user_data"] or b"\xa0")
    key = fields["public_key"] or b""
    check(about.get("v") == 1 and about.get("purpose") == "receipt" and len(key) == 32, "the document is of no receipt key")
    made = fields["timestamp"] / 1000
    check(about["not_before"] - SKEW <= made <= about["not_after"] + DAY + SKEW, "the document is of another time")

    message = cbor2.loads(receipt)
    check(isinstance(message, cbor2.CBORTag) and message.tag == 18, "it is no COSE_Sign1")
    header = cbor2.loads(message.value[0])
    key_id = hashlib.sha256(key).digest()
    check(header == {1: -8, 4: key_id}, "the receipt is signed with another key")
    claims = cbor2.loads(COSE.new().decode(receipt, cose_key(Ed25519PublicKey.from_public_bytes(key), key_id)))
    check(about["not_before"] - SKEW <= claims[IAT] <= about["not_after"] + SKEW, "the key was not in use then")
    check(claims[CONFIGURATION] == about["config"], "the receipt is of another configuration")
    return claims


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("proof", type=Path)
    parser.add_argument("pcr0")
    for name in ("result", "input", "root"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    proof = {name: base64.b64decode(value) for name, value in json.loads(options.proof.read_text()).items()}
    root = AWS_ROOT if options.root is None else hashlib.sha256(options.root.read_bytes()).hexdigest()
    try:
        claims = verify_receipt(proof["receipt"], proof["attestation_document"], root, options.pcr0)
        for file, label, salt in ((options.result, RESULT, "result_salt"), (options.input, INPUT, "input_salt")):
            if file is not None:
                verify_commitment(claims, label, file.read_bytes(), proof.get(salt, b""))
    except Exception as error:  # whatever a library refuses, the receipt is refused
        print(f"refused: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(claims[TYPE], claims[OUTCOME], claims[IAT])
    return 0


if __name__ == "__main__":
    sys.exit(main())
