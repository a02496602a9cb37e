"""Signals to verbs that lease nothing: what they are said to do, and that nothing holds a reader up."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import signal
import termios
import time
from typing import TYPE_CHECKING

import pytest

from inferlease.cli._signals import Interrupts
from tests.cli.forking import forge
from tests.cli.support import SECONDS, Tool, ended, read_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ELSEWHERE = {
    "CORTECS_API_BASE_URL": "https://api.invalid/v1",
    "CORTECS_CLIENT_ID": "an-id",
    "CORTECS_CLIENT_SECRET": "a-secret",
}
LOOKING_UP_FOR_EVER = """
import socket, threading

def hang(*_, **__):
    print("looking up", flush=True)
    threading.Event().wait()

socket.getaddrinfo = hang
"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("verb", ["models", "doctor"])
def test_a_name_that_is_being_looked_up_holds_no_reader_up(verb: str) -> None:
    with Tool(ELSEWHERE) as tool:
        reader = tool.start_after(LOOKING_UP_FOR_EVER, verb)
        read_until(reader.stdout, "looking up")
        reader.send_signal(signal.SIGTERM)
        assert ended(reader) == (143, "")


def test_a_second_signal_ends_a_reader_whose_own_reader_sleeps(tool: Tool, tmp_path: Path) -> None:
    read, write = os.pipe()
    size = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with (tmp_path / "stderr").open("w") as stderr:
        reader = forge().start(["models", "--json"], tool.environment({}), (stderr.fileno(), write, stderr.fileno()))
    os.close(write)

    def unread() -> int:
        found = array.array("i", [0])
        fcntl.ioctl(read, termios.FIONREAD, found)
        return found[0]

    until(lambda: unread() == size)
    reader.send_signal(signal.SIGINT)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    os.close(read)


@pytest.mark.parametrize(
    ("consequence", "first", "second"),
    [
        (None, "ending; what was started is released", "the release goes on, and is waited for"),
        ("what was asked for goes on", "ending; what was asked for goes on", "ending; what was asked for goes on"),
    ],
)
def test_what_is_told_of_further_signals_is_what_was_told_of_the_first(
    consequence: str | None, first: str, second: str
) -> None:
    said: list[str] = []

    async def work() -> int:
        task: asyncio.Task[int] | None = asyncio.current_task()
        assert task is not None
        interrupts = Interrupts(task, said.append, set())
        if consequence is not None:
            interrupts.consequence = consequence
        for number in (signal.SIGINT, signal.SIGTERM):
            interrupts.arrived(number, from_terminal=False)
        await asyncio.Event().wait()
        return 0

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert said == [f"SIGINT: {first}", f"SIGTERM: {second}"]
