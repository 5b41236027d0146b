"""eth_account, for tests/e2e/wallet_peers_test.ts: one JSON question a line on stdin, one JSON answer a line on stdout."""

import json
import sys

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak


def answer(question):
    kind, value = question["kind"], question["value"]
    if kind == "transaction":
        signed = Account.sign_transaction(value, question["key"])
        return signed.raw_transaction.to_0x_hex()
    if kind == "authorization":
        # It takes numbers only, of which JSON has no large ones.
        signed = Account.sign_authorization({**value, "nonce": int(value["nonce"], 16)}, question["key"])
        return [hex(signed.y_parity), hex(signed.r), hex(signed.s)]
    message = encode_typed_data(full_message=value)
    return "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()


for line in sys.stdin:
    try:
        reply = {"answer": answer(json.loads(line))}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
