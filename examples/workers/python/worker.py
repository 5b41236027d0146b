"""Takes jobs from a folder, and has the enclave process them: worker.py <address> <folder> <wrapped key file> [--once]. Needs the package of clients/python."""

import json
import os
import sys
import time
from pathlib import Path

from denclave import Client, ConnectError, Credentials, NoReplyError, ServiceError

LATER = {"busy", "workflow_lost", "timeout"}
LONGEST_WAIT = 30.0


def credentials() -> Credentials:
    env = os.environ
    return Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN", ""))


class Worker:
    def __init__(self, address: str, wrapped_key: str) -> None:
        self.address = address
        self.wrapped_key = wrapped_key
        self.client: Client | None = None

    def send(self, job: dict) -> dict:
        self.client = self.client or Client(self.address)
        try:
            return self.client.request({"type": "process", **job})
        except ServiceError as problem:
            if problem.code != "not_configured":
                raise
            self.configure(self.client)
            return self.client.request({"type": "process", **job})

    def configure(self, client: Client) -> None:
        try:
            client.configure(self.wrapped_key, credentials)
        except ServiceError as problem:
            if problem.code in LATER:
                raise
            # It is not the job's fault.
            sys.exit(f"Cannot configure the enclave: {problem}")

    def process(self, job: dict) -> dict:
        """The reply, however long that takes. Raises ServiceError when the enclave refuses the job."""
        wait = 0.1
        while True:
            try:
                return self.send(job)
            except (ConnectError, NoReplyError) as problem:
                if problem.code == "invalid_address":
                    raise
                self.client = None
                print(problem, file=sys.stderr)
            except ServiceError as problem:
                if problem.code not in LATER:
                    raise
                if problem.code == "timeout":
                    self.client = None  # The service ends the connection.
                print(problem, file=sys.stderr)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)


def finish(job: Path, ending: str, content: dict) -> None:
    written = job.with_suffix(".tmp")
    written.write_text(json.dumps(content))
    written.rename(job.with_suffix(ending))
    job.unlink()


def main(address: str, folder: str, key_file: str, once: str = "") -> None:
    worker = Worker(address, Path(key_file).read_text().strip())
    while True:
        jobs = sorted(Path(folder).glob("*.job"))
        for job in jobs:
            try:
                finish(job, ".result", {"result": worker.process(json.loads(job.read_text()))["result"]})
            except ServiceError as problem:
                finish(job, ".failed", {"code": problem.code, "details": problem.details})
        if not jobs and once == "--once":
            return
        if not jobs:
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
