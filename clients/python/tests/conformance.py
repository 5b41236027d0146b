"""Runs ../../conformance.json with this package: conformance.py <list> <values>. Prints a JSON object: what each step gave, or its error."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import denclave

Json = dict[str, Any]
CREDENTIALS = denclave.Credentials("local", "local")
KINDS = {
    denclave.ConnectError: "connect",
    denclave.NoReplyError: "no_reply",
    denclave.ServiceError: "service",
    denclave.ReplyError: "reply",
    denclave.AttestationError: "attestation",
    denclave.SealedError: "sealed",
}


def unbase64(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


def pcrs(value: Any) -> Any:
    return [pcrs(build) for build in value] if isinstance(value, list) else {int(index): pcr for index, pcr in value.items()}


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Puts in the values of $names; `...` spreads an object."""
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if isinstance(value, dict):
        rest = {key: fill(item, values) for key, item in value.items() if key != "..."}
        return {**(fill(value["..."], values) if "..." in value else {}), **rest}
    return value


def account(row: Json) -> denclave.Account:
    return denclave.Account(
        row["name"],
        row["keyId"],
        row["address"],
        row["encryptedPrivateKey"],
        row["encryptedDataKey"],
        row["version"],
        row.get("attestation"),
        row.get("nonce"),
    )


def account_row(made: denclave.Account) -> Json:
    return {
        "name": made.name,
        "keyId": made.key_id,
        "address": made.address,
        "encryptedPrivateKey": made.encrypted_private_key,
        "encryptedDataKey": made.encrypted_data_key,
        "version": made.version,
        "attestation": made.attestation,
        "nonce": made.nonce,
    }


def signature(found: denclave.Signature) -> Json:
    return {
        "signature": found.signature,
        "r": found.r,
        "s": found.s,
        "yParity": found.y_parity,
        "v": found.v,
        "signedTransaction": found.signed_transaction,
        "transactionHash": found.transaction_hash,
    }


def origin(found: denclave.KeyOrigin) -> Json:
    at = found.generated_at
    return {"origin": found.origin, "generated_at": at and at.strftime("%Y-%m-%dT%H:%M:%S.000Z")}


class Runner:
    def __init__(self, values: Json) -> None:
        self.values = values
        self.clients: dict[str, denclave.Client] = {}
        self.master_key: denclave.MasterKey | None = None

    def expected(self, given: Json) -> denclave.Expected:
        root = None if given.get("aws_root") else base64.b64decode(given.get("root") or self.values["root"])
        return denclave.Expected(
            pcrs(given["pcrs"]), configuration_hash=unbase64(given.get("configuration_hash")), insecure_root=root
        )

    def client(self, name: Any) -> denclave.Client:
        if isinstance(name, dict):
            given = fill(name, self.values)
            timeout = given.get("timeout_ms", 20_000) / 1000
            if "client_key" not in given and "pcr0" not in given:
                return denclave.Client(given["address"], timeout=timeout)
            key = given.get("client_key")
            client_key = X25519PrivateKey.from_private_bytes(base64.b64decode(key)) if key else None
            expected = self.expected({"pcrs": {"0": given.get("pcr0", self.values["pcr0"])}})
            return denclave.SealedClient(given["address"], expected, client_key=client_key, timeout=timeout)
        if name not in self.clients:
            address, expected = self.values["address"], self.expected({"pcrs": {"0": self.values["pcr0"]}})
            sealed = name == "sealed"
            self.clients[name] = denclave.SealedClient(address, expected) if sealed else denclave.Client(address)
        return self.clients[name]

    def run(self, step: Json) -> Json:
        given = fill(step["with"], self.values)
        call: Callable[[denclave.Client, Json], Json] = getattr(self, step["call"])
        found = call(self.client(step.get("client", "plain")), given)
        if "save" in step:
            self.values[step["save"]] = found
        return found

    def request(self, client: denclave.Client, given: Json) -> Json:
        return client.request(given)

    def configure(self, client: denclave.Client, given: Json) -> Json:
        client.configure(given["encrypted_tsk"], lambda: CREDENTIALS, kms_key_id=given.get("kms_key_id"))
        return {}

    def process(self, client: denclave.Client, given: Json) -> Json:
        key, text = bytes.fromhex(given["key"]), given["text"].encode()
        return {"text": client.process(key, text, bind=given.get("bind", True)).decode()}

    def attest(self, client: denclave.Client, given: Json) -> Json:
        found = client.attest(self.expected(given), unbase64(given.get("user_data")) or b"")
        return {"module_id": found.module_id, "pcr0": found.pcrs[0], "debug": found.debug}

    def create_account(self, client: denclave.Client, given: Json) -> Json:
        return account_row(client.create_account(given["name"], CREDENTIALS, key_id=given["key_id"], attest=given["attest"]))

    def verify_account(self, _: denclave.Client, given: Json) -> Json:
        return origin(account(given["account"]).verify(self.expected(given)))

    def sign(self, client: denclave.Client, given: Json) -> Json:
        return signature(client.sign(account(given["account"]), CREDENTIALS, given["payload"]))

    def sign_batch(self, client: denclave.Client, given: Json) -> Json:
        found = client.sign_batch(account(given["account"]), CREDENTIALS, given["payloads"])
        return {"signatures": [signature(each) for each in found]}

    def _row(self, made: denclave.MasterKey) -> Json:
        self.master_key = made
        return {**vars(made.row), "newly_generated": made.newly_generated, "origin": made.origin}

    def master_key_init(self, client: denclave.Client, given: Json) -> Json:
        row = denclave.MasterKeyRow(**given["row"]) if "row" in given else None
        attest = given.get("attest", False)
        key_id = given.get("kms_key_id")
        return self._row(client.master_key_init(given["enclave_id"], CREDENTIALS, row=row, kms_key_id=key_id, attest=attest))

    def master_key_rewrap(self, client: denclave.Client, given: Json) -> Json:
        return self._row(client.master_key_rewrap(given["new_kms_key_id"], CREDENTIALS, key_epoch=given["key_epoch"]))

    def verify_master_key(self, _: denclave.Client, given: Json) -> Json:
        assert self.master_key is not None
        return origin(self.master_key.verify(self.expected(given)))

    def master_key_verify(self, client: denclave.Client, given: Json) -> Json:
        client.master_key_verify(denclave.MasterKeyRow(**given["row"]), CREDENTIALS)
        return {}

    def master_key_info(self, client: denclave.Client, _: Json) -> Json:
        return client.master_key_info()

    def master_key_sign(self, client: denclave.Client, given: Json) -> Json:
        found = client.master_key_sign(bytes.fromhex(given["digest"]), scheme=given.get("scheme", "ecdsa"))
        return {"signature": base64.b64encode(found.signature).decode(), "recovery_id": found.recovery_id}

    def verify_key_document(self, _: denclave.Client, given: Json) -> Json:
        about = given["document"]
        return origin(
            denclave.verify_key_document(
                base64.b64decode(about["document"]),
                self.expected(given),
                nonce=base64.b64decode(about["nonce"]),
                purpose=about["purpose"],
                subject=about["subject"],
                public_part=base64.b64decode(about["public_part"]),
                key_arn=about["key_arn"],
                epoch=about["epoch"],
            )
        )

    def document(self, step: Json) -> Json:
        real = self.values["documents"][step["file"]]
        bytes_ = bytearray(base64.b64decode(real["document"]))
        if "flip" in step:
            bytes_[step["flip"]] ^= 1
        nonce = step.get("nonce", real["nonce"])
        at = step["at"] if step["at"] == "made" else datetime.fromisoformat(step["at"].replace("Z", "+00:00"))
        found = denclave.verify_document(
            bytes(bytes_),
            denclave.Expected({0: real["pcr0"]}, insecure_root=unbase64(real.get("root"))),
            nonce=unbase64(nonce),
            insecure_skip_nonce=nonce is None,
            at=at,
        )
        return {"debug": found.debug}


def outcome(run: Callable[[Json], Json], step: Json) -> Json:
    try:
        return {"gave": run(step)}
    except denclave.DenclaveError as problem:
        found = {"kind": KINDS[type(problem)], "code": problem.code, "message": str(problem)}
        return {"error": {**found, "hint": problem.hint != "", "details": problem.details != ""}}
    except ValueError as problem:
        return {"error": {"kind": "argument", "message": str(problem)}}


def main(list_file: str, values_file: str) -> None:
    steps, values = (json.loads(Path(file).read_text("utf-8")) for file in (list_file, values_file))
    runner = Runner(values)
    found = {step["name"]: outcome(runner.run, step) for step in steps["steps"]}
    found.update({step["name"]: outcome(runner.document, step) for step in steps["documents"]})
    print(json.dumps(found))


main(*sys.argv[1:])
