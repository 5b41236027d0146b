"""A stream socket to the service: u32be frames, a deadline for each exchange, a cap on replies."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any

from .errors import ConnectError, NoReplyError

#: Seconds: a little more than the service takes.
DEFAULT_TIMEOUT = 65.0
_MAX_REPLY = 40 * 1024 * 1024
#: Larger writes may be lost on vsock.
_VSOCK_WRITE = 32 * 1024
_PIECE = 64 * 1024


def _open(address: str, timeout: float) -> socket.socket:
    kind, _, rest = address.partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdecimal() and int(port) <= 65535:
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        found = socket.create_connection((host, int(port)), timeout)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found
    target: Any
    if kind == "unix" and rest:
        family, target = socket.AF_UNIX, rest
    elif kind == "vsock" and host.isdecimal() and port.isdecimal():
        if not hasattr(socket, "AF_VSOCK"):
            raise OSError("this system has no vsock")
        family, target = socket.AF_VSOCK, (int(host), int(port))
    else:
        raise ConnectError(
            f"Cannot use address {address!r}",
            code="invalid_address",
            hint="Write vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>.",
        )
    found = socket.socket(family)
    try:
        found.settimeout(timeout)
        found.connect(target)
    except BaseException:
        found.close()
        raise
    return found


class Connection:
    """Requests in order, from any thread."""

    def __init__(self, address: str, timeout: float, connect_timeout: float | None) -> None:
        self._address = address
        self._timeout = timeout
        self._lock = threading.Lock()
        wait = timeout if connect_timeout is None else connect_timeout
        try:
            self._socket = _open(address, wait)
        except (OSError, OverflowError) as problem:
            why = f"no answer within {wait:g} s" if isinstance(problem, TimeoutError) else str(problem)
            if isinstance(problem, OSError) and problem.strerror and not isinstance(problem, TimeoutError):
                why = problem.strerror
            hint = "Check that the service or the bridge listens there; for vsock, that the enclave runs (nitro-cli describe-enclaves) with this CID."
            raise ConnectError(f"Cannot connect to {address}: {why}", code="connect_failed", hint=hint, details=why) from problem

    def close(self) -> None:
        self._socket.close()

    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise NoReplyError(self._address, f"another request had no reply within {self._timeout:g} s")
        try:
            self._send(struct.pack(">I", len(body)) + body, deadline)
            (length,) = struct.unpack(">I", self._receive(4, deadline))
            if length > _MAX_REPLY:
                raise ValueError(f"the reply has {length} bytes")
            reply = json.loads(self._receive(length, deadline))
            if not isinstance(reply, dict):
                raise ValueError("the reply is not a JSON object")
            return reply
        except BaseException as problem:
            # What comes next on this connection may be this request's reply.
            self.close()
            # An interrupted program gets what interrupted it.
            if not isinstance(problem, (OSError, EOFError, ValueError, RecursionError)):
                raise
            why = f"nothing came within {self._timeout:g} s" if isinstance(problem, TimeoutError) else str(problem)
            raise NoReplyError(self._address, why) from problem
        finally:
            self._lock.release()

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _send(self, message: bytes, deadline: float) -> None:
        for at in range(0, len(message), _VSOCK_WRITE):
            self._wait(deadline)
            self._socket.sendall(message[at : at + _VSOCK_WRITE])

    def _receive(self, length: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._wait(deadline)
            piece = self._socket.recv(min(length - len(data), _PIECE))
            if not piece:
                raise EOFError("the service closed the connection")
            data += piece
        return bytes(data)
