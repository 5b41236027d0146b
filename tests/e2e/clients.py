"""Clients of the session key service as people write them, in Python: the guide's host, which sends JSON and waits for the answer without
closing its side, and the two with a length prefix. usage: clients.py <framing> <host> <port> <request JSON>..., a reply a line."""

import json
import socket
import struct
import sys


def receive_exactly(connection, length):
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError(f"closed after {len(data)} of {length} bytes")
        data += piece
    return data


def exchange_raw(connection, request):
    connection.sendall(request)
    data = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            raise EOFError("closed")
        data += piece
        try:
            return json.loads(data)
        except ValueError:
            continue


def exchange_u32be(connection, request):
    connection.sendall(struct.pack(">I", len(request)))
    connection.sendall(request)
    (length,) = struct.unpack(">I", receive_exactly(connection, 4))
    return json.loads(receive_exactly(connection, length))


def exchange_u64le(connection, request):
    connection.sendall(struct.pack("<Q", len(request)) + request)
    (length,) = struct.unpack("<Q", receive_exactly(connection, 8))
    return json.loads(receive_exactly(connection, length))


EXCHANGES = {"raw": exchange_raw, "u32be": exchange_u32be, "u64le": exchange_u64le}

framing, host, port, *requests = sys.argv[1:]
with socket.create_connection((host, int(port)), timeout=10) as client:
    for text in requests:
        print(json.dumps(EXCHANGES[framing](client, text.encode())), flush=True)
