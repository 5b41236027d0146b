"""Client of denclave: session keys, accounts, the master key, attestation documents, sealed requests.

    from denclave import Client
    with Client("vsock:16:5000") as client:
        print(client.ping())
"""

from .attestation import AWS_NITRO_ROOT, Document, Expected, KeyOrigin, attest_user_data, verify_document, verify_key_document
from .client import Client, SealedClient
from .errors import (
    ERROR_CODES,
    AttestationError,
    ConnectError,
    DenclaveError,
    NoReplyError,
    ReplyError,
    SealedError,
    ServiceError,
)
from .services import (
    Account,
    Credentials,
    CredentialSource,
    MasterKey,
    MasterKeyRow,
    MasterKeySignature,
    Services,
    Signature,
)

__version__ = "0.2.0"

__all__ = [
    "AWS_NITRO_ROOT",
    "ERROR_CODES",
    "Account",
    "AttestationError",
    "Client",
    "ConnectError",
    "CredentialSource",
    "Credentials",
    "DenclaveError",
    "Document",
    "Expected",
    "KeyOrigin",
    "MasterKey",
    "MasterKeyRow",
    "MasterKeySignature",
    "NoReplyError",
    "ReplyError",
    "SealedClient",
    "SealedError",
    "ServiceError",
    "Services",
    "Signature",
    "attest_user_data",
    "verify_document",
    "verify_key_document",
]
