"""A process at a real terminal, seen from the person's side."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import define

SECONDS = 30.0

# Makes stdin the controlling terminal of a session of its own, then becomes what its arguments say.
AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Waitable(Protocol):
    """A process as far as a terminal is concerned."""

    def wait(self, seconds: float, /) -> int: ...


@define
class Terminal:
    """A process at a terminal, seen from the person's side."""

    process: subprocess.Popen[str] | Waitable
    _master: int
    shown: str = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def read_until(self, text: str) -> None:
        """Read what is shown until `text` is."""
        while text not in self.shown:
            assert self._read(), f"{text!r} was never shown in {self.shown!r}"

    def wait(self) -> int:
        """Read until the end; the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(SECONDS)

    def hang_up(self) -> None:
        """Go away, as when the window is closed."""
        os.close(self._master)

    def lines(self) -> list[str]:
        """What was shown, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown).replace("\r", "\n").split("\n")

    def _read(self) -> bool:
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # how Linux tells that nobody has the terminal open any more
            return False
        self.shown += chunk.decode()
        return bool(chunk)


def at_terminal(command: Sequence[str], environment: Mapping[str, str]) -> Terminal:
    """Start `command` as the foreground job of a terminal of 80 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_TERMINAL, *command],
        env={"TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        text=True,
    )
    os.close(slave)
    return Terminal(process, master)
