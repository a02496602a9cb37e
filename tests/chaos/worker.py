"""A worker process as its parent has it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import attrs
from attrs import define, field

from tests.chaos.account import PATIENCE, scrubbed, wait_until
from tests.chaos.reporting import Plan

WORLDS = ("async", "sync", "cortecs")


@define(eq=False)
class Worker:
    """A process that tells what it does; `told` grows while it runs."""

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    told: list[dict[str, Any]] = field(factory=list[dict[str, Any]])

    def events(self, event: str) -> list[dict[str, Any]]:
        """What it told so far of this kind."""
        return [told for told in list(self.told) if told["event"] == event]

    def wait_for(self, event: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The first event of this kind. Raises AssertionError where the process ends before."""
        wait_until(lambda: bool(self.events(event)) or self.has_ended, f"{event} of {self.process.args!r}", seconds)
        assert self.events(event), f"{self.process.args!r} ended with {self.process.returncode}: {self.said()}"
        return self.events(event)[0]

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()

    _reader: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def ended(self) -> int:
        """How many cycles have come as far as their answer, or have failed."""
        return len({told["number"] for told in [*self.events("answered"), *self.events("failed")]})

    def go_on(self) -> None:
        """Let it pass where it waits for a line."""
        assert not self.has_ended, f"{self.process.args!r} ended with {self.process.returncode}: {self.said()}"
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def finish(self, seconds: float = 2 * PATIENCE) -> None:
        """Wait for its end."""
        self.process.wait(seconds)
        self._reader.join(PATIENCE)

    def kill(self) -> None:
        """SIGKILL, and its end."""
        self.process.kill()
        self.finish()

    def said(self) -> str:
        """What it wrote to stderr."""
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.append(json.loads(line))


@contextmanager
def running(module: str, *arguments: str, variables: Mapping[str, str]) -> Iterator[Worker]:
    """`python -m tests.chaos.MODULE`; it does not outlive the block."""
    command = [sys.executable, "-m", f"tests.chaos.{module}", *arguments]
    pipe = subprocess.PIPE
    with (
        TemporaryFile() as stderr,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, env=scrubbed() | dict(variables)) as process,
    ):
        worker = Worker(process, stderr)
        try:
            yield worker
        finally:
            process.kill()
            worker.finish()


def environment(variables: Mapping[str, str], state: Path, *, guarded: bool = False) -> dict[str, str]:
    """The variables of an account, with a folder for the ledger; as a rule nobody but a process guards its leases."""
    guard = {} if guarded else {"INFERLEASE_GUARD": "0"}
    return {**variables, "INFERLEASE_STATE_DIR": str(state), **guard}


@contextmanager
def driving(world: str, plan: Plan, variables: Mapping[str, str]) -> Iterator[Worker]:
    """A process that runs the plan through one of the worlds."""
    with running(f"drive_{world}", json.dumps(attrs.asdict(plan)), variables=variables) as worker:
        yield worker
