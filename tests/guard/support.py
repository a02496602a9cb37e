"""Processes that are guarded, and what /proc shows of their guards."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from tests.processes import environment
from tests.programs import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease.emulator import Emulator

SETTLE_TIME = 2.0
LATE_WINDOW = 5.0
PROMPT = 10.0
"""Seconds within which the guard stops what is open."""

LINGERING = 5.0
"""Seconds for which a guard with nothing to guard is kept."""

# In short steps: Python misses a signal that comes just before a read until that is over.
_HEARD = "next(filter(None, iter(lambda: select.select([0], [], [], 0.05)[0], None)))"
WAIT = f"print('ready', flush=True); {_HEARD}; sys.stdin.readline()"
LEASE = f"ASYNC with client.lease(MODEL):\n    {WAIT}"

IN_MEMORY = "from inferlease._memory_ledger import MemoryLedger"
LOGGED = "logging.basicConfig(stream=sys.stdout, format='%(message)s', level=logging.WARNING)\n"

REFUSED = """
from inferlease import ConfigurationError
try:
    with client.lease(MODEL, guard=True): pass
except ConfigurationError as error:
    print(error)
"""


def guarded(style: str = "sync", body: str = LEASE, *, before: str = "", options: str = "") -> str:
    """A program that runs `body` with a client whose times are short."""
    given = f"poll_interval=0.02, exclusive=True, settle_time={SETTLE_TIME}, late_window={LATE_WINDOW}, {options}"
    return written(
        style,
        f"{before}\nASYNC def main():\n    ASYNC with Client({given}) as client:\n{indent(body, ' ' * 8)}\nRUN\n",
    )


@contextmanager
def running(emulator: Emulator, script: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that runs; killed at the end, if it still does, when its guard has to end too."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    given = {"env": environment(emulator), "text": True, **pipes} | options
    with subprocess.Popen(command, **given) as process:
        try:
            yield process
        finally:
            process.kill()
    wait_for(lambda: not guards(process.pid), SETTLE_TIME + LATE_WINDOW + PROMPT)


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return line.strip()


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Let it go on to its end: what it said on its way."""
    output, errors = process.communicate("\n", timeout=40)
    assert process.returncode == 0, errors
    return output, errors


def ready(process: subprocess.Popen[str]) -> None:
    assert line_of(process) == "ready"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], object], seconds: float = PROMPT) -> float:
    """Seconds until it holds; fails if it does not in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, f"not within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - began


def guards(parent: int) -> list[int]:
    """Pids of the guards of a process, also of one that is gone."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"inferlease._guardian" in arguments and str(parent).encode() in arguments:
                found.append(int(entry.name))
    return found


def is_watching(guard: int) -> bool:
    """Whether it has come so far as to watch its parent, and has read what it was told."""
    try:
        files = [str(each.readlink()) for each in Path(f"/proc/{guard}/fd").iterdir()]
    except OSError:  # it has just closed one, or is gone
        return False
    return "anon_inode:[pidfd]" in files


def wait_stopped(emulator: Emulator, what: str, seconds: float = PROMPT) -> None:
    """Wait until nothing is billed, and print how long that took."""
    print(f"{what}: stopped after {wait_for(lambda: is_stopped(emulator), seconds):.2f} s")  # noqa: T201 - a figure


def is_stopped(emulator: Emulator) -> bool:
    """Whether nothing is billed."""
    return not emulator.books().still_billed
