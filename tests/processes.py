"""Scripts in processes of their own, pointed at an emulator."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inferlease.emulator import Emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """This process's environment, with the variables of `emulator`."""
    return {**os.environ, **emulator.environment()}


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a process pass where it waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def run_script(emulator: Emulator, script: str, *flags: str, seconds: float = 40.0) -> subprocess.CompletedProcess[str]:
    """Run a Python script to its end, whatever its exit code; `flags` are the interpreter's.

    Raises TimeoutExpired after `seconds`, when the script and all that it has forked are killed.
    """
    with subprocess.Popen(
        [sys.executable, *flags, "-c", script],
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, complained = process.communicate(timeout=seconds)
        except BaseException:  # the timeout of the test too
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


@define
class Running:
    """A script that runs.

    Attributes:
        errors: What it said on stderr so far.
        output: What it said last on stdout, once it has ended.
    """

    _process: subprocess.Popen[str]
    errors: str = ""
    output: str = ""

    def read_line(self) -> str:
        """The next line of its stdout."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def read_error(self) -> str:
        """The next line of its stderr."""
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        self.errors += line
        return line

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = 40.0) -> int:
        """Wait for its end; the exit code, negative for the signal that ended it."""
        self.output, said = self._process.communicate(timeout=seconds)
        self.errors += said
        return self._process.returncode


@contextmanager
def serving(emulator: Emulator, folder: Path, *command: str) -> Iterator[str]:
    """A server that is started in `folder` by a module of Python, and ended by SIGTERM; its URL.

    Its socket is there before it is, and waits for it; the command names the descriptor as `FD`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        server = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore::DeprecationWarning", "-m"),
                *(part.replace("FD", str(listener.fileno())) for part in command),
            ],
            cwd=folder,
            env=environment(emulator),
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=30)
        except BaseException:
            server.kill()
            raise
    assert server.returncode in {0, -signal.SIGTERM}, said
    assert "Traceback" not in said


@contextmanager
def started(emulator: Emulator, script: str) -> Iterator[Running]:
    """A Python script that runs; killed at the end, if it still does."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()
