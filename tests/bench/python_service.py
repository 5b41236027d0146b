"""The session key service as one would write it in Python: `socket` and `cryptography`, a thread a connection. The peer of the benchmark: it
speaks u32 big-endian lengths, and does ping and process; its key comes as hex on the command line. Prints its port."""

import json
import os
import socket
import struct
import sys
import threading

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_LENGTH = 12
MAX_LENGTH = 10 * 1024 * 1024


def receive_exactly(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(min(length - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return data


def workflow(plaintext):
    return plaintext


def answer(request, key):
    if request.get("type") == "ping":
        return {"status": "ok", "msg": "pong"}
    if request.get("type") != "process":
        return {"status": "error", "msg": "unknown_type"}
    try:
        blob = bytes.fromhex(request["ciphertext"])
        plaintext = key.decrypt(blob[:NONCE_LENGTH], blob[NONCE_LENGTH:], None)
    except Exception:
        return {"status": "error", "msg": "decrypt_failed"}
    nonce = os.urandom(NONCE_LENGTH)
    return {"status": "ok", "result": (nonce + key.encrypt(nonce, workflow(plaintext), None)).hex()}


def serve(connection, key):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                (length,) = struct.unpack(">I", receive_exactly(connection, 4))
                if length > MAX_LENGTH:
                    return
                reply = json.dumps(answer(json.loads(receive_exactly(connection, length)), key), separators=(",", ":")).encode()
                connection.sendall(struct.pack(">I", len(reply)) + reply)
        except (EOFError, ConnectionError):
            return


with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
    key = AESGCM(bytes.fromhex(sys.argv[1]))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, key), daemon=True).start()
