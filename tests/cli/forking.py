"""The tool in processes forked from one that has it loaded: a real process each, without the cost of its imports.

`python -m tests.cli.forking` is the server: it is sent arguments, environment and file descriptors over a socket.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Self

from attrs import define

SECONDS = 30.0


@define
class Forked:
    """A process of the tool."""

    _reply: int
    _pid: int = 0

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._known_pid(), number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code; 128+n if signal n has ended it. One that takes too long is killed."""
        pid, code = self._known_pid(), ""
        try:
            if select.select([self._reply], [], [], seconds)[0]:
                code = self._read()
        finally:
            os.close(self._reply)
        if not code:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"it did not end within {seconds:.0f} s")
        return int(code)

    def _known_pid(self) -> int:
        self._pid = self._pid or int(self._read())
        return self._pid

    def _read(self) -> str:
        """A line of the reply: the first is its pid, the second its exit code."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._reply, 1)):
            line += byte
        return line.decode().strip()


@define
class Forge:
    """Starts processes of the tool."""

    _socket: socket.socket
    _server: subprocess.Popen[bytes]

    @classmethod
    def started(cls) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = subprocess.Popen([sys.executable, "-m", __name__], stdin=theirs)
        return cls(ours, server)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdio: tuple[int, int, int],
        *,
        at_terminal: bool = False,
        hurried: bool = False,
    ) -> Forked:
        """Start one.

        Args:
            stdio: its stdin, stdout and stderr.
            at_terminal: whether the terminal among these becomes the one that controls it.
            hurried: whether it makes no pause between the attempts of a request.
        """
        reply, write = os.pipe()
        request = {"arguments": arguments, "environment": {**environment}, "terminal": at_terminal, "hurried": hurried}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [*stdio, write])
        os.close(write)
        return Forked(reply)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes = b"", *, hurried: bool = False
    ) -> tuple[int, bytes, bytes]:
        """Run one with pipes to its end: exit code, stdout and stderr."""
        (read_in, write_in), (read_out, write_out), (read_err, write_err) = os.pipe(), os.pipe(), os.pipe()
        process = self.start(arguments, environment, (read_in, write_out, write_err), hurried=hurried)
        for descriptor in (read_in, write_out, write_err):
            os.close(descriptor)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_write_all, write_in, stdin)
            out, err = pool.submit(_read_all, read_out), pool.submit(_read_all, read_err)
            code = process.wait()
        return code, out.result(), err.result()

    def stop(self) -> None:
        self._socket.close()
        self._server.wait(SECONDS)


@cache
def forge() -> Forge:
    """The one of this test session, started with its first use."""
    started = Forge.started()
    atexit.register(started.stop)
    return started


def _write_all(descriptor: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _serve() -> int:
    from importlib import import_module

    from inferlease.cli._commands import COMMANDS

    for name in ("anyio._backends._asyncio", "inferlease.client", *(f"inferlease.cli._{name}" for name in COMMANDS)):
        import_module(name)
    gc.freeze()  # what is loaded stays shared with the children
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        content, received, *_ = socket.recv_fds(requests, 1 << 20, 4)
        if not content:
            return 0
        if os.fork() == 0:
            requests.close()
            return _child(json.loads(content), received)
        for descriptor in received:
            os.close(descriptor)


def _child(request: dict[str, Any], received: Sequence[int]) -> int:
    """Fork once more, and wait for it: the server goes on meanwhile."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *stdio, reply = received
    pid = os.fork()
    if pid:
        for descriptor in stdio:
            os.close(descriptor)
        os.write(reply, f"{pid}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(reply, f"{code if code >= 0 else 128 - code}\n".encode())
        os._exit(0)
    os.close(reply)
    return _run(request, stdio)


def _run(request: dict[str, Any], stdio: Sequence[int]) -> int:
    from inferlease.cli import main

    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if request["terminal"]:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(next(filter(os.isatty, (0, 1, 2))), termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    # As the interpreter makes them at its start.
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = (
        open(0, encoding="utf-8", closefd=False),  # noqa: SIM115 - it lasts as long as the process
        io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", line_buffering=os.isatty(1)),  # noqa: SIM115
        io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True),  # noqa: SIM115
    )
    if request["hurried"]:
        from inferlease import _exchange
        from inferlease._retry import Backoff

        _exchange.Backoff = lambda: Backoff(first=0.0, most=0.0)  # as the fixture `hurried` does
    sys.argv = ["inferlease", *request["arguments"]]
    return main()


if __name__ == "__main__":
    sys.exit(_serve())
