"""How a worker process hears what to do and tells what it did: one JSON object per line."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
import threading
import traceback
from typing import Any
from urllib.request import Request, urlopen

from attrs import frozen

_writing = threading.Lock()


@frozen
class Plan:
    """What a worker does; passed to it as JSON.

    Attributes:
        cycles: Leases, `at_once` of them at a time.
        stays: Whether a body lasts until a line comes on stdin.
        max_duration: Of each lease.
        keep: Whether what is leased is to stay.
        ledger: The folder of the ledger; `None` for the one in the environment.
        reconciles: `False` takes out what looks for the instance of a start that was left open.
    """

    model: str
    cycles: int = 1
    at_once: int = 1
    stays: bool = False
    exclusive: bool | None = True
    settle_time: float = 1.0
    late_window: float = 6.0
    timeout: float = 2.0
    poll_interval: float | None = 0.05
    lease_timeout: float = 60.0
    release_timeout: float = 60.0
    max_duration: float | None = None
    keep: bool = False
    ledger: str | None = None
    reconciles: bool = True


def read_plan() -> Plan:
    """The plan that this process was started with."""
    return Plan(**json.loads(sys.argv[1]))


def tell(event: str, **details: object) -> None:
    """One line for whoever started this process."""
    line = json.dumps({"event": event, **details}).encode() + b"\n"
    with _writing:
        os.write(1, line)


def client_arguments(client_type: type, plan: Plan) -> dict[str, Any]:
    """The arguments of a client by a plan, those only that it has; which it lacks is told."""
    wanted: dict[str, Any] = {
        "timeout": plan.timeout,
        "poll_interval": plan.poll_interval,
        "exclusive": plan.exclusive,
        "settle_time": plan.settle_time,
        "late_window": plan.late_window,
        "ledger": plan.ledger,
    }
    known = inspect.signature(client_type).parameters
    tell("ready", lacks=[name for name in wanted if name not in known])
    return {name: value for name, value in wanted.items() if name in known}


def tell_error(number: int, error: BaseException, *, typed: bool) -> None:
    """How a cycle failed, with every message and note on the way."""
    said = "".join(traceback.format_exception(error))
    tell("failed", number=number, kind=type(error).__name__, typed=typed, said=said)


def ask(base_url: str | None, model: str) -> None:
    """The one request of a body. Raises OSError or ValueError where it is not answered."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"Authorization": "Bearer emulator", "Content-Type": "application/json"}
    with urlopen(Request(f"{base_url}/chat/completions", body, headers), timeout=10.0) as answer:  # noqa: S310 - the emulator's address
        json.load(answer)["choices"][0]["message"]["content"]


class _Telling(logging.Handler):
    """Passes on what the package warns of."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("warned", said=record.getMessage())


def tell_warnings() -> None:
    """From here on tell what is logged."""
    logging.getLogger("inferlease").addHandler(_Telling(logging.WARNING))


def take_line() -> None:
    """Take a line from stdin, or its end; waits for it."""
    while os.read(0, 1) not in (b"\n", b""):
        pass
