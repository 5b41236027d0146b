"""What the package raises on purpose. Wrong arguments raise ValueError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

#: Codes of error replies, each with what it means and what to do. Made from the service's own table.
ERROR_CODES: Mapping[str, Mapping[str, str]] = json.loads(
    files("denclave").joinpath("error_codes.json").read_text("utf-8")
)


class DenclaveError(Exception):
    """`code` is stable, `hint` says what to do, `details` what was found. The last two may be empty."""

    def __init__(self, message: str, *, code: str, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.details = details


class ConnectError(DenclaveError):
    """There is no connection (`connect_failed`), or the address cannot be used (`invalid_address`)."""


class NoReplyError(DenclaveError):
    """The connection ended, or nothing came in time (`no_reply`): the request may or may not have been carried out. Connect again."""

    def __init__(self, where: str, why: str) -> None:
        hint = "The request may or may not have been carried out. Connect again."
        super().__init__(f"No reply from {where}: {why}", code="no_reply", hint=hint, details=why)


class ServiceError(DenclaveError):
    """The service refused the request. `workflow_code` is the workflow's own, with `workflow_failed`."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        code, details = str(reply.get("msg", "unknown")), str(reply.get("details", ""))
        self.reply = reply
        self.workflow_code = str(reply.get("code", ""))
        own = f" ({self.workflow_code})" if self.workflow_code else ""
        hint = ERROR_CODES.get(code, {}).get("do", "")
        super().__init__(f"The service answered {code}{own}: {details}", code=code, hint=hint, details=details)


class ReplyError(DenclaveError):
    """The reply is not what this client can use: `unexpected_reply`, or `decrypt_failed` for a result that does not open."""


class AttestationError(DenclaveError):
    """A document was refused. `code` says by which check: `attestation_malformed`, `…_algorithm`, `…_nitrotpm`, `…_root`, `…_chain`, `…_expired`,
    `…_signature`, `…_stale`, `…_debug`, `…_nonce`, `…_user_data`, `…_public_key` or `…_pcr`."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(
            f"Attestation document refused: {details}",
            code=f"attestation_{code}",
            hint="Do not trust this enclave: it is not shown to be the one expected.",
            details=details,
        )


class SealedError(DenclaveError):
    """A sealed request has no sealed reply (`sealed_reply`, `sealed_refused`), or not its own (`sealed_not_opened`). The request may have been carried out."""
