"""The account that a load works on: an emulator in a process of its own, and what its books say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from attrs import frozen

from inferlease.emulator import Operation, Phase

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
OTHER_MODEL = "microsoft/phi-4"
FOREIGN = "foreign"
"""The `User-Agent` of whoever shares the account and not the ledger."""
PATIENCE = 60.0
"""Seconds that anything may take that is waited for."""
CALL_SECONDS = 3.0
"""Seconds that one plain call may take."""

FAILURES = (OSError, ValueError, HTTPException, RecursionError)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a condition, and fail where it does not come true."""
    if not comes_true(condition, seconds):
        raise TimeoutError(f"not within {seconds:.0f} s: {what}")


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@frozen
class Account:
    """An emulator that serves; `variables` point a client at it."""

    process: subprocess.Popen[str]
    variables: Mapping[str, str]

    def books(self) -> Any:
        """What happened so far."""
        with urlopen(self.variables["CORTECS_API_BASE_URL"].removesuffix("/api/v1") + "/emulator/books") as answer:  # noqa: S310 - the emulator's address
            return json.load(answer)

    def tell(self, name: str, *arguments: object) -> Any:
        """Give a command that `tests.chaos.server` knows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @contextmanager
    def hold(self, operation: Operation, phase: Phase) -> Iterator[Callable[[], bool]]:
        """Hold the next request of an operation while the block lasts; tells whether it has arrived."""
        number = self.tell("hold", operation, phase)
        try:
            yield lambda: bool(self.tell("arrived", number))
        finally:
            self.tell("release", number)

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> Any:
        """A plain call of the API by somebody else."""
        return plain_call(self.variables, method, path, body, token)

    def start_foreign(self, model: str) -> str:
        """Start an instance that no ledger knows; its id."""
        body = {"model_id": model.replace("/", "--", 1)}
        return str(self.call("POST", "/instances/start", body, token_of(self.variables))["instance"]["instance_id"])


def plain_call(
    variables: Mapping[str, str], method: str, path: str, body: object = None, token: str | None = None
) -> Any:
    """A call without any client library. Raises one of FAILURES where it fails."""
    headers = {"User-Agent": FOREIGN, "Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(variables["CORTECS_API_BASE_URL"] + path, data, headers, method=method)  # noqa: S310 - the emulator's address
    end = time.monotonic() + CALL_SECONDS
    with urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 - the emulator's address
        pieces: list[bytes] = []
        while piece := answer.read1():
            pieces.append(piece)
            if time.monotonic() > end:
                raise TimeoutError("the answer did not end in time")
    return json.loads(b"".join(pieces))


def token_of(variables: Mapping[str, str]) -> str:
    """A new access token."""
    body = {
        "grant_type": "client_credentials",
        "client_id": variables["CORTECS_CLIENT_ID"],
        "client_secret": variables["CORTECS_CLIENT_SECRET"],
    }
    return str(plain_call(variables, "POST", "/oauth2/token", body)["access_token"])


@contextmanager
def serving(**options: object) -> Iterator[Account]:
    """An emulator with these arguments, its faults as text, while the block lasts."""
    command = [sys.executable, "-m", "tests.chaos.server", json.dumps({"balance": 1e6, **options})]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=scrubbed()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Account(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def scrubbed() -> dict[str, str]:
    """This process's environment, without what belongs to an account."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CORTECS_", "INFERLEASE_"))}
