"""A second verifier of attestation documents, for the tests: by Python's cbor2 and cryptography, and nothing of this project.

usage: verify_document.py
Reads lines of {"root": ..., "document": ...}, both base64, and answers each with a line: {"ok": true, "module_id": ..., "pcrs": {...}} or
{"ok": false, "why": ...}.
The chain is verified as of the document's own time.
"""
import base64
import datetime
import json
import sys

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


def verify(root_der: bytes, document: bytes) -> dict:
    message = cbor2.loads(document)
    if isinstance(message, cbor2.CBORTag):
        message = message.value
    protected, _unprotected, payload, signature = message
    if cbor2.loads(protected) != {1: -35}:
        raise ValueError("not ES384")
    fields = cbor2.loads(payload)
    at = datetime.datetime.fromtimestamp(fields["timestamp"] / 1000, datetime.timezone.utc)
    chain = [x509.load_der_x509_certificate(der) for der in [*fields["cabundle"], fields["certificate"]]]
    if fields["cabundle"][0] != root_der:
        raise ValueError("another root")
    for issuer, certificate in zip([chain[0], *chain[:-1]], chain):
        certificate.verify_directly_issued_by(issuer)
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise ValueError("not valid at the document's time")
    for ca in chain[:-1]:
        if not ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ValueError("not a CA")
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    chain[-1].public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    return {
        "ok": True,
        "module_id": fields["module_id"],
        "pcrs": {str(index): value.hex() for index, value in fields["pcrs"].items()},
        "nonce": None if fields.get("nonce") is None else fields["nonce"].hex(),
        "user_data": None if fields.get("user_data") is None else fields["user_data"].hex(),
    }


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        root, document = (base64.b64decode(question[name]) for name in ("root", "document"))
        try:
            answer = verify(root, document)
        except (ValueError, KeyError, TypeError, IndexError, InvalidSignature, cbor2.CBORDecodeError) as error:
            answer = {"ok": False, "why": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
