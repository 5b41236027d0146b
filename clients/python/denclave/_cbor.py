"""CBOR: what attestation documents and sealed requests need of RFC 8949."""

from __future__ import annotations

import struct
from typing import Any


def _head(kind: int, value: int) -> bytes:
    if value < 24:
        return bytes([kind << 5 | value])
    for marker, form in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if value < 1 << 8 * struct.calcsize(form):
            return bytes([kind << 5 | marker]) + struct.pack(form, value)
    raise ValueError("The number is too large")


def encode(value: Any) -> bytes:
    """Definite lengths, shortest heads; maps keep their order."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    raise ValueError(f"No CBOR for {type(value).__name__}")


_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data):
        raise ValueError("Cut off")
    first = data[at]
    kind, value, at = first >> 5, first & 31, at + 1
    if first in _SIMPLE:
        return _SIMPLE[first], at
    to_break = value == 31 and kind in (4, 5)
    if 24 <= value <= 27:
        size = 1 << value - 24
        raw = data[at : at + size]
        if len(raw) != size:
            raise ValueError("Cut off")
        value, at = int.from_bytes(raw, "big"), at + size
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
    items: list[Any] = []
    while (at >= len(data) or data[at] != 0xFF) if to_break else len(items) < value * (kind - 3):
        item, at = _read(data, at, depth - 1)
        items.append(item)
    at += to_break
    if kind == 4:
        return items, at
    keys = items[::2]
    if not all(type(key) in (int, str) for key in keys):
        raise ValueError("A key is neither a text nor an integer")
    pairs = dict(zip(keys, items[1::2]))
    if 2 * len(pairs) != len(items):
        raise ValueError("A key is there twice, or without a value")
    return pairs, at


def decode(data: bytes) -> Any:
    """One item and nothing after it: integers, bytes, texts, arrays, maps, booleans, null. Arrays and maps may be of indefinite length: AWS's maps are.

    Raises ValueError."""
    item, end = _read(data, 0, 4)
    if end != len(data):
        raise ValueError("Something follows the end")
    return item
