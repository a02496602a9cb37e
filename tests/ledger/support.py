"""Intents to begin with, and processes that share a ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from inferlease.ledger import Intent, StartRecord
from inferlease.objects import InstanceArgs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inferlease.ledger import Ledger

ARGS = InstanceArgs("org--model", "NVIDIA_L4_1", "per_minute", 16_000, 2)

PRELUDE = """
import json, os, signal, sys
from pathlib import Path
from inferlease._journals import FolderLedger
from inferlease.errors import LedgerError
from inferlease.ledger import Bounds
from tests.ledger.support import an_intent

ledger = FolderLedger(Path(sys.argv[1]))

def say(*values):
    sys.stdout.write(json.dumps(values) + "\\n")
    sys.stdout.flush()

"""


def an_intent(**changes: Any) -> Intent:
    given: dict[str, Any] = {
        "spec": "spec",
        "args": ARGS,
        "kind": "lease",
        "baseline": frozenset(),
        "foreign": frozenset(),
        "exclusive": None,
        "settle_time": 30.0,
        "late_window": 600.0,
    }
    return Intent(**given | changes)


def the_record(ledger: Ledger) -> StartRecord:
    """The only open record."""
    (record,) = ledger.open_records()
    return record


class Process:
    """A process that shares a ledger, hears lines and says lines of JSON."""

    def __init__(self, folder: Path, script: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: str) -> None:
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)

    def hear(self) -> list[Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended by {self._process.wait()} and said nothing"
        said: list[Any] = json.loads(line)
        return said

    def wait(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def processes(folder: Path, script: str, count: int = 1) -> Iterator[list[Process]]:
    """So many processes with one script; they are killed at the end."""
    started = [Process(folder, script) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.close()
