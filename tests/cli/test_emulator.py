"""`inferlease emulator`: a parent can read where it is, and it ends when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from inferlease.cli._commands import invoke
from tests.cli.support import INFERLEASE, MODEL, SECONDS, Tool, ended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def tool() -> Iterator[Tool]:
    """The tool without an emulator of the test's."""
    with Tool({}) as started:
        yield started


def test_what_it_prints_points_a_client_at_it(tool: Tool) -> None:
    emulator = tool.start("emulator", "--seconds-per-step", "0")
    assert emulator.stdout is not None
    lines = emulator.stdout.read().splitlines()  # ends here: stdout is closed once they are printed
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert variables.keys() == {
        "CORTECS_API_BASE_URL",
        "CORTECS_CLIENT_ID",
        "CORTECS_CLIENT_SECRET",
        "INFERLEASE_INFERENCE_KEY",
    }
    done = tool.run("run", MODEL, "--", "true", **variables)
    assert done.returncode == 0


def test_a_shell_can_evaluate_it() -> None:
    script = f"""
        eval "$({" ".join(INFERLEASE)} emulator 2>/dev/null & echo "emulator=$!")"
        kill $emulator && echo $CORTECS_API_BASE_URL $CORTECS_CLIENT_ID
    """
    printed = subprocess.check_output(["bash", "-c", script], text=True, timeout=SECONDS)
    assert printed.startswith("http://127.0.0.1:")
    assert printed.endswith("/api/v1 emulator\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_books(tool: Tool, number: signal.Signals) -> None:
    emulator = tool.start("emulator")
    assert emulator.stdout is not None
    emulator.stdout.read()
    emulator.send_signal(number)
    assert ended(emulator) == (
        0,
        "the emulator's books: 0 started; 0.0 s were billed, 0.0000 EUR; still billed: none\n",
    )


def test_the_end_of_stdin_ends_it_on_demand(tool: Tool) -> None:
    read, write = os.pipe()
    emulator = subprocess.Popen([*INFERLEASE, "emulator", "--until-eof"], stdin=read, stdout=subprocess.PIPE)
    os.close(read)
    assert emulator.stdout is not None
    emulator.stdout.read()
    emulator.stdout.close()
    assert emulator.poll() is None
    os.close(write)
    assert emulator.wait(SECONDS) == 0


def test_a_port_that_is_taken_is_one_line(tool: Tool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tool.run("emulator", "--port", str(port))
    said = f"error: can't listen on 127.0.0.1:{port}: Address already in use; choose another --port or --host\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "192.0.2.1"])  # noqa: S104 - it is refused
def test_only_loopback_is_served(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["emulator", "--host", host]) == 2
    assert capsys.readouterr().err.startswith(f"error: Invalid value for '--host': '{host}' is not loopback")
